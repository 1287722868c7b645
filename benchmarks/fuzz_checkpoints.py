"""Fuzz the checkpoint reader with damaged and hostile weights files.

    python benchmarks/fuzz_checkpoints.py [FILES] [SEED]

Mutates a .pt, a .pt in the old format and a .safetensors file, and reads each like the preflight
check, under its limits. The pickles in them would create a marker file if run. Exits with code 1 if
any code ran, an error was not a proper sentence, or a read took 10 s or longer.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from safetensors.torch import save_file

from kgen.preflight import limits
from kgen.zoo.checkpoints import CheckpointError, read
from tests.support import hostile

STATE = {
    "conv.weight": torch.randn(8, 3, 3, 3),
    "bn.running_mean": torch.randn(8),
    "bn.num_batches_tracked": torch.tensor(7),
    "fc.bias": torch.randn(5).half(),
}


def mutated(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    # half of the time, damage only the lists of names and shapes: tensor bytes matter little
    place = rng.choice((len(broken), min(len(broken), 1500)))
    for _ in range(rng.choice((1, 1, 1, 2, 5, 30))):
        at = rng.randrange(place)
        match rng.randrange(5):
            case 0:
                broken[at] = rng.randrange(256)
            case 1:
                broken[at] ^= 1 << rng.randrange(8)
            case 2:
                del broken[at : at + rng.randrange(1, 9)]
            case 3:
                broken[at:at] = broken[at : at + rng.randrange(1, 40)]
            case 4:
                broken[at : at + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80")
                )
        place = min(place, len(broken))
        if place < 2:
            break
    return bytes(broken)


def main(files: int, seed: int) -> int:
    rng, folder, bad = random.Random(seed), Path(tempfile.mkdtemp()), 0
    torch.set_num_threads(1)
    torch.save(STATE, folder / "zip.pt")
    torch.save(STATE, folder / "old.pt", _use_new_zipfile_serialization=False)
    save_file(STATE, folder / "w.safetensors", {"kgen": "{}"})
    hostile.code(folder / "code.pt")
    hostile.system(folder / "system.pt")
    hostile.old_code(folder / "oldcode.pt")
    sources = {
        name: (folder / name).read_bytes()
        for name in ("zip.pt", "old.pt", "w.safetensors", "code.pt", "system.pt", "oldcode.pt")
    }
    for name, data in sources.items():
        path, counts, slowest, start = (
            folder / f"x{Path(name).suffix}",
            {"read": 0, "refused": 0},
            0.0,
            time.monotonic(),
        )
        for _ in range(files):
            path.write_bytes(mutated(data, rng))
            began = time.monotonic()
            try:
                with limits.limited(3 * path.stat().st_size, 30):
                    read(path)
                counts["read"] += 1
            except CheckpointError as error:
                counts["refused"] += 1
                bad += not (
                    str(error).endswith(".") and str(error).isprintable() and len(str(error)) < 500
                )
            except BaseException as error:
                bad += 1
                print(f"{name}: {type(error).__name__}: {error}")
                (folder / f"bad-{bad}{path.suffix}").write_bytes(path.read_bytes())
            slowest = max(slowest, time.monotonic() - began)
        marks = list(folder.glob("*.mark"))
        bad += len(marks) + (slowest >= 10)
        print(
            f"{name:<14} {counts}, slowest {slowest:.2f} s, markers {len(marks)},"
            f" {time.monotonic() - start:.0f} s, peak {limits.peak_memory() / 2**20:.0f} MB",
            flush=True,
        )
    print(f"{bad} failures; files in {folder}")
    return bad > 0


if __name__ == "__main__":
    sys.exit(
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 1000,
            int(sys.argv[2]) if len(sys.argv) > 2 else 0,
        )
    )
