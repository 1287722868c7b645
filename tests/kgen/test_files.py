"""Drives that lack what a local disk has: locks, or fsync of files or folders."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from kgen import files
from kgen.files import FolderLock, Locked, is_text, sync_folder, write_durably

fcntl = pytest.importorskip("fcntl", reason="Windows has other locks")


def fails(code: int):
    def call(*_):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_drive_without_locks_is_written_without_them(code, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fails(code))
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not first.supported and not second.supported
    first.release()
    second.release()


def test_a_held_lock_is_no_drive_without_locks(tmp_path):
    lock = FolderLock(tmp_path)
    assert lock.supported
    with pytest.raises(Locked):
        FolderLock(tmp_path, attempts=1)
    lock.release()


def test_a_lock_that_fails_otherwise_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", fails(errno.EIO))
    with pytest.raises(OSError) as caught:
        FolderLock(tmp_path)
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
    assert (tmp_path / "file").read_bytes() == b"data" and not sync_folder(tmp_path)


def test_a_failing_disk_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", fails(errno.EIO))
    with pytest.raises(OSError):
        write_durably(tmp_path / "file", b"data")
    assert not any(tmp_path.iterdir())


def test_a_name_may_be_no_text():
    assert is_text("Größe/猫") and not is_text(os.fsdecode(b"run\xff"))
    assert files.ATTEMPTS > 1
