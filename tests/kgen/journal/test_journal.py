"""The run folder: whole or not at all, whatever is cut, killed or refused; then resumed to the same
student.
"""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kgen import events, losses
from kgen.data import data
from kgen.errors import DiskError
from kgen.journal import journal, reading
from kgen.journal.journal import Journal
from kgen.journal.reading import JournalError, open_run, read_checkpoint
from kgen.journal.runner import Runner
from kgen.recipe.recipe import Recipe
from kgen.system import files
from kgen.system.paths import ROOT
from kgen.zoo import zoo
from tests.support.errors import check, raises
from tests.support.small import few_images, grain, mini, same_run, story

# --- running, stopping, comparing -----------------------------------------------------------------


def go(runner):
    return runner.run()


def new(recipe, folder, **options):
    return Runner.new(recipe, folder, **({"checkpoint_seconds": 0.0} | options))


def finish(folder):
    """What a person does after a crash: resume; or, if there was no run yet, start it again."""
    if not (folder / "recipe.json").exists():
        return go(new(grain(), folder))
    try:
        return go(Runner.resume(folder, checkpoint_seconds=0.0))
    except JournalError as error:
        assert "already finished" in str(error)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(data, "test_set", few_images)
    return grain()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run that everything is compared with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "test_set", few_images)
        torch.set_num_threads(1)
        folder = tmp_path_factory.mktemp("whole") / "run"
        assert go(new(grain(), folder)).reason == "done"
    return folder


class Killed(BaseException):
    """Stands in for SIGKILL: no part of the program keeps running, and nothing more reaches the
    disk.
    """


class Disk:
    """Counts what a run does to the disk (writes, fsyncs, renames, removals) and ends the run at
    the k-th, or fails it.

    A kill during a write leaves half of its bytes, as a torn page would. After a kill, every
    further call dies too.
    """

    def __init__(self, patch, at=None, fail=None, torn=True):
        self.count, self.at, self.fail, self.torn, self.dead = 0, at, fail, torn, False
        self.failed = 0
        real_open = Path.open
        patch.setattr(journal, "PREVIEW_SECONDS", 0.0)  # the same calls in every run
        for owner, name in ((os, "replace"), (os, "fsync"), (os, "unlink")):
            patch.setattr(owner, name, self.guarded(getattr(owner, name)))
        disk = self

        class Raw(io.FileIO):
            """A file whose writes are counted; unbuffered, so that each is a system call."""

            def write(self, data):
                disk.step(
                    lambda: disk.torn and io.FileIO.write(self, bytes(data)[: len(data) // 2])
                )
                return super().write(data)

            def truncate(self, size=None):
                if disk.dead:
                    raise Killed
                return super().truncate(size)

        def opened(path, mode="r", *args, **kwargs):
            return (
                Raw(path, mode.replace("b", ""))
                if mode in ("wb", "ab")
                else real_open(path, mode, *args, **kwargs)
            )

        patch.setattr(Path, "open", opened)

    def guarded(self, honest):
        def call(*args, **kwargs):
            self.step()
            return honest(*args, **kwargs)

        return call

    def step(self, before_death=lambda: None):
        if self.dead:
            raise Killed
        self.count += 1
        if self.count == self.at:
            if self.fail:
                self.failed += 1
                raise OSError(self.fail, os.strerror(self.fail))
            self.dead = True
            before_death()
            raise Killed


def disk_calls(recipe, folder):
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(patch)
        go(new(recipe, folder))
    return disk.count


# --- writing and reading --------------------------------------------------------------------------


@pytest.mark.slow
def test_folder_holds_what_the_design_says(whole):
    run = open_run(whole)
    assert (
        run.recipe == grain().replace(embedding="text")  # what "auto" came to
        and run.info["attempt"] == 1
        and run.info["threads"] == 1
        and run.info["n_train"] == 60_000
    )
    assert sorted(f.name for f in whole.iterdir()) == sorted(
        [
            "recipe.json",
            "run.json",
            "reference.safetensors",
            "events.jsonl",
            "batches",
            "preview.safetensors",
            "checkpoint",
            "students",
            "student.safetensors",
            "lock",
        ]
    )
    assert json.loads((whole / "recipe.json").read_text()) == run.recipe.model_dump(mode="json")
    told = list(run.events())
    assert [e.kind for e in told][:2] == ["run_started", "iteration_started"] and told[
        -1
    ].kind == "run_finished"
    assert [e.t for e in told] == sorted(e.t for e in told)
    assert [i for i, _ in run.batches()] == [0, 1, 2] and run.finished
    for e in told:
        if e.kind == "batch_synthesised":
            arrays = run.batch(e.iteration)
            assert arrays["entered"].dtype == np.uint8 and arrays["images"].shape == (6, 1, 28, 28)
            assert e.file == f"batches/{e.iteration:06d}.safetensors"
    assert sorted(run.reference()) == ["embedding", "images", "labels"] and "cam" in run.preview()
    assert not list(whole.rglob(".*.tmp"))


def test_pool_is_the_batches_images_that_entered(whole):
    """The last checkpoint's pool against the journal; what entered adds up to the budget."""
    state = read_checkpoint(whole).tensors
    run = open_run(whole)
    assert (
        sum(int(b["entered"].sum()) for _, b in run.batches())
        == 12
        == int(state["pool.28.counts"][2])
    )
    for (iteration, position), label in zip(
        state["pool.28.origin"].tolist(), state["pool.28.labels"].tolist()
    ):
        batch = run.batch(iteration)
        assert batch["labels"][position] == label and batch["entered"][position]


def test_what_is_not_a_run_gives_one_sentence(tmp_path, whole):
    for path in (tmp_path, tmp_path / "x"):
        with raises(JournalError, "not-a-run", path, "kgen run --out", file=str(path)):
            open_run(path)
    (tmp_path / "recipe.json").write_text('{"sede": 1}')
    with raises(JournalError, "unknown-field", tmp_path / "recipe.json", meant="seed"):
        open_run(tmp_path)
    with raises(JournalError, "no-file", "batches/000099.safetensors"):
        open_run(whole).batch(99)
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "batches" / "000001.safetensors").write_bytes(b"x" * 100)
    with raises(JournalError, "unreadable", "batches/000001.safetensors"):
        open_run(copy).batch(1)
    (copy / "run.json").write_text("{")
    with raises(JournalError, "unreadable", file=str(copy / "run.json")):
        _ = open_run(copy).info
    (copy / "preview.safetensors").write_bytes(b"")
    assert open_run(copy).preview() is None


def test_nothing_is_written_over(tmp_path, whole):
    before = {f: f.read_bytes() for f in whole.rglob("*") if f.is_file()}
    with raises(JournalError, "exists", "--out", file=str(whole)):
        Journal.create(whole, Recipe())
    for name in ("batches/x", "run.json", "notes.txt", "checkpoint/model.pt"):
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        with raises(JournalError, "exists", file=str(folder)):
            Journal.create(folder, Recipe())
        assert (folder / name).read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with raises(JournalError, "exists", file=str(tmp_path / "file")):
        Journal.create(tmp_path / "file", Recipe())
    with raises(JournalError, "unwritable", file=str(tmp_path / "file" / "run")):
        Journal.create(tmp_path / "file" / "run", Recipe())
    assert before == {f: f.read_bytes() for f in whole.rglob("*") if f.is_file()}


def test_a_taken_folder_is_noticed_before_anything_is_loaded(whole, monkeypatch):
    def load(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("kgen.journal.runner.Distillation", load)
    with raises(JournalError, "exists", "--out", file=str(whole)):
        Runner.new(grain(), whole)
    command = ["kgen", "run", "tiny", "--out", str(whole)]
    program = (
        "import sys; from kgen import __main__ as m; sys.argv = sys.argv[1:]\n"
        "try: m.main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith(f"Error: {whole} "), done.stderr


def test_a_finished_run_is_not_resumed(whole):
    with raises(JournalError, "finished", whole):
        Runner.resume(whole)


def test_another_teacher_is_noticed(tmp_path, whole):
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "student.safetensors").unlink()
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"teacher_sha256": "0" * 64}))
    with raises(JournalError, "other-teacher", copy, teacher="fashion-cnn"):
        Runner.resume(copy)


# --- tails and followers --------------------------------------------------------------------------


def lines_of(folder):
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def test_tail_gives_each_event_once_and_never_half(tmp_path, whole):
    """Grown byte by byte: an event appears with its line's last byte, not before."""
    copy = shutil.copytree(whole, tmp_path / "copy")
    data, file = b"".join(lines_of(whole)[:4]), copy / "events.jsonl"
    file.write_bytes(b"")
    tail = open_run(copy).tail()
    seen, first = [], True
    for i in range(len(data)):
        with file.open("ab") as f:
            f.write(data[i : i + 1])
        began, new = tail.read()
        assert began == first
        first = False
        assert len(new) == (data[i : i + 1] == b"\n")
        seen += new
    assert seen == list(open_run(whole).events())[:4]
    assert tail.read() == (False, [])


def test_tail_starts_over_when_the_run_does(tmp_path, whole):
    copy = shutil.copytree(whole, tmp_path / "copy")
    run, kept = open_run(copy), read_checkpoint(whole)
    tail = run.tail()
    assert tail.read()[0] and tail.read() == (False, [])
    # detected from `attempt` alone, even if the file is longer than before by the time a reader
    # looks
    with Closing(Journal.reopen(copy, kept.offset, kept.iterations)) as again:
        for _ in range(50):
            again.write(events.Warned(text="x" * 100))
    began, new = tail.read()
    assert began and new == list(run.events()) and run.info["attempt"] == 2
    assert new[-1].kind == "warning" and tail.read() == (False, [])


def test_events_come_in_blocks_and_no_line_is_longer_than_one(tmp_path, whole, monkeypatch):
    copy = shutil.copytree(whole, tmp_path / "copy")
    longest = max(map(len, (copy / "events.jsonl").read_bytes().split(b"\n")))
    monkeypatch.setattr(reading, "BLOCK_BYTES", longest + 1)
    assert [e for _, new in open_run(copy).tail().blocks() for e in new] == list(
        open_run(whole).events()
    )
    monkeypatch.setattr(reading, "BLOCK_BYTES", longest // 2)
    with raises(JournalError, "damaged", copy / "events.jsonl", f"{longest // 2:,}"):
        list(open_run(copy).tail().blocks())


class Closing:
    def __init__(self, thing):
        self.thing = thing

    def __enter__(self):
        return self.thing

    def __exit__(self, *_):
        self.thing.close()


def test_follow_ends_with_the_run(tmp_path, whole):
    copy = shutil.copytree(whole, tmp_path / "copy")
    lines, file = lines_of(whole), copy / "events.jsonl"
    file.write_bytes(b"".join(lines[:3]))

    def grow():
        for i in range(3, len(lines), 4):
            time.sleep(0.02)
            with file.open("ab") as f:
                f.write(b"".join(lines[i : i + 4]))

    thread = threading.Thread(target=grow)
    thread.start()
    assert list(open_run(copy).follow(poll=0.01)) == list(open_run(whole).events())
    thread.join()


def test_torn_last_line_is_left_out_and_damage_has_an_offset(tmp_path, whole):
    copy = shutil.copytree(whole, tmp_path / "copy")
    lines, file = lines_of(whole), copy / "events.jsonl"
    file.write_bytes(b"".join(lines)[:-5])
    assert [e.kind for e in open_run(copy).events()] == [e.kind for e in open_run(whole).events()][
        :-1
    ]
    damaged = list(lines)
    damaged[3] = damaged[3][:10] + b"\xff\x00" + damaged[3][12:]
    file.write_bytes(b"".join(damaged))
    offset = sum(len(line) for line in lines[:3])
    read = []
    with raises(JournalError, "damaged", f" {offset}:", offset=offset):
        read.extend(open_run(copy).events())
    assert read == list(itertools.islice(open_run(whole).events(), 3))  # what precedes the damage


def test_a_resume_gets_over_damage_behind_the_checkpoint_alone(tmp_path, quick, whole):
    """Stopped inside the second iteration: the checkpoint comes after the first, and some events
    after the checkpoint.
    """
    folder = tmp_path / "r"
    runner = new(
        quick,
        folder,
        on_event=lambda e: (
            runner.controls.send("stop")
            if e.kind == "generator_step" and e.iteration == 1
            else None
        ),
    )
    go(runner)
    offset, file = read_checkpoint(folder).offset, folder / "events.jsonl"
    good = file.read_bytes()
    assert 0 < offset < len(good) - 10

    file.write_bytes(b"\xff" + good[1:])
    with raises(JournalError, "damaged", " 0:", offset=0):
        Runner.resume(folder)
    assert file.read_bytes() == b"\xff" + good[1:]  # nothing was cut

    file.write_bytes(good[: offset + 2] + b"\xff\x00" + good[offset + 4 :])
    assert go(Runner.resume(folder, checkpoint_seconds=0.0)).reason == "done"
    assert same_run(folder, whole) is None


@pytest.mark.slow
def test_a_resume_that_is_refused_leaves_the_writers_files(tmp_path, quick):
    folder = tmp_path / "r"
    runner = new(quick, folder)
    half_written = folder / "checkpoint" / ".state.safetensors.1.tmp"
    half_written.write_bytes(b"half")
    with raises(JournalError, "busy", folder):
        Runner.resume(folder)
    assert half_written.exists()
    go(runner)


# --- previews -------------------------------------------------------------------------------------


def test_preview_is_thinned_in_time_and_skipped_when_held(tmp_path, monkeypatch):
    clock = itertools.count(0, 0.1)
    monkeypatch.setattr(journal.time, "monotonic", lambda: next(clock))
    looked = []

    def preview():
        looked.append(1)
        return {"images": np.zeros(3, np.uint8)}

    with Closing(Journal.create(tmp_path / "r", Recipe())) as j:
        for step in range(10):  # at 0.1 … 1.0 s
            j.write(events.GeneratorStep(parts={}, loss=0, agreement=0, step=step, preview=preview))
        assert 2 <= len(looked) <= 4
        monkeypatch.setattr(
            journal,
            "write_durably",
            lambda *a, **k: (_ for _ in ()).throw(PermissionError(13, "held")),
        )
        for step in range(10):
            j.write(events.GeneratorStep(parts={}, loss=0, agreement=0, step=step, preview=preview))
    assert len(list(open_run(tmp_path / "r").events())) == 20


@pytest.mark.slow
@pytest.mark.parametrize("room", [0, 10_000, 20_000, 23_000])
def test_journal_pixels_thin_previews_only_and_the_same_after_a_resume(quick, tmp_path, room):
    recipe = quick.replace(journal_pixels=room)
    go(new(recipe, tmp_path / "a"))
    run = open_run(tmp_path / "a")
    kept = [b["previews"].shape[1] if "previews" in b else 0 for _, b in run.batches()]
    each = 2 * 28 * 28  # two frames
    fit = []
    for i in range(3):  # each iteration may use its part, and what earlier ones left
        fit.append(min(6, (room * (i + 1) // 3 - sum(fit) * each) // each))
    assert kept == fit and (room == 0 or max(kept) > 0)
    for b in (b for _, b in run.batches() if "previews" in b):
        n = b["previews"].shape[1]
        assert (
            b["preview_confidence"].shape == (2, n)
            and b["preview_positions"].shape == (n,)
            and len(b["preview_steps"]) == 2
        )
    assert all("images" in b for _, b in run.batches())

    def stop(event):
        if event.kind == "batch_synthesised" and event.iteration == 2:
            raise Killed

    with pytest.raises(Killed):
        go(new(recipe, tmp_path / "b", on_event=stop))
    go(Runner.resume(tmp_path / "b"))
    assert same_run(tmp_path / "b", tmp_path / "a") is None


# --- kills ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_killed_after_any_event_then_resumed(quick, tmp_path, whole):
    """Abandoned right after the k-th event was journaled, with a checkpoint wherever one is
    possible.
    """
    for k in range(1, len(story(whole)) + 1, 2):
        folder, left = tmp_path / str(k), [k]

        def count(event, left=left):
            left[0] -= 1
            if not left[0]:
                raise Killed

        with pytest.raises(Killed):
            go(new(quick, folder, on_event=count))
        finish(folder)
        assert same_run(folder, whole) is None, k
        shutil.rmtree(folder)


@pytest.mark.slow
def test_killed_at_any_call_of_the_disk_then_resumed(quick, tmp_path, whole):
    """Every fifth write, fsync, rename or removal of a short run (and all of the first and the last
    twelve) is its last.
    """
    calls = disk_calls(quick, tmp_path / "count")
    points = sorted({*range(1, 13), *range(13, calls - 12, 5), *range(calls - 12, calls + 1)})
    for k in points:
        folder = tmp_path / str(k)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, at=k)
            with pytest.raises(Killed):
                go(new(quick, folder))
            assert disk.dead
        finish(folder)
        assert same_run(folder, whole) is None, f"killed at call {k} of {calls}"
        assert not list(folder.rglob(".*.tmp"))
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_resume_that_is_killed_is_resumed(quick, tmp_path, whole):
    def abandon(event):
        if event.kind == "batch_synthesised" and event.iteration == 1:
            raise Killed

    with pytest.raises(Killed):
        go(new(quick, tmp_path / "start", on_event=abandon))
    for k in range(1, 30, 4):
        folder = shutil.copytree(tmp_path / "start", tmp_path / str(k))
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, at=k)
            with pytest.raises(Killed):
                go(Runner.resume(folder, checkpoint_seconds=0.0))
        finish(folder)
        assert same_run(folder, whole) is None, k


@pytest.mark.slow
def test_harness_sees_a_naive_write(quick, tmp_path, whole, monkeypatch):
    """The same kills with files written in place: some of them must be noticed, or the tests above
    prove nothing.
    """

    def naive(path, data, **_):
        with path.open("wb") as file:
            file.write(data)

    monkeypatch.setattr(journal, "write_durably", naive)
    calls = disk_calls(quick, tmp_path / "count")
    noticed = 0
    for k in range(1, calls + 1, 7):
        folder = tmp_path / str(k)
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, at=k)
            with pytest.raises(Killed):
                go(new(quick, folder))
        try:
            finish(folder)
            noticed += same_run(folder, whole) is not None
        except (JournalError, ValueError):
            noticed += 1
        if noticed:
            return
    pytest.fail("no damage was noticed")


@pytest.fixture
def cut_short(quick, tmp_path):
    """A run that ended some events after a checkpoint: (folder, checkpoint)."""
    folder = tmp_path / "cut"

    def stop(event):
        if event.kind == "batch_synthesised" and event.iteration == 1:
            runner.checkpoint_seconds = 1e9  # this is the last checkpoint
        if event.kind == "batch_synthesised" and event.iteration == 2:
            raise Killed

    runner = new(quick, folder, on_event=stop)
    with pytest.raises(Killed):
        go(runner)
    kept = read_checkpoint(folder)
    assert kept.iterations in (1, 2) and kept.offset < (folder / "events.jsonl").stat().st_size
    return folder, kept


@pytest.mark.slow
def test_events_cut_at_every_byte_after_the_checkpoint(cut_short, whole, tmp_path):
    """Whatever a power cut leaves of the last lines: readers see whole events, and the resume
    starts from the same bytes.

    Equal folders give equal runs, so only three of the many equal ones are run to the end.
    """
    folder, kept = cut_short
    data = (folder / "events.jsonl").read_bytes()
    lengths = list(itertools.accumulate(len(line) for line in data.splitlines(keepends=True)))
    for size in range(kept.offset, len(data) + 1):
        (folder / "events.jsonl").write_bytes(data[:size])
        assert len(list(open_run(folder).events())) == sum(end <= size for end in lengths)
        if size % 40 == 0:
            copy = shutil.copytree(folder, tmp_path / "copy")
            Journal.reopen(copy, kept.offset, kept.iterations).close()
            assert (copy / "events.jsonl").read_bytes() == data[: kept.offset]
            assert sorted(f.name for f in (copy / "batches").iterdir()) == [
                f"{i:06d}.safetensors" for i in range(kept.iterations)
            ]
            shutil.rmtree(copy)
    for size in (kept.offset, kept.offset + 17, len(data) - 1):
        copy = shutil.copytree(folder, tmp_path / f"copy{size}")
        (copy / "events.jsonl").write_bytes(data[:size])
        finish(copy)
        assert same_run(copy, whole) is None
    (folder / "events.jsonl").write_bytes(data[: kept.offset - 1])
    with raises(JournalError, "damaged", folder, size=kept.offset - 1, expected=kept.offset):
        Runner.resume(folder)


def test_a_resume_that_cannot_write_is_one_sentence(cut_short, whole):
    folder, _ = cut_short
    for k in range(1, 4):
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, at=k, fail=errno.EIO)
            with raises((JournalError, DiskError), "unwritable", folder, os.strerror(errno.EIO)):
                Runner.resume(folder)
            assert disk.failed == 1
    finish(folder)
    assert same_run(folder, whole) is None


def test_damaged_checkpoint_is_said(cut_short):
    folder, _ = cut_short
    file = folder / "checkpoint" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with raises(JournalError, "damaged", file, file=str(file)):
        Runner.resume(folder)


# --- disks that fail ------------------------------------------------------------------------------


@pytest.mark.slow
def test_io_error_at_any_call_of_the_disk(quick, tmp_path, whole):
    """Each fsync, write and rename may fail for good: one sentence, and the folder holds the old
    state or the new.
    """
    calls = disk_calls(quick, tmp_path / "count")
    for k in sorted({*range(1, 10), *range(10, calls, 9), *range(calls - 5, calls + 1)}):
        folder = tmp_path / str(k)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, at=k, fail=errno.EIO)
            try:
                go(new(quick, folder))
            except (DiskError, JournalError) as error:
                check(error, "unwritable", os.strerror(errno.EIO))
            assert disk.failed == 1
        finish(folder)
        assert same_run(folder, whole) is None, f"call {k} of {calls}"
        shutil.rmtree(folder)


@pytest.mark.slow
def test_full_disk_is_waited_for(quick, tmp_path, whole, monkeypatch):
    """The run says so once, waits, and continues when there is room: nothing is lost, nothing is
    duplicated.
    """
    calls = disk_calls(quick, tmp_path / "count")
    monkeypatch.setattr("kgen.journal.runner.time.sleep", lambda seconds: None)
    for k in range(12, calls, 13):
        said = []
        folder = tmp_path / str(k)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, at=k, fail=errno.ENOSPC)
            assert go(new(quick, folder, on_message=said.append)).reason == "done"
        assert disk.failed == 1 and len(said) == 1 and "disk is full" in said[0]
        assert str(tmp_path) not in said[0]  # viewers read it
        assert same_run(folder, whole) is None, k


def test_line_that_fits_half_is_taken_back(tmp_path):
    with Closing(Journal.create(tmp_path / "r", Recipe())) as j:
        j.write(events.Warned(text="one"))
        real, j._events = j._events, None

        class Half:
            def write(self, data):
                return real.write(data[: len(data) // 2])

            def __getattr__(self, name):
                return getattr(real, name)

        j._events = Half()
        with pytest.raises(OSError, match="No space"):
            j.write(events.Warned(text="two"))
        j._events = real
        j.write(events.Warned(text="three"))
    assert [e.text for e in open_run(tmp_path / "r").events()] == ["one", "three"]


def test_stop_is_heard_while_the_disk_is_full(quick, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    runner = new(quick, tmp_path / "r")
    monkeypatch.setattr(
        "kgen.journal.runner.time.sleep", lambda seconds: runner.controls.send("stop")
    )
    monkeypatch.setattr(runner.journal, "write", full)
    with raises(DiskError, "disk-full", "run r") as caught:
        go(runner)
    assert str(tmp_path) not in str(caught.value)  # viewers read it


def test_durable_write_keeps_old_or_new(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"old")
    for k in range(1, 6):
        with pytest.MonkeyPatch.context() as patch:
            Disk(patch, at=k, fail=errno.EIO)
            try:
                files.write_durably(file, b"new")
                done = True
            except OSError:
                done = False
        assert file.read_bytes() == (b"new" if done or k > 3 else b"old")
        assert [f.name for f in tmp_path.iterdir()] == ["f"]
        file.write_bytes(b"old")


# --- a loss that is not a number ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "name", "term"),
    [
        ("sequential", "batch_norm", "bn"),
        ("sequential", "distillation", "kl"),
        ("concurrent", "distillation", "kl"),
    ],
)
def test_last_good_checkpoint_is_kept_and_resumed(
    quick, tmp_path, whole, monkeypatch, schedule, name, term
):
    honest, calls = getattr(losses, name), []

    def broken(*args, **kwargs):
        calls.append(1)
        return honest(*args, **kwargs) * (
            float("nan") if len(calls) > (4 if name == "batch_norm" else 3) else 1.0
        )

    monkeypatch.setattr(losses, name, broken)
    last = go(new(quick.replace(schedule=schedule), tmp_path / "r"))
    assert last.kind == "run_failed" and last.term == term
    assert story(tmp_path / "r")[-1]["kind"] == "run_failed"
    kept = read_checkpoint(tmp_path / "r")
    assert kept.iterations >= 1
    assert all(
        t.isfinite().all()
        for k, t in kept.tensors.items()
        if k.startswith(("student.", "generator."))
    )
    assert not (tmp_path / "r" / "student.safetensors").exists()
    monkeypatch.setattr(losses, name, honest)
    assert go(Runner.resume(tmp_path / "r")).reason == "done"
    if schedule == "sequential":
        assert same_run(tmp_path / "r", whole) is None


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["sequential", "concurrent"])
def test_a_stopped_run_goes_on(quick, tmp_path, whole, schedule):
    folder, recipe = tmp_path / "r", quick.replace(schedule=schedule)

    def stop(event):
        if (
            event.kind == ("student_step" if schedule == "sequential" else "batch_synthesised")
            and event.epoch == 1
        ):
            runner.controls.send("stop")

    runner = new(recipe, folder, on_event=stop)
    assert go(runner).reason == "stopped" and not open_run(folder).finished
    assert (folder / "student.safetensors").exists() == any(
        e.kind == "evaluated" and e.final for e in open_run(folder).events()
    )
    last = go(Runner.resume(folder))
    assert last.reason == "done" and open_run(folder).info["attempt"] == 2
    told = list(open_run(folder).events())
    assert (
        sum(e.kind == "batch_synthesised" for e in told) == 3
        and sum(e.kind == "run_finished" for e in told) == 1
    )
    assert [e.iteration for e in told if e.kind == "batch_synthesised"] == [0, 1, 2]
    if schedule == "sequential":
        assert same_run(folder, whole) is None


def test_time_goes_on_after_a_resume(cut_short):
    folder, kept = cut_short
    go(Runner.resume(folder))
    times = [e.t for e in open_run(folder).events()]
    assert times == sorted(times) and times[-1] > kept.t > 0


def test_exported_student_is_the_trained_one(whole):
    student = zoo.load_student(whole / "student.safetensors")
    state = read_checkpoint(whole).tensors
    assert not student.training
    for name, value in load_file(whole / "student.safetensors").items():
        assert torch.equal(value, student.state_dict()[name]) and torch.equal(
            value, state[f"student.{name}"]
        )


# --- another drive, another machine ---------------------------------------------------------------


def warnings(folder):
    return [event.text for event in open_run(folder).events() if event.kind == "warning"]


def test_a_drive_without_locks_and_fsync_is_reported_once(quick, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    def fsync(descriptor):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(os, "fsync", fsync)
    seen = []
    runner = new(quick, tmp_path / "run", on_event=seen.append)
    assert go(runner).reason == "done"
    told = warnings(tmp_path / "run")
    assert sum("drive with this run" in text for text in told) == 2
    assert not any(str(tmp_path) in text for text in told)  # viewers read them
    assert seen[0].kind == "run_started" and seen[1].kind == "warning"
    assert not reading.being_written(tmp_path / "run")


def test_on_a_drive_without_locks_an_active_run_is_in_progress(quick, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Closing(Journal.create(tmp_path / "run", quick)):
        assert reading.being_written(tmp_path / "run")
        with raises(JournalError, "busy"):
            Journal.reopen(tmp_path / "run", 0, 0)
        assert reading.being_written(tmp_path / "run")
    assert not reading.being_written(tmp_path / "run")


@pytest.mark.parametrize(
    ("recorded", "warned"), [(1, False), (10_000, True), (0, False), ("many", False)]
)
def test_a_resume_has_no_more_threads_than_cores(recorded, warned, quick, whole, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    (copy / "student.safetensors").unlink()
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"threads": recorded}))
    before = torch.get_num_threads()
    try:
        runner = Runner.resume(copy)
        assert torch.get_num_threads() <= os.cpu_count()
        assert go(runner).reason == "done"
    finally:
        torch.set_num_threads(before)
    assert any("10000 threads" in text for text in warnings(copy)) == warned


def checkpointing(folder, monkeypatch, write) -> Runner:
    """A runner whose checkpoints are written by `write`."""
    runner = Runner.new(mini(), folder)
    monkeypatch.setattr(runner.distillation, "checkpoint", lambda: {"counters": torch.zeros(3)})
    monkeypatch.setattr(runner.journal, "write_checkpoint", write)
    return runner


def test_checkpoints_take_a_small_share_of_the_time(tmp_path, monkeypatch):
    runner = checkpointing(tmp_path / "run", monkeypatch, lambda *_: time.sleep(0.5))
    runner.checkpoint()
    runner._last_checkpoint -= 9  # ten seconds are due
    assert runner.checkpoint_seconds == 5.0 and not runner._checkpoint_is_due()
    runner._last_checkpoint -= 3
    assert runner._checkpoint_is_due()
    runner.journal.close()


def test_waiting_for_a_full_disk_makes_no_checkpoint_rarer(tmp_path, monkeypatch):
    errors = [OSError(errno.ENOSPC, "full")] * 2

    def write(*_: object) -> None:
        if errors:
            raise errors.pop()

    runner = checkpointing(tmp_path / "run", monkeypatch, write)
    wait = time.sleep
    monkeypatch.setattr("kgen.journal.runner.time.sleep", lambda seconds: wait(0.2 * seconds))
    runner.checkpoint()
    runner._last_checkpoint -= runner.checkpoint_seconds
    assert runner._checkpoint_is_due()
    runner.journal.close()
