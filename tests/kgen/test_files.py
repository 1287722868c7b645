"""Drives that lack what a local disk has: locks, or fsync of files or folders."""

from __future__ import annotations

import errno
import os
import stat
import time

import pytest

from kgen.system import files
from kgen.system.files import FolderLock, Locked, is_locked, is_text, sync_folder, write_durably


def fails(code: int):
    def call(*_):
        raise OSError(code, os.strerror(code))

    return call


@pytest.fixture
def no_locks(monkeypatch):
    """A function after which locks fail with this error, as on some drives."""

    def fail(code: int):
        if os.name == "nt":
            import msvcrt

            monkeypatch.setattr(msvcrt, "locking", fails(code))
        else:
            import fcntl

            monkeypatch.setattr(fcntl, "flock", fails(code))

    return fail


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_on_a_drive_without_locks_a_note_stands_for_the_lock(code, tmp_path, no_locks):
    no_locks(code)
    lock = FolderLock(tmp_path)
    assert not lock.supported and is_locked(tmp_path)
    with pytest.raises(Locked):
        FolderLock(tmp_path, attempts=2)
    assert is_locked(tmp_path)  # a refused second process leaves the note alone
    lock.release()
    assert not is_locked(tmp_path)
    FolderLock(tmp_path).release()


def test_the_note_is_renewed_and_expires_with_its_process(tmp_path, no_locks, monkeypatch):
    no_locks(errno.ENOLCK)
    monkeypatch.setattr(files, "NOTE_SECONDS", 0.6)
    lock = FolderLock(tmp_path)
    time.sleep(0.8)
    assert is_locked(tmp_path)
    lock.release()
    note = tmp_path / "lock"
    note.write_text("elsewhere 1\n")  # as a killed process leaves it
    assert is_locked(tmp_path)
    os.utime(note, (time.time() - 1,) * 2)
    assert not is_locked(tmp_path)
    FolderLock(tmp_path, attempts=1).release()


def test_a_held_lock_is_not_a_drive_without_locks(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock.supported and is_locked(tmp_path)
    with pytest.raises(Locked):
        FolderLock(tmp_path, attempts=1)
    lock.release()
    assert not is_locked(tmp_path)


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, no_locks):
    no_locks(errno.EIO)
    for attempt in (FolderLock, is_locked):
        with pytest.raises(OSError) as caught:
            attempt(tmp_path)
        assert caught.value.errno == errno.EIO and not isinstance(caught.value, Locked)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
@pytest.mark.parametrize("folders_only", [True, False])
def test_a_drive_without_fsync_is_written_all_the_same(code, folders_only, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if folders_only and not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return real(descriptor)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"
    assert sync_folder(tmp_path) == (os.name == "nt")  # Windows has no such call


def test_a_failing_disk_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails(errno.EIO))
    with pytest.raises(OSError):
        write_durably(tmp_path / "file", b"data")
    assert not any(tmp_path.iterdir())


def test_a_name_may_be_no_text():
    assert is_text("Größe/猫") and not is_text("run\udcff")
