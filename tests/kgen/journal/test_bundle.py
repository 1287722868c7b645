"""A run as one file and back: byte for byte what it was, and nothing at all from a malicious
file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save
from typer.testing import CliRunner

from kgen.__main__ import cli
from kgen.journal import bundle as bundles
from kgen.journal import unbundle as unbundling
from kgen.journal.bundle import VERSION, BundleError, write
from kgen.journal.journal import Journal
from kgen.journal.reading import JournalError, open_run, read_checkpoint
from kgen.journal.unbundle import unbundle
from kgen.recipes import recipes
from kgen.system.files import FolderLock
from tests.support.errors import raises


def make_run(path: Path, **changes) -> Path:
    """A run folder with every kind of file in it."""
    Journal.create(
        path, recipes.get("tiny").replace(**changes), teacher_sha256="of no teacher"
    ).close()
    rng = np.random.default_rng(0)
    real = {
        "images": rng.integers(0, 256, (20, 1, 28, 28), dtype=np.uint8),
        "labels": np.arange(20),
        "embedding": rng.random((20, 6)).astype(np.float16),
    }
    (path / "reference.safetensors").write_bytes(save(real))
    (path / "layout.safetensors").write_bytes(
        save(real | {"xy": rng.random((20, 2))}, {"teacher_sha256": "of no teacher"})
    )
    for i in range(3):
        (path / "batches" / f"{i:06d}.safetensors").write_bytes(
            save({"images": rng.integers(0, 256, (9, 1, 28, 28), dtype=np.uint8)})
        )
    (path / "events.jsonl").write_bytes(b'{"kind":"warning","t":0.5,"text":"hand-made"}\n' * 40)
    (path / "student.safetensors").write_bytes(rng.bytes(3_000_000))
    (path / "checkpoint" / "state.safetensors").write_bytes(b"a checkpoint")
    (path / "preview.safetensors").write_bytes(b"of the moment")
    (path / "note.txt").write_text("what it was for")
    return path


def files_of(path: Path) -> dict[str, bytes]:
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "runs" / "first")


@pytest.fixture
def there(tmp_path) -> Path:
    return tmp_path / "elsewhere"


def test_what_is_kept_comes_back_byte_for_byte(run, there):
    os.utime(run / "events.jsonl", (1_700_000_000, 1_700_000_000))
    before = files_of(run)
    file = write(run)
    assert (
        file == run.with_name("first.kgen")
        and files_of(run) == before
        and not list(run.parent.glob(".*"))
    )
    made = unbundle(file, there)
    left_out = {"lock", "preview.safetensors", "checkpoint/state.safetensors"}
    after = files_of(made)
    told = json.loads(after.pop("bundle.json"))
    assert made == there / "first" and after == {
        k: v for k, v in before.items() if k not in left_out
    }
    assert told["left_out"] == ["checkpoint"] and told["run"] == "first"
    assert (made / "events.jsonl").stat().st_mtime == 1_700_000_000 and not list(there.glob(".*"))


def test_it_is_an_ordinary_zip_with_checksums(run):
    with zipfile.ZipFile(write(run, checkpoint=True)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        assert (
            set(manifest["files"]) | {"manifest.json"} == set(archive.namelist())
            and "checkpoint/state.safetensors" in manifest["files"]
        )
        for name, told in manifest["files"].items():
            data = archive.read(name)
            assert told == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_ones_own_real_images_stay_at_home(tmp_path, there):
    run = make_run(tmp_path / "own", real_images="photos")
    made = unbundle(write(run), there)
    for name in ("reference.safetensors", "layout.safetensors"):
        before, after = load((run / name).read_bytes()), load((made / name).read_bytes())
        assert (
            before.pop("images").size
            and before.keys() == after.keys()
            and all((before[k] == after[k]).all() for k in before)
        )
        assert before.keys() >= {"labels", "embedding"}
    assert (made / "layout.safetensors").read_bytes().count(b"of no teacher") == 1, (
        "its description stays"
    )
    assert json.loads((made / "bundle.json").read_bytes())["left_out"] == [
        "real images",
        "checkpoint",
    ]
    whole = unbundle(write(run, tmp_path / "whole.kgen", real_images=True, checkpoint=True), there)
    assert (
        whole.name == "own-2"
        and files_of(whole)["reference.safetensors"] == files_of(run)["reference.safetensors"]
    )


@pytest.mark.parametrize("name", ["photos", "Fotos für 猫", 'of "mine"'])
@pytest.mark.parametrize("real_images", [False, True])
def test_the_path_to_ones_own_real_images_stays_private(tmp_path, there, name, real_images):
    """Only the folder's name leaves, and every line stays where it was."""
    home = tmp_path / "a private place"
    run = make_run(home / "own", real_images=str(home / name))
    started = {"kind": "started", "recipe": open_run(run).recipe.model_dump(mode="json")}
    lines = [json.dumps(started, ensure_ascii=ascii_only) for ascii_only in (True, False)]
    lines.append(json.dumps({"text": f"{home / name}/1.png is damaged."}))
    (run / "events.jsonl").write_text("\n".join([*lines, '{"kind":"warning"}', ""]), "utf-8")
    before = files_of(run)
    path = write(run, real_images=real_images)
    after = files_of(unbundle(path, there))
    for file in ("recipe.json", "events.jsonl"):
        assert len(after[file]) == len(before[file])
    assert not any(b"a private place" in data for data in after.values())
    assert json.loads(after["recipe.json"])["real_images"] == name
    *started, damaged, last, _ = after["events.jsonl"].split(b"\n")
    assert [json.loads(line)["recipe"]["real_images"] for line in started] == [name, name]
    assert json.loads(damaged)["text"] == f"{name}/1.png is damaged."
    assert last == b'{"kind":"warning"}'


def test_a_path_from_another_system_stays_private_too(tmp_path, there):
    run = make_run(tmp_path / "own", real_images="photos")
    recipe = json.loads((run / "recipe.json").read_bytes())
    recipe["real_images"] = "C:\\Users\\somebody\\photos"
    (run / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    text = json.dumps({"text": f"{recipe['real_images']} is gone."}) + "\n"
    (run / "events.jsonl").write_text(text, "utf-8")
    after = files_of(unbundle(write(run), there))
    assert json.loads(after["recipe.json"])["real_images"] == "photos"
    assert json.loads(after["events.jsonl"])["text"] == "photos is gone."


def test_it_is_never_written_over_another_run(run, there):
    file = write(run)
    kept = make_run(there / "first", seed=7)
    before = files_of(kept)
    assert [unbundle(file, there).name for _ in range(2)] == ["first-2", "first-3"] and files_of(
        kept
    ) == before
    with raises(BundleError, "exists", file, file=str(file)):
        write(run)


def test_a_run_that_is_going_is_refused(run):
    lock = FolderLock(run)
    with raises(BundleError, "busy", run.name, run=run.name):
        write(run)
    lock.release()
    assert not list(run.parent.glob("*.kgen")) and not list(run.parent.glob(".*"))


def test_a_resume_without_checkpoint_deletes_nothing_that_was_brought(run, there):
    made = unbundle(write(run), there)
    with raises(JournalError, "no-checkpoint", made, "--with-checkpoint"):
        read_checkpoint(made)


def test_the_commands(run, there, tmp_path):
    file = tmp_path / "a.kgen"
    answer = CliRunner().invoke(cli, ["bundle", str(run), "--out", str(file), "--json"])
    assert answer.exit_code == 0 and json.loads(answer.stdout) == {
        "file": str(file),
        "bytes": file.stat().st_size,
    }
    answer = CliRunner().invoke(cli, ["unbundle", str(file), "--runs", str(there)])
    assert answer.exit_code == 0 and open_run(answer.stdout.strip()).recipe == open_run(run).recipe


# --- malicious files ------------------------------------------------------------------------------


class Forgery:
    """A bundle taken apart, to be put back together with something wrong."""

    def __init__(self, file: Path):
        with zipfile.ZipFile(file) as archive:
            self.members = {
                i.filename: (archive.read(i), i.compress_type, 0o600)
                for i in archive.infolist()
                if i.filename != "manifest.json"
            }
            self.manifest = json.loads(archive.read("manifest.json"))
        self.file = file.with_name("forged.kgen")

    def add(
        self, name: str, data: bytes, mode: int = 0o600, kind: int = zipfile.ZIP_STORED
    ) -> None:
        self.members[name] = (data, kind, mode)
        self.manifest["files"][name] = {
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def save(self) -> Path:
        with zipfile.ZipFile(self.file, "w") as archive:
            for name, (data, kind, mode) in self.members.items():
                info = zipfile.ZipInfo("x")
                info.filename, info.compress_type, info.external_attr = name, kind, mode << 16
                archive.writestr(info, data)
            if self.manifest is not None:
                archive.writestr(zipfile.ZipInfo("manifest.json"), json.dumps(self.manifest))
        return self.file


def unopened(
    file: Path, folder: Path, code: str | None = None, *facts: str, **options
) -> BundleError:
    """Refused with this code, if given; nothing is left behind, in the folder or around it."""
    around = sorted(folder.parent.rglob("*"))
    with raises(BundleError, code, *facts) as told:
        unbundle(file, folder, **options)
    assert [p for p in sorted(folder.parent.rglob("*")) if p != folder] == around
    assert len(str(told.value)) < 300 and isinstance(told.value, BundleError)
    return told.value


@pytest.fixture
def forged(run) -> Forgery:
    return Forgery(write(run, checkpoint=True))


def test_the_forger_can_also_do_it_right(forged, there):
    assert unbundle(forged.save(), there).name == "first"


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/etc/evil",
        "batches/../../evil.safetensors",
        "batches/000001.safetensors/../../x",
        "C:\\evil.txt",
        "..\\evil.txt",
        "batches\\000009.safetensors",
        "evil.py",
        "batches/",
        "batches/1.safetensors",
        "batches/٠٠٠٠٠٠.safetensors",
        "recipe.json\n",
        "lock",
        "bundle.json",
        ".recipe.json",
        "a" * 5000,
        "RECIPE.JSON",
    ],
)
def test_only_names_that_a_run_has_are_taken(forged, there, name):
    forged.add(name, b"evil")
    assert unopened(forged.save(), there, "unknown-file").fields["name"] == name[:60]


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil"])
def test_a_manifest_alone_leads_nowhere_either(forged, there, name):
    forged.manifest["files"][name] = {"size": 4, "sha256": hashlib.sha256(b"evil").hexdigest()}
    assert unopened(forged.save(), there, "unknown-file").fields["name"] == name[:60]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_unopened(forged, there, kind):
    forged.add("note.txt", b"/etc/passwd", mode=kind | 0o777)
    unopened(forged.save(), there, "not-a-file", "note.txt")


def test_bombs_are_refused_before_they_are_written(forged, there, monkeypatch):
    forged.add("events.jsonl", b" " * 30_000_000, kind=zipfile.ZIP_DEFLATED)
    unopened(forged.save(), there, "invalid-compression", "events.jsonl")
    forged.add("events.jsonl", b"", kind=zipfile.ZIP_STORED)
    forged.add("batches/000003.safetensors", b"\0" * 2_000_000, kind=zipfile.ZIP_DEFLATED)
    unopened(forged.save(), there, "invalid-compression", "000003.safetensors")
    forged.add("batches/000003.safetensors", b"\0" * 2_000_000)
    unopened(forged.save(), there, "too-large", max_bytes=2_000_000)
    forged.add("run.json", os.urandom(2_000_000))
    unopened(forged.save(), there, "too-large", "run.json", "2,000,000")


def test_a_list_of_files_that_would_fill_the_memory_is_not_read(forged, there, monkeypatch):
    data = bytearray(forged.save().read_bytes())
    data[-10:-6] = struct.pack("<L", 1 << 30)
    forged.file.write_bytes(data)
    unopened(forged.file, there, "too-many", "50,000")
    monkeypatch.setattr(unbundling, "MAX_FILES", 3)
    unopened(forged.save(), there, "too-many", " 3")


def test_files_over_one_another_are_unopened(forged, there):
    """Every entry of the ZIP's list points at the same bytes: small as a file, huge when opened."""
    data = b"\0" * 500_000
    for i in range(10):
        forged.add(f"batches/{i:06d}.safetensors", data)
    whole = forged.save().read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        infos = {i.filename: i for i in archive.infolist()}
    cut = infos["batches/000001.safetensors"].header_offset
    manifest, end = infos["manifest.json"].header_offset, whole.index(b"PK\1\2")
    head, directory = whole[:cut] + whole[manifest:end], whole[end:]
    patched, at = bytearray(), 0
    while directory[at : at + 4] == b"PK\1\2":
        n, extra, comment = struct.unpack("<HHH", directory[at + 28 : at + 34])
        end = at + 46 + n + extra + comment
        entry = bytearray(directory[at:end])
        if (start := int.from_bytes(entry[42:46], "little")) >= cut:
            first = infos["batches/000000.safetensors"].header_offset
            entry[42:46] = struct.pack("<L", cut if start == manifest else first)
        patched += entry
        at = end
    tail = bytearray(directory[at:])
    tail[16:20] = struct.pack("<L", len(head))
    forged.file.write_bytes(head + patched + tail)
    unopened(forged.file, there, "overlapping")


@pytest.mark.parametrize(
    "harm, code, fact",
    [
        (
            lambda f: f.members.pop("batches/000001.safetensors"),
            "incomplete",
            "000001.safetensors is missing",
        ),
        (
            lambda f: f.manifest["files"].pop("batches/000001.safetensors"),
            "incomplete",
            "000001.safetensors is not",
        ),
        (
            lambda f: f.members.update(
                {
                    "batches/000001.safetensors": (
                        b"x" * len(f.members["batches/000001.safetensors"][0]),
                        0,
                        0o600,
                    )
                }
            ),
            "damaged",
            "000001.safetensors",
        ),
        (lambda f: f.members.update({"note.txt": (b"another", 0, 0o600)}), "damaged", "note.txt"),
        (lambda f: f.manifest["files"]["note.txt"].update(size=-1), "damaged", "note.txt"),
        (lambda f: setattr(f, "manifest", None), "not-a-bundle", ""),
        (lambda f: f.manifest.update(format="kgen student"), "not-a-bundle", ""),
        (lambda f: f.manifest.update(files=[1, 2]), "not-a-bundle", ""),
        (lambda f: f.manifest.update(began=float("inf")), "not-a-bundle", ""),
        (
            lambda f: f.manifest.update(version=VERSION + 1, kgen="9.9"),
            "unsupported-version",
            "(9.9)",
        ),
        (
            lambda f: (f.members.pop("recipe.json"), f.manifest["files"].pop("recipe.json")),
            "not-a-run",
            "recipe.json",
        ),
        (lambda f: f.add("recipe.json", b'{"epochs": -3}'), "invalid-recipe", "'epochs' is -3"),
        (lambda f: f.add("run.json", b"[]"), "invalid-run", "run.json"),
        (lambda f: f.add("run.json", b'{"attempt": "../../x"}'), "invalid-run", "run.json"),
    ],
)
def test_what_is_not_whole_is_unopened(forged, there, harm, code, fact):
    harm(forged)
    unopened(forged.save(), there, code, fact)


def test_a_file_cut_anywhere_or_with_a_flipped_byte_is_refused(run, there):
    (run / "student.safetensors").write_bytes(b"short")
    file = write(run)
    data = file.read_bytes()
    for length in [
        *range(0, 200, 23),
        *range(200, len(data), len(data) // 40),
        *range(len(data) - 120, len(data), 7),
    ]:
        file.write_bytes(data[:length])
        unopened(file, there)
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 150):
        hurt = bytearray(data)
        hurt[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(hurt)
        try:
            made = unbundle(file, there / str(at))  # a bit that nothing reads, such as a date
        except BundleError:
            continue
        assert {k: v for k, v in files_of(made).items() if k != "bundle.json"}.items() <= files_of(
            run
        ).items()


@pytest.mark.parametrize(
    "name", ["../../evil", "", ".", "..", ".hidden", "a/b", "x" * 300, "C:evil", "a..b", "ein Lauf"]
)
def test_no_name_leads_out_of_the_folder(forged, there, name):
    forged.manifest["run"] = name
    made = unbundle(forged.save(), there)
    assert made == there / "run" and made.is_dir()


def test_a_file_that_is_not_there_or_something_else(tmp_path, there):
    unopened(tmp_path / "none.kgen", there, "unreadable", "none.kgen")
    (tmp_path / "else.kgen").write_bytes(b"PK\5\6" + b"\0" * 18)
    unopened(tmp_path / "else.kgen", there, "not-a-bundle", "else.kgen")
    assert bundles.SUFFIX == ".kgen"
