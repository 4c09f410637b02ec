"""The columns of `evidence`, with their meaning, their unit, and the observer that fills them."""

from __future__ import annotations

from typing import NamedTuple

import duckdb

from agebench.manifest.derivations import EVIDENCE_TABLES
from agebench.manifest.store import get_meta

Observer = str  # release, files, image, faces, or a derivation


class Column(NamedTuple):
    observer: Observer
    type: str  # SQL type
    meaning: str
    unit: str = ""


COLUMNS: dict[str, Column] = {
    "record_id": Column("release", "INTEGER", "number of the record in the release's order"),
    "part": Column("release", "VARCHAR", "the release's own division"),
    "path": Column("release", "VARCHAR", "path exactly as in the release"),
    "subject_id": Column("release", "VARCHAR", "the person shown, if the release identifies them"),
    "name": Column("release", "VARCHAR", "name exactly as in the release"),
    "gender": Column("release", "VARCHAR", "male, female or NULL"),
    "dob": Column("release", "DATE", "date of birth; NULL if the day number is not a valid date"),
    "dob_day": Column("release", "BIGINT", "the raw MATLAB day number of the date of birth", "days"),
    "photo_year": Column("release", "INTEGER", "year in which the picture was taken", "year"),
    "age": Column("release", "INTEGER", "claimed age, whole years", "years"),
    "face_score": Column("release", "DOUBLE", "the release's own face score; -Inf if it found none"),
    "second_face_score": Column("release", "DOUBLE", "the release's own score for a second face"),
    "box_x": Column("release", "DOUBLE", "left of the release's own face box", "pixels"),
    "box_y": Column("release", "DOUBLE", "top of the release's own face box", "pixels"),
    "box_w": Column("release", "DOUBLE", "width of the release's own face box", "pixels"),
    "box_h": Column("release", "DOUBLE", "height of the release's own face box", "pixels"),
    "file_error": Column("files", "VARCHAR", "why the file could not be read; NULL if it could"),
    "bytes": Column("files", "BIGINT", "size of the file", "bytes"),
    "sha256": Column("files", "VARCHAR", "hash of the file's bytes"),
    "format": Column("image", "VARCHAR", "picture format, from the content: JPEG, PNG, …"),
    "width": Column("image", "INTEGER", "width, upright", "pixels"),
    "height": Column("image", "INTEGER", "height, upright", "pixels"),
    "short_side": Column("image", "INTEGER", "the smaller of width and height", "pixels"),
    "channels": Column("image", "INTEGER", "colour channels in the file"),
    "grayscale": Column("image", "BOOLEAN", "whether the picture shows no colour"),
    "phash": Column("image", "UBIGINT", "64-bit perceptual hash"),
    "sharpness": Column("image", "DOUBLE", "variance of the Laplacian at 256 pixels on the long side", "gray values²"),
    "brightness": Column("image", "DOUBLE", "mean gray value", "0 to 255"),
    "contrast": Column("image", "DOUBLE", "standard deviation of the gray values", "0 to 255"),
    "detector": Column("faces", "VARCHAR", "the face detector in force"),
    "faces": Column("faces", "BIGINT", "number of faces found; NULL if the detector has not run"),
    "detector_error": Column("faces", "VARCHAR", "why the detector failed on the picture; NULL if it did not"),
    "face_no": Column("faces", "INTEGER", "number of the chosen face, from 0 (the largest)"),
    "face_chosen_by": Column("faces", "VARCHAR", "how it was chosen: `release box`, `identity` or `largest`"),
    "face_x": Column("faces", "DOUBLE", "left of the chosen face", "pixels"),
    "face_y": Column("faces", "DOUBLE", "top of the chosen face", "pixels"),
    "face_w": Column("faces", "DOUBLE", "width of the chosen face", "pixels"),
    "face_h": Column("faces", "DOUBLE", "height of the chosen face", "pixels"),
    "face_size": Column("faces", "DOUBLE", "square root of the chosen face's area", "pixels"),
    "face_share": Column("faces", "DOUBLE", "height of the chosen face divided by the picture's height", "0 to 1"),
    "detection_score": Column("faces", "DOUBLE", "the detector's score for the chosen face", "0 to 1"),
    "face_sharpness": Column(
        "faces", "DOUBLE", "variance of the Laplacian of the chosen face at 96 pixels on its long side", "gray values²"
    ),
    "second_face_ratio": Column("faces", "DOUBLE", "size of the second largest face divided by the largest", "0 to 1"),
    "box_overlap": Column(
        "faces", "DOUBLE", "intersection over union of the chosen face and the release's own box", "0 to 1"
    ),
    "box_offset": Column("faces", "DOUBLE", "distance between their centres divided by the box's mean side"),
    "copies": Column("files", "BIGINT", "number of records with the same file content, including this one"),
    "copy_rank": Column("files", "BIGINT", "1 for the copy that stays, then 2, 3, …"),
    "copy_of": Column("files", "VARCHAR", "part/path of the copy that stays"),
    "copies_age_gap": Column("files", "INTEGER", "largest difference between their claimed ages", "years"),
}
COLUMNS |= {
    column.name: Column(table.observer, column.type.removesuffix(" NOT NULL"), column.meaning, column.unit)
    for table in EVIDENCE_TABLES
    for column in table.columns
    if column.meaning
}

# Columns that cannot be the value of a predicate.
NOT_NUMBERS = {name for name, column in COLUMNS.items() if column.type in ("VARCHAR", "BOOLEAN", "DATE")} | {"phash"}


def observers_run(con: duckdb.DuckDBPyConnection) -> set[Observer]:
    """Which observers have looked at any picture of this manifest."""
    run: set[Observer] = {"release"}
    if con.execute("SELECT 1 FROM content LIMIT 1").fetchall():
        run.add("files")
    if con.execute("SELECT 1 FROM observed WHERE observer = 'image' LIMIT 1").fetchall():
        run.add("image")
    detector = get_meta(con, "detector")
    if detector and con.execute("SELECT 1 FROM observed WHERE observer = ? LIMIT 1", [f"faces:{detector}"]).fetchall():
        run.add("faces")
    there = con.execute("SELECT name FROM derivation WHERE there").fetchall()
    return run | ({table.observer for table in EVIDENCE_TABLES} & {name for (name,) in there})
