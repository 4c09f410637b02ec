"""Pictures on which an estimator is far off, and those with its median error; their faces only where asked for."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import polars as pl

from agebench import pictures
from agebench.bench.analysis import Analysis
from agebench.errors import AgebenchError
from agebench.manifest.records import folders_of
from agebench.manifest.store import open_manifest, query

SHOWN = 8
SIDE = 112  # pixels of a shown face
MARGIN = 0.35  # of the face's box on each side
Name = tuple[str, str]  # part, path


def examples(one: Analysis, n: int = SHOWN) -> dict[str, pl.DataFrame]:
    """`worst` and `median`: n pictures each (part, path, face_no, age, predicted and error, years), the n with the
    largest error first, and the n whose error is nearest to the median. Ties are in the order of the paths."""
    off = one.predictions.with_columns(error=pl.col("predicted") - pl.col("age"))
    columns = ["part", "path", "face_no", "age", "predicted", "error"]
    worst = off.sort(pl.col("error").abs(), "part", "path", descending=[True, False, False])
    nearest = off.sort((pl.col("error").abs() - pl.col("error").abs().median()).abs(), "part", "path")
    return {"worst": worst.select(columns).head(n), "median": nearest.select(columns).head(n)}


def faces(rows: pl.DataFrame, manifest: Path) -> dict[Name, str]:
    """The faces of pictures as `data:` addresses of small JPEGs, from the release that a manifest names.

    rows: part, path, face_no. A picture that cannot be read is left out, and all of them are if the manifest is gone or
    cannot be opened.
    """
    try:
        with open_manifest(manifest) as con:
            folders = folders_of(con)
            con.register("wanted", rows.select("part", "path", "face_no").unique().to_arrow())
            boxes = query(
                con,
                "SELECT part, path, x, y, w, h FROM wanted JOIN content USING (part, path) "
                "LEFT JOIN face_in_force USING (sha256, face_no)",
            )
    except AgebenchError:
        return {}
    found = {}
    locator = pictures.Locator(folders)
    for part, path, *box in boxes.iter_rows():
        file, _ = locator.find(part, path)
        if file is None:
            continue
        picture, _ = pictures.decode(pictures.read_bytes(file)[0])
        if picture is not None:
            found[part, path] = _address(picture, None if box[0] is None else tuple(box))
    return found


def _address(picture: pictures.Picture, box: tuple[float, ...] | None) -> str:
    from PIL import Image

    image = Image.fromarray(picture.rgb)
    if box is not None:
        x, y, w, h = (side * picture.scale for side in box)
        left, top = max(0, round(x - MARGIN * w)), max(0, round(y - MARGIN * h))
        right, bottom = round(x + (1 + MARGIN) * w), round(y + (1 + MARGIN) * h)
        image = image.crop((left, top, max(left + 1, min(right, image.width)), max(top + 1, min(bottom, image.height))))
    image.thumbnail((2 * SIDE, 2 * SIDE))
    image.save(buffer := io.BytesIO(), "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
