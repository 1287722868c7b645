"""A run by itself, to be killed: `python killing.py FOLDER SEED KILLS` prints one JSON line a kill and one at the end.

The parent imports torch once and never computes; each attempt is a fork that runs or resumes, and that the parent
sends SIGKILL at a random moment. After the last kill one more fork runs to the end.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from small import few_images, grain

from kgen import data
from kgen.journal import JournalError
from kgen.runner import Runner


def attempt(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    data.test_set = few_images
    if (folder / "recipe.json").exists():
        Runner.resume(folder, checkpoint_seconds=0.0).run()
    else:
        Runner.new(grain(), folder, checkpoint_seconds=0.0).run()


def fork(folder: Path) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            attempt(folder)
            status = 0
        except JournalError as error:
            status = 3 if "finished already" in str(error) else 1
            print(error, file=sys.stderr)
        finally:
            os._exit(status)
    return child


def main(folder: Path, seed: int, kills: int) -> None:
    rng, lasting = random.Random(seed), 0.0
    few_images("fashion-mnist")
    start = time.monotonic()
    code = os.waitstatus_to_exitcode(os.waitpid(fork(folder / "whole"), 0)[1])
    lasting = time.monotonic() - start
    print(json.dumps({"whole": code, "seconds": lasting}), flush=True)
    run = done = 0
    while done < kills:
        child = fork(folder / str(run))
        time.sleep(rng.uniform(0.05, 0.7) * lasting)
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done += code == -signal.SIGKILL
        attempts = json.loads((folder / str(run) / "run.json").read_text())["attempt"] if (folder / str(run) / "run.json").exists() else 0
        print(json.dumps({"run": run, "code": code, "attempt": attempts}), flush=True)
        if code in (0, 3) or attempts >= 5:
            finish(folder / str(run))
            run += 1
    finish(folder / str(run))


def finish(folder: Path) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(fork(folder), 0)[1])
    print(json.dumps({"finished": folder.name, "code": code}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
