"""The columns of `evidence`, with their meaning, their unit, and the observer that fills them."""

from __future__ import annotations

from typing import NamedTuple

import duckdb

from agebench.manifest.derivations import EVIDENCE_TABLES
from agebench.manifest.store import get_meta

Observer = str  # release, files, image, faces, or a derivation


class Column(NamedTuple):
    observer: Observer
    meaning: str
    unit: str = ""


COLUMNS: dict[str, Column] = {
    "record_id": Column("release", "number of the record in the release's order"),
    "part": Column("release", "the release's own division"),
    "path": Column("release", "path exactly as in the release"),
    "subject_id": Column("release", "the person shown, if the release identifies them"),
    "name": Column("release", "name exactly as in the release"),
    "gender": Column("release", "male, female or NULL"),
    "dob": Column("release", "date of birth; NULL if the day number is not a valid date"),
    "dob_day": Column("release", "the raw MATLAB day number of the date of birth", "days"),
    "photo_year": Column("release", "year in which the picture was taken", "year"),
    "age": Column("release", "claimed age, whole years", "years"),
    "face_score": Column("release", "the release's own face score; -Inf if it found none"),
    "second_face_score": Column("release", "the release's own score for a second face"),
    "box_x": Column("release", "left of the release's own face box", "pixels"),
    "box_y": Column("release", "top of the release's own face box", "pixels"),
    "box_w": Column("release", "width of the release's own face box", "pixels"),
    "box_h": Column("release", "height of the release's own face box", "pixels"),
    "file_error": Column("files", "why the file could not be read; NULL if it could"),
    "bytes": Column("files", "size of the file", "bytes"),
    "sha256": Column("files", "hash of the file's bytes"),
    "format": Column("image", "picture format, from the content: JPEG, PNG, …"),
    "width": Column("image", "width, upright", "pixels"),
    "height": Column("image", "height, upright", "pixels"),
    "short_side": Column("image", "the smaller of width and height", "pixels"),
    "channels": Column("image", "colour channels in the file"),
    "grayscale": Column("image", "whether the picture shows no colour"),
    "phash": Column("image", "64-bit perceptual hash"),
    "sharpness": Column("image", "variance of the Laplacian at 256 pixels on the long side", "gray values²"),
    "brightness": Column("image", "mean gray value", "0 to 255"),
    "contrast": Column("image", "standard deviation of the gray values", "0 to 255"),
    "detector": Column("faces", "the face detector in force"),
    "faces": Column("faces", "number of faces found; NULL if the detector has not run"),
    "detector_error": Column("faces", "why the detector failed on the picture; NULL if it did not"),
    "face_no": Column("faces", "number of the chosen face, from 0 (the largest)"),
    "face_chosen_by": Column("faces", "how it was chosen: `release box`, `identity` or `largest`"),
    "face_x": Column("faces", "left of the chosen face", "pixels"),
    "face_y": Column("faces", "top of the chosen face", "pixels"),
    "face_w": Column("faces", "width of the chosen face", "pixels"),
    "face_h": Column("faces", "height of the chosen face", "pixels"),
    "face_size": Column("faces", "square root of the chosen face's area", "pixels"),
    "face_share": Column("faces", "height of the chosen face divided by the picture's height", "0 to 1"),
    "detection_score": Column("faces", "the detector's score for the chosen face", "0 to 1"),
    "face_sharpness": Column(
        "faces", "variance of the Laplacian of the chosen face at 96 pixels on its long side", "gray values²"
    ),
    "second_face_ratio": Column("faces", "size of the second largest face divided by the largest", "0 to 1"),
    "box_overlap": Column("faces", "intersection over union of the chosen face and the release's own box", "0 to 1"),
    "box_offset": Column("faces", "distance between their centres divided by the box's mean side"),
    "copies": Column("files", "number of records with the same file content, including this one"),
    "copy_rank": Column("files", "1 for the copy that stays, then 2, 3, …"),
    "copy_of": Column("files", "part/path of the copy that stays"),
    "copies_age_gap": Column("files", "largest difference between their claimed ages", "years"),
}
COLUMNS |= {
    column.name: Column(table.observer, column.meaning, column.unit)
    for table in EVIDENCE_TABLES
    for column in table.columns
    if column.meaning
}

# Columns that cannot be the value of a predicate.
NOT_NUMBERS = {
    "part", "path", "subject_id", "name", "gender", "dob", "file_error", "sha256", "format", "grayscale", "phash",
    "detector", "detector_error", "face_chosen_by", "copy_of",
} | {c.name for t in EVIDENCE_TABLES for c in t.columns if c.type.split()[0] in ("VARCHAR", "BOOLEAN")}  # fmt: skip


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
