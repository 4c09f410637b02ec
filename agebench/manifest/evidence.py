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
    "path": Column("release", "path as the release spells it"),
    "subject_id": Column("release", "who is shown, as far as the release tells"),
    "name": Column("release", "name as the release spells it"),
    "gender": Column("release", "male, female or NULL"),
    "dob": Column("release", "date of birth; NULL where the day number is no date"),
    "dob_day": Column("release", "the raw MATLAB day number of the date of birth", "days"),
    "photo_year": Column("release", "year in which the picture was taken", "year"),
    "age": Column("release", "claimed age, whole years", "years"),
    "face_score": Column("release", "the release's own face score; -Inf where it found none"),
    "second_face_score": Column("release", "the release's own score of a second face"),
    "box_x": Column("release", "left of the release's own face box", "pixels"),
    "box_y": Column("release", "top of the release's own face box", "pixels"),
    "box_w": Column("release", "width of the release's own face box", "pixels"),
    "box_h": Column("release", "height of the release's own face box", "pixels"),
    "file_error": Column("files", "why the file could not be read, or NULL"),
    "bytes": Column("files", "size of the file", "bytes"),
    "sha256": Column("files", "hash of the file's bytes"),
    "format": Column("image", "picture format by its content: JPEG, PNG, …"),
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
    "faces": Column("faces", "faces found; NULL where the detector did not look"),
    "detector_error": Column("faces", "why the detector failed on the picture, or NULL"),
    "face_no": Column("faces", "which of the faces is meant, from 0 (the largest)"),
    "face_chosen_by": Column("faces", "why that face: `release box`, `identity` or `largest`"),
    "face_x": Column("faces", "left of the face that is meant", "pixels"),
    "face_y": Column("faces", "top of the face that is meant", "pixels"),
    "face_w": Column("faces", "width of the face that is meant", "pixels"),
    "face_h": Column("faces", "height of the face that is meant", "pixels"),
    "face_size": Column("faces", "square root of that face's area", "pixels"),
    "face_share": Column("faces", "height of that face over the picture's height", "0 to 1"),
    "detection_score": Column("faces", "the detector's score of the face that is meant", "0 to 1"),
    "face_sharpness": Column(
        "faces", "variance of the Laplacian of that face at 96 pixels on its long side", "gray values²"
    ),
    "second_face_ratio": Column("faces", "size of the second largest face over the largest", "0 to 1"),
    "box_overlap": Column("faces", "intersection over union of that face with the release's own box", "0 to 1"),
    "box_offset": Column("faces", "distance of their centres over the box's mean side"),
    "copies": Column("files", "records whose files hold the same bytes, this one included"),
    "copy_rank": Column("files", "1 for the one of them that stays, then 2, 3, …"),
    "copy_of": Column("files", "part/path of the one that stays"),
    "copies_age_gap": Column("files", "largest difference of their claimed ages", "years"),
}
COLUMNS |= {
    column.name: Column(table.observer, column.meaning, column.unit)
    for table in EVIDENCE_TABLES
    for column in table.columns
    if column.meaning
}

# Columns that no predicate's value can be.
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
