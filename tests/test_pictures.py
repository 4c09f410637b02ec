"""Files that strangers named and bytes that strangers wrote: found or refused, a picture or a fault, never an error."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agebench.pictures import FAULTS, MAX_BYTES, Locator, Picture, decode, read_bytes

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def whole(data: bytes, **how: Any) -> Picture:
    picture, fault = decode(data, **how)
    assert fault is None
    assert picture is not None
    return picture


def fault_of(data: bytes) -> str | None:
    picture, fault = decode(data)
    assert (picture is None) != (fault is None)
    return fault


# --- where files are -------------------------------------------------------------------------------------------


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A folder `release` with a picture, and a secret beside it."""
    (tmp_path / "secret.jpg").write_bytes(encoded(NOISE))
    folder = tmp_path / "release"
    (folder / "00").mkdir(parents=True)
    (folder / "00" / "a.jpg").write_bytes(encoded(NOISE))
    return folder


def look(release: Path, path: str) -> str | None:
    return Locator({"p": release}).stat("p", path)[2]


@pytest.mark.parametrize(
    "path",
    ["../secret.jpg", "../../x", "00/../../secret.jpg", "00/..", "/etc/passwd", "//etc/passwd", "\\etc\\passwd",
     "..\\secret.jpg", "00\\..\\..\\secret.jpg", "C:\\x.jpg", "C:x.jpg", "a\0.jpg", "\0"],
)  # fmt: skip
def test_a_path_that_leaves_its_release_is_refused(release: Path, path: str) -> None:
    assert look(release, path) == "outside_release"
    assert Locator({"p": release}).find("p", path) == (None, "outside_release")


@pytest.mark.parametrize(
    "path", ["", "nothing.jpg", "00/nothing.jpg", "00/a.jpg/b.jpg", "x" * 300 + ".jpg", "y" * 300 + "/a.jpg",
             "/".join(["d"] * 3000), "a\ud800.jpg", "\ud800/a.jpg", "00/\udcff.jpg"],
)  # fmt: skip
def test_a_name_without_a_file_is_missing_however_odd_it_is(release: Path, path: str) -> None:
    assert look(release, path) == "missing"
    file, fault = Locator({"p": release}).find("p", path)
    assert fault in {None, "missing"}
    if file is not None:
        assert read_bytes(file) == (b"", "missing")


def test_a_file_inside_is_found_with_its_size_and_time(release: Path) -> None:
    size, mtime, fault = Locator({"p": release}).stat("p", "00/a.jpg")
    there = (release / "00" / "a.jpg").stat()
    assert (size, mtime, fault) == (there.st_size, there.st_mtime_ns, None)


def test_another_part_has_no_files(release: Path) -> None:
    assert Locator({"p": release}).stat("q", "00/a.jpg") == (None, None, "missing")


def test_a_folder_is_resolved_once_however_many_names_are_looked_for(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(path) or real(path))
    locator = Locator({"p": release})
    for n in range(100):
        assert locator.stat("p", f"{n}.jpg")[2] == "missing"
    assert len(resolved) <= 2


def test_links_are_followed_inside_the_release_and_refused_out_of_it(release: Path) -> None:
    (release / "in.jpg").symlink_to("00/a.jpg")
    (release / "out.jpg").symlink_to("../secret.jpg")
    (release / "chain.jpg").symlink_to("out.jpg")
    (release / "loop.jpg").symlink_to("loop.jpg")
    (release / "broken.jpg").symlink_to("00/none.jpg")
    (release / "inner").symlink_to("00")
    (release / "outer").symlink_to("..")
    (release / "folder.jpg").symlink_to("00")
    seen = {name: look(release, name) for name in ("in.jpg", "inner/a.jpg")}
    assert seen == {"in.jpg": None, "inner/a.jpg": None}
    for name in ("out.jpg", "chain.jpg", "outer/secret.jpg"):
        assert look(release, name) == "outside_release"
    assert look(release, "loop.jpg") in {"missing", "outside_release"}
    assert look(release, "broken.jpg") == "missing"
    assert look(release, "folder.jpg") == "not_a_file"


def test_a_release_that_is_itself_reached_by_a_link_is_read(release: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(release)
    assert look(link, "00/a.jpg") is None
    assert look(link, "../secret.jpg") == "outside_release"


def test_a_sibling_whose_name_begins_alike_is_outside(release: Path, tmp_path: Path) -> None:
    (tmp_path / "release-2").mkdir()
    (tmp_path / "release-2" / "b.jpg").write_bytes(b"x")
    (release / "door").symlink_to(tmp_path / "release-2")
    assert look(release, "door/b.jpg") == "outside_release"


def test_pipes_folders_and_empty_files_are_told_without_opening_them(release: Path) -> None:
    os.mkfifo(release / "pipe.jpg")
    (release / "empty.jpg").touch()
    assert look(release, "pipe.jpg") == "not_a_file"
    assert look(release, "00") == "not_a_file"
    assert look(release, "empty.jpg") == "empty"
    assert read_bytes(str(release / "00")) == (b"", "not_a_file")


def test_a_huge_file_is_not_read(release: Path) -> None:
    with (release / "huge.jpg").open("wb") as handle:
        handle.truncate(MAX_BYTES + 1)  # sparse
    assert look(release, "huge.jpg") == "file_too_large"
    assert read_bytes(str(release / "huge.jpg")) == (b"", "file_too_large")


def test_a_file_without_permission_is_told(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = release / "00" / "a.jpg"
    if os.geteuid() == 0:  # root may read everything: the system's answer is simulated

        def denied(*_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", denied)
    else:
        file.chmod(0)
    assert read_bytes(str(file)) == (b"", "no_permission")


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_name_at_all_raises_or_escapes(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    file, fault = Locator({"p": folder}).find("p", path)
    assert (file is None) == (fault is not None)
    if file is not None:
        assert os.path.realpath(os.path.dirname(file)).startswith(os.path.realpath(folder))  # noqa: PTH120
    assert Locator({"p": folder}).stat("p", path)[2] in {None, *FAULTS}


# --- bytes -----------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims any size and holds a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


@pytest.mark.parametrize("size", [(50_000, 50_000), (40_000, 10), (10, 40_000), (11_000, 11_000)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert fault_of(bomb(*size)) == "absurd_dimensions"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "BMP"])
def test_a_cut_off_picture_is_truncated(kind: str) -> None:
    data = encoded(NOISE, kind)
    assert fault_of(data[: len(data) // 2]) == "truncated"


def test_text_and_nothing_are_no_pictures() -> None:
    assert fault_of(b"<html>404 not found</html>") == "not_a_picture"
    assert fault_of(b"\xff\xd8\xff") in {"not_a_picture", "truncated"}
    assert fault_of(b"") == "empty"


def test_vector_and_document_formats_are_not_opened() -> None:
    """Formats with interpreters behind them (EPS runs Ghostscript) are no pictures here."""
    assert fault_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF") == "not_a_picture"
    assert fault_of(encoded(NOISE, "PDF")) == "not_a_picture"


def test_one_pixel_is_a_picture() -> None:
    picture = whole(encoded(Image.new("RGB", (1, 1), "white")), at_least=1280)
    assert (picture.width, picture.height, picture.rgb.shape) == (1, 1, (1, 1, 3))


def test_the_format_is_told_by_the_bytes_not_by_the_name() -> None:
    assert whole(encoded(NOISE, "PNG")).format == "PNG"
    assert whole(encoded(NOISE, "JPEG")).format == "JPEG"


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [("L", "JPEG", 1), ("CMYK", "JPEG", 4), ("RGB", "PNG", 3), ("RGBA", "PNG", 4), ("LA", "PNG", 2), ("P", "PNG", 1),
     ("1", "PNG", 1), ("P", "GIF", 1)],
)  # fmt: skip
def test_every_mode_becomes_rgb(mode: str, kind: str, channels: int) -> None:
    gray = Image.fromarray(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1)))
    picture = whole(encoded(gray.convert("RGB").convert(mode), kind))
    assert picture.channels == channels
    assert picture.rgb.shape == (40, 60, 3)
    assert picture.rgb.dtype == np.uint8
    if mode != "1":
        assert (
            np.abs(picture.rgb.astype(int) - np.asarray(gray, dtype=int)[..., None]).mean() < 20
        )  # a palette is dithered


def test_sixteen_bits_keep_their_tones() -> None:
    ramp = (np.tile(np.arange(60), (40, 1)) * 1000).astype(np.uint16)
    picture = whole(encoded(Image.fromarray(ramp), "PNG"))
    assert np.abs(picture.rgb[..., 0].astype(float) - ramp / 65535 * 255).max() <= 1


def test_transparent_parts_become_black() -> None:
    image = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    image.putpixel((0, 0), (255, 0, 0, 255))
    rgb = whole(encoded(image, "PNG")).rgb
    assert rgb[0, 0].tolist() == [255, 0, 0]
    assert rgb[4, 4].tolist() == [0, 0, 0]
    palette = image.convert("P")
    assert whole(encoded(palette, "PNG", transparency=palette.getpixel((4, 4)))).rgb[4, 4].tolist() == [0, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("at_least", [None, 150])
def test_orientation_is_applied_and_sizes_are_upright(orientation: int, at_least: int | None) -> None:
    """The bright corner of the scene lands where a viewer shows it."""
    upright = np.zeros((300, 640, 3), np.uint8)
    upright[:100, :100] = 255
    image = Image.fromarray(upright)
    turn = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = image.transpose(turn[orientation]) if orientation in turn else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = whole(encoded(stored, exif=exif), at_least=at_least)
    assert (picture.width, picture.height) == (640, 300)
    assert picture.rgb.shape[1] == round(640 * picture.scale)
    rows, columns = picture.rgb.shape[:2]
    assert picture.rgb[: rows // 4, : columns // 8].mean() > 230
    assert picture.rgb[rows // 2 :].mean() < 25


def test_a_turned_picture_keeps_its_size_where_the_reduced_one_is_square() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = whole(encoded(Image.new("RGB", (1600, 1597), "gray"), exif=exif), at_least=200)
    assert (picture.width, picture.height) == (1597, 1600)


def test_a_large_jpeg_is_decoded_reduced_and_says_so() -> None:
    picture = whole(encoded(NOISE.resize((4000, 2600))), at_least=1280)
    assert (picture.width, picture.height) == (4000, 2600)
    assert max(picture.rgb.shape[:2]) >= 1280
    assert picture.scale == pytest.approx(picture.rgb.shape[1] / 4000)
    assert picture.scale < 0.6
    small = whole(encoded(NOISE), at_least=1280)
    assert small.scale == 1


SOURCES = [
    encoded(NOISE, "JPEG"), encoded(NOISE, "PNG"), encoded(NOISE, "WEBP"), encoded(NOISE, "GIF"), encoded(NOISE, "BMP"),
    encoded(NOISE, "TIFF"), encoded(NOISE, "TIFF", compression="tiff_lzw"), encoded(NOISE.convert("CMYK"), "JPEG"),
    encoded(NOISE.convert("P"), "PNG", transparency=1), encoded(NOISE, "PPM"),
]  # fmt: skip


@given(
    source=st.sampled_from(SOURCES),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    keep=st.integers(1, 8000),
    at_least=st.sampled_from([None, 8, 1280]),
)
@settings(max_examples=400, deadline=None)
def test_damaged_bytes_give_a_picture_or_a_fault(
    source: bytes, changes: list[tuple[int, int]], keep: int, at_least: int | None
) -> None:
    data = bytearray(source)
    for place, value in changes:
        data[place % len(data)] = value
    picture, fault = decode(bytes(data[:keep]), at_least=at_least)
    assert (picture is None) != (fault is None)
    if picture is not None:
        assert picture.rgb.ndim == 3
        assert picture.rgb.shape[2] == 3
        assert picture.rgb.dtype == np.uint8
    else:
        assert fault in FAULTS


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_picture_or_a_fault(data: bytes) -> None:
    picture, fault = decode(data)
    assert (picture is None) != (fault is None)
