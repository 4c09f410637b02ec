"""Pictures with the predicted ages drawn beside the faces."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from agebench.files import write_whole
from agebench.pictures import decode, read_bytes
from agebench.training.predict import FaceAge

COLOUR, BACK = (255, 255, 255), (31, 86, 168)
QUALITY = 90


def write_overlays(
    faces: Sequence[FaceAge], folder: Path, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Write a JPEG of every readable picture into a folder, with a box and "34 (27 to 41)" at every face; the files.

    faces: as `predict` gives them, those of a picture together. Files are named after the pictures, with a number where
    two names are equal. Raises StorageError.
    """
    written: list[Path] = []
    pictures = [(picture, list(of)) for picture, of in groupby(faces, key=lambda face: face.picture)]
    for number, (picture, found) in enumerate(pictures, start=1):
        data, fault = read_bytes(picture)
        decoded, fault = (None, fault) if fault else decode(data)
        if decoded is not None:
            path = _free(folder, Path(picture).stem, written)
            write_whole(path, _drawn(Image.fromarray(decoded.rgb), found), "Name another folder with `--overlay`.")
            written.append(path)
        if on_progress:
            on_progress(number, len(pictures))
    return written


def _free(folder: Path, stem: str, taken: Sequence[Path]) -> Path:
    """`stem.jpg` in the folder, or `stem-2.jpg` and so on where this call has written that already."""
    path, number = folder / f"{stem}.jpg", 2
    while path in taken:
        path, number = folder / f"{stem}-{number}.jpg", number + 1
    return path


def _drawn(picture: Image.Image, faces: Sequence[FaceAge]) -> bytes:
    pen = ImageDraw.Draw(picture)
    line = max(2, round(max(picture.size) / 400))
    font = ImageFont.load_default(max(12.0, max(picture.size) / 40))
    for face in faces:
        text = f"{face.age:.0f}" if face.age is not None else "?"
        if face.interval:
            text += f" ({face.interval[0]} to {face.interval[1]})"
        x, y, width, height = face.box or (0.0, 0.0, float(picture.width), float(picture.height))
        pen.rectangle((x, y, x + width, y + height), outline=BACK, width=line)
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        at = (
            min(max(x, 0.0), max(picture.width - (right - left) - 2 * line, 0)),
            max(y - (bottom - top) - 3 * line, 0.0),
        )
        pen.rectangle((*at, at[0] + right - left + 2 * line, at[1] + bottom - top + 2 * line), fill=BACK)
        pen.text((at[0] + line - left, at[1] + line - top), text, fill=COLOUR, font=font)
    picture.save(held := io.BytesIO(), "JPEG", quality=QUALITY)
    return held.getvalue()
