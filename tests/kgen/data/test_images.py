"""Image files of every kind, as any viewer shows them; and why a file is not an image."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, features

from kgen.data import images, listing
from tests.support.errors import raises
from tests.support.memory import peak_megabytes
from tests.support.pictures import png_header

SIDE = 8
RAMP = np.linspace(0, 255, SIDE).round().astype(np.uint8)
TOP_DOWN = np.repeat(RAMP[:, None], SIDE, 1)
"""Black at the top, white at the bottom."""


def read(path, channels=1, size=(SIDE, SIDE), crop=False):
    return images.decode(path, channels, size, crop=crop, margin=1.0)


def saved(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", images.suffixes())
def test_every_kind_is_read(tmp_path, suffix):
    bitmap = suffix == ".pbm"  # black and white
    image = Image.fromarray(TOP_DOWN).convert("1" if bitmap else "L", dither=Image.Dither.NONE)
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".jp2": "JPEG2000"}.get(suffix)
    path = saved(tmp_path / f"a{suffix.upper()}", image, **({"format": kind} if kind else {}))
    found = read(path)[0]
    expected = np.where(TOP_DOWN < 128, 0, 255) if bitmap else TOP_DOWN
    assert images.is_image(path.name) and images.problem(path) is None
    assert np.abs(found.astype(int) - expected).max() <= 12  # some formats lose a little


def test_avif_is_read_where_pillow_can():
    assert images.is_image("a.avif") == ("avif" in features.get_supported())
    assert images.is_unsupported_image("IMG_0001.HEIC") and not images.is_unsupported_image("a.txt")


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize(
    "orientation, stored",
    [
        (1, TOP_DOWN),
        (3, TOP_DOWN[::-1]),
        (6, TOP_DOWN.T),  # shown rotated 90° to the right: its left side becomes the top
        (8, TOP_DOWN.T[:, ::-1]),
    ],
)
def test_images_are_turned_upright(tmp_path, suffix, orientation, stored):
    image = Image.fromarray(np.repeat(np.repeat(stored, 8, 0), 8, 1))
    exif = image.getexif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{suffix}", image, exif=exif)
    assert np.abs(read(path)[0].astype(int) - TOP_DOWN).max() <= 16


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(TOP_DOWN.astype(np.uint16) * 257))
    assert np.array_equal(read(path)[0], TOP_DOWN)


def test_32_bit_integers_without_a_known_white_are_refused(tmp_path):
    """0 to 200 may be eight bits, or sixteen that are almost black."""
    values = TOP_DOWN.astype(np.int32)
    path = saved(tmp_path / "a.tif", Image.fromarray(values * 257))
    assert np.array_equal(read(path)[0], TOP_DOWN)
    saved(path, Image.fromarray(values))
    with raises(images.DataError, "not-an-image", path, "255", file=str(path)):
        read(path)


def test_floats_in_0_1_are_scaled_and_others_refused(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(TOP_DOWN.astype(np.float32) / 255))
    assert np.array_equal(read(path)[0], TOP_DOWN)
    saved(path, Image.fromarray(TOP_DOWN.astype(np.float32) * 9))
    with raises(images.DataError, "not-an-image", path, "2295", file=str(path)):
        read(path)


@pytest.mark.parametrize("mode, suffix", [("RGBA", "png"), ("LA", "png"), ("RGBA", "gif")])
def test_transparency_is_placed_on_white(tmp_path, mode, suffix):
    layer = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    layer.paste((0, 0, 0, 255), (0, 0, SIDE, SIDE // 2))
    found = read(saved(tmp_path / f"a.{suffix}", layer.convert(mode)), 3)
    assert (found[:, : SIDE // 2] == 0).all() and (found[:, SIDE // 2 :] == 255).all()


def test_a_transparent_color_is_placed_on_white(tmp_path):
    path = saved(
        tmp_path / "a.png", Image.new("RGB", (SIDE, SIDE), (9, 9, 9)), transparency=(9, 9, 9)
    )
    assert (read(path, 3) == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_becomes_rgb(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)))
    red, green, blue = read(path, 3).reshape(3, -1).mean(1)
    assert red > 240 and green < 15 and blue < 15


READ = """
import sys
from pathlib import Path
from kgen.data.folders import ImageFiles, check_headers
from kgen.data.listing import list_files
def read(path, times=1):
    ImageFiles([Path(path)] * times, 3, (224, 224), crop=True)[:]
read(sys.argv[1])
"""


@pytest.fixture
def small(tmp_path):
    return saved(tmp_path / "small.png", Image.new("RGB", (300, 300)))


@pytest.mark.slow
def test_a_narrow_strip_costs_no_memory(tmp_path, small):
    """Scaled as a whole, it would have 1.5 million rows of 256 pixels."""
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((6_000, 1), 80, np.uint8)))
    assert (read(path, 3, (224, 224), crop=True) == 80).all()
    assert peak_megabytes("read(sys.argv[2])", small, path, before=READ) < 20


@pytest.mark.slow
@pytest.mark.parametrize("kind, limit", [("RGB", 160), ("RGBA", 300), ("I;16", 250)])
def test_large_images_take_turns(tmp_path, small, kind, limit):
    """Four images of 16 million pixels by two or more threads."""
    image = Image.new(kind, (4000, 4000), 9)
    path = saved(tmp_path / "a.png", image, compress_level=1)
    assert peak_megabytes("read(sys.argv[2], 4)", small, path, before=READ) < limit


@pytest.mark.slow
def test_checking_a_zip_unpacks_no_file_as_a_whole(tmp_path, small):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", png_header(28, 28).ljust(100 << 20, b"\0"))
    check = "check_headers([file for _, file in list_files(Path(sys.argv[2])).files])"
    assert peak_megabytes(check, small, tmp_path / "a.zip", before=READ) < 30


def test_a_file_in_a_zip_can_be_read_in_any_order(tmp_path):
    """As TIFF needs: its directory is often at the end, and names places before it."""
    content = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bin", content)
    [(_, member)] = listing.list_files(tmp_path / "a.zip").files
    with member.open("rb") as stream:
        for start, length in ((290_000, 500), (10, 100_000), (0, 4), (299_990, 100)):
            stream.seek(start)
            assert stream.read(length) == content[start : start + length]
        stream.seek(0, 2)
        assert stream.tell() == len(content)
        stream.seek(0)
        assert stream.read() == content


@pytest.mark.parametrize("shape", [(30, 40), (41, 29), (300, 77)])
def test_the_crop_is_that_of_torchvision(tmp_path, shape):
    from torchvision.transforms import functional as F

    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    scale = 32 / min(shape)
    whole = F.resize(Image.fromarray(pixels), [round(side * scale) for side in shape])
    expected = F.pil_to_tensor(F.center_crop(whole, [28, 28])).numpy()
    found = images.decode(path, 3, (28, 28), crop=True, margin=32 / 28)
    assert np.abs(found.astype(int) - expected).max() <= 1


def jpeg(side: int = 200) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "not an image"),
        (jpeg()[:5000], "truncated"),
        (png_header(13_000, 13_000), "89 million pixels"),
        (png_header(10_000, 10_000), "89 million pixels"),
        (png_header(20_000, 20_000), "89 million pixels"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Git LFS"),
        (b"\n<!DOCTYPE html><title>Not found</title>", "web page"),
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_what_is_not_an_image_is_named_with_its_reason(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert reason in images.problem(path)
    with raises(images.DataError, "not-an-image", path, reason, file=str(path)):
        read(path)


def test_a_file_that_is_gone_is_named(tmp_path):
    assert images.problem(tmp_path / "a.png") == "No such file or directory"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("harm", ["damage", "password", "header"])
def test_a_damaged_or_encrypted_zip_is_named_without_its_folders(tmp_path, method, harm):
    """Viewers read the reason; zipfile's own messages contain the path in the ZIP file."""
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w", method) as archive:
        archive.writestr("Client Mueller/cat/1.png", np.random.default_rng(0).bytes(5000))
    data = bytearray(source.read_bytes())
    if harm == "damage":
        data[200:300] = bytes(100)
    elif harm == "password":
        for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            data[data.index(signature) + offset] |= 1
    else:
        data[0] = 0
    source.write_bytes(data)
    [(_, file)] = listing.list_files(source).files
    reason = images.problem(file)
    assert "Mueller" not in reason and ("encrypted" if harm == "password" else "damaged") in reason


def test_an_error_of_a_drive_is_named_without_the_path(tmp_path):
    """Even if it does not occur again when the file is opened a second time."""

    class Flaky(type(tmp_path)):
        def stat(self, **_):
            raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "a.png").write_bytes(b"GIF")
    assert images.problem(Flaky(tmp_path / "a.png")) == "Permission denied"


def test_a_whole_image_with_an_unusual_end_is_no_problem(tmp_path):
    """Cameras append thumbnails and notes."""
    (tmp_path / "a.jpg").write_bytes(jpeg() + b"\0" * 40_000)
    assert images.problem(tmp_path / "a.jpg") is None


def test_a_large_photo_is_read_at_a_fraction_of_its_size(tmp_path):
    photo = Image.fromarray(TOP_DOWN).resize((3000, 3000), Image.Resampling.BILINEAR)
    found = read(saved(tmp_path / "a.jpg", photo), size=(28, 28))[0].astype(int)
    expected = np.asarray(photo.resize((28, 28), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(found - expected).max() <= 3
