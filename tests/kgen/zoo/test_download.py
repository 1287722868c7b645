"""The downloader against a server on this machine that breaks connections, ignores ranges, changes
its file and lies.
"""

from __future__ import annotations

import json
import random
import socket

import pytest

from kgen.system.files import FolderLock
from kgen.zoo import download
from kgen.zoo.download import DownloadError, Progress
from tests.support.errors import raises
from tests.support.loopback import Shelf, serving

AGAIN = "python -m kgen fetch x"


@pytest.fixture
def shelf():
    with serving(Shelf(random.Random(1).randbytes(700_000))) as shelf:
        yield shelf


@pytest.fixture
def part(tmp_path):
    return tmp_path / "downloads" / "x.pth.part"


def get(url, part) -> tuple[list[Progress], str]:
    """All reports, and the result of the checksum."""
    stream, seen = download.download(url, part, AGAIN), []
    while True:
        try:
            seen.append(next(stream))
        except StopIteration as end:
            return seen, end.value


def url(shelf, digits=None) -> str:
    return f"{shelf.url}/net-{digits or shelf.digest()[:8]}.pth"


def left(part) -> set[str]:
    return {p.name for p in part.parent.iterdir()} - {"lock"}


def test_whole_at_once(shelf, part):
    seen, said = get(url(shelf), part)
    assert (
        part.read_bytes() == shelf.body
        and said == f"SHA-256 begins with {shelf.digest()[:8]} as published"
    )
    assert (
        seen[-1] == Progress(700_000, 700_000)
        and len(seen) > 1
        and [p.done for p in seen] == sorted(p.done for p in seen)
    )
    assert shelf.asked == [(url(shelf).removeprefix(shelf.url), None)]


def test_a_cut_download_goes_on_where_it_stopped(shelf, part):
    shelf.cut = 300_000
    with raises(DownloadError, "interrupted", "127.0.0.1", "0.3 of 0.7 MB", AGAIN, done=300_000):
        get(url(shelf), part)
    assert part.read_bytes() == shelf.body[:300_000]
    shelf.cut = None
    seen, _ = get(url(shelf), part)
    assert (
        part.read_bytes() == shelf.body
        and seen[0].done > 300_000
        and shelf.asked[-1][1] == "bytes=300000-"
    )


def test_an_interrupted_download_goes_on(shelf, part):
    """Ctrl-C closes the generator between two reports; what was reported is on the disk."""
    stream = download.download(url(shelf), part, AGAIN)
    done = next(stream).done
    stream.close()
    assert part.stat().st_size == done < 700_000
    get(url(shelf), part)
    assert part.read_bytes() == shelf.body and shelf.asked[-1][1] == f"bytes={done}-"


@pytest.mark.parametrize("change", ["no ranges", "another file", "no mark", "shorter"])
def test_it_starts_over_where_the_server_cannot_go_on(change, shelf, part):
    shelf.etag = None if change == "no mark" else shelf.etag
    address = f"{shelf.url}/net.pth"
    shelf.cut = 300_000
    with pytest.raises(DownloadError):
        get(address, part)
    shelf.cut = None
    if change == "no ranges":
        shelf.ranges = False
    elif change == "another file":
        shelf.body, shelf.etag = random.Random(2).randbytes(600_000), '"two"'
    elif change == "shorter":  # the same mark on a file that ends before our bytes do: 416
        shelf.body = shelf.body[:1000]
    _, said = get(address, part)
    assert part.read_bytes() == shelf.body and "SHA-256" not in said


def test_another_address_never_continues_an_old_file(shelf, part):
    shelf.cut = 300_000
    with pytest.raises(DownloadError):
        get(f"{shelf.url}/old.pth", part)
    shelf.cut = None
    get(f"{shelf.url}/new.pth", part)
    assert shelf.asked[-1] == ("/new.pth", None) and part.read_bytes() == shelf.body


def test_a_whole_file_is_not_asked_for_again(shelf, part):
    get(url(shelf), part)
    assert get(url(shelf), part)[0] == [] and len(shelf.asked) == 1


@pytest.mark.parametrize("by", ["name", "header"])
def test_a_wrong_checksum_removes_the_file(by, shelf, part):
    shelf.linked = "0" * 64
    address = url(shelf, "abcdef01") if by == "name" else f"{shelf.url}/hub/net.pth"
    wrong = "abcdef01" if by == "name" else shelf.linked
    found = shelf.digest()[: len(wrong)]
    with raises(DownloadError, "other-checksum", found, wrong, AGAIN, found=found, expected=wrong):
        get(address, part)
    assert left(part) == set()


def test_the_checksum_of_the_redirecting_answer_counts(shelf, part):
    shelf.linked = shelf.digest()
    _, said = get(f"{shelf.url}/hub/net.safetensors", part)
    assert said == f"SHA-256 {shelf.digest()} as published" and [
        path for path, _ in shelf.asked
    ] == ["/hub/net.safetensors", "/storage/net.safetensors"]
    assert json.loads(part.with_suffix(".json").read_text())["sha256"] == shelf.digest()


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (503, "503 Service Unavailable")]
)
def test_an_answer_that_is_none(status, words, shelf, part):
    shelf.status = status
    with raises(DownloadError, "unavailable", words, status=status):
        get(url(shelf), part)
    assert left(part) == set()


def test_a_host_that_cannot_be_reached(part):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with raises(DownloadError, "unreachable", AGAIN, "--file FILE", host="127.0.0.1"):
        get(f"http://127.0.0.1:{port}/net.pth", part)
    assert left(part) == set()


def test_a_host_that_is_gone_keeps_what_has_arrived(part):
    with serving(Shelf(bytes(500_000), cut=200_000)) as shelf, pytest.raises(DownloadError):
        get(f"{shelf.url}/net.pth", part)
    with raises(DownloadError, "interrupted", "0.2 of 0.5 MB", AGAIN):
        get(f"{shelf.url}/net.pth", part)
    assert part.stat().st_size == 200_000


def test_one_download_at_a_time(shelf, part):
    part.parent.mkdir()
    lock = FolderLock(part.parent)
    with raises(DownloadError, "busy", part.parent, AGAIN):
        get(url(shelf), part)
    lock.release()
    assert not shelf.asked


@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("model.safetensors", None),
        ("net-20200101.pth", None),
        ("net_1k_224_ema.pth", None),
        (f"a-{'ab' * 32}.bin", "ab" * 32),
    ],
)
def test_digits_of_a_name(name, digits):
    assert download.digits_in(f"https://example.org/a/{name}?download=true") == digits
