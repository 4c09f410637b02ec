"""The synthetic IMDB-WIKI: people in two parts, with the faults of the real release, each recorded in `truth.csv`."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from agebench.demo.faces import photograph
from agebench.demo.matfile import cells, save_mat
from agebench.demo.people import Person, draw_person
from agebench.demo.sketch import Floats, background

# Shares of all records; every fault occurs at least once.
FAULTS = {
    "wrong_age": 0.08,
    "no_face": 0.035,
    "two_faces": 0.03,
    "near_duplicate": 0.023,
    "exact_duplicate": 0.02,
    "tiny_face": 0.013,
    "dob_zero": 0.01,
    "grayscale": 0.01,
    "gender_nan": 0.01,
    "age_over_100": 0.009,
    "blurred": 0.009,
    "negative_age": 0.009,
    "truncated": 0.007,
    "one_pixel": 0.006,
    "png_as_jpg": 0.006,
    "absolute_path": 0.004,
    "empty_file": 0.004,
    "missing_file": 0.003,
    "path_escape": 0.002,
}
OUTSIDE = {"absolute_path": "/etc/", "path_escape": "../../"}
IMDB_SHARE = 0.6
SIZES = (150, 180, 200, 240)
EPOCH = 366  # MATLAB's day number is Python's date ordinal + 366


@dataclass
class Record:
    """One row of the release and of the truth. born and photo_year are those stated by the release."""

    part: str
    number: int  # of the photograph, part of its name
    person: Person
    celebrity: int  # 0 in the wiki part
    born: datetime.date
    photo_year: int
    true_age: int
    fault: str = ""
    copy_of: Record | None = None
    box: Floats = field(init=False)  # (4,) left, top, width, height
    content: bytes = field(init=False)

    @property
    def file(self) -> str:
        """The path within the part's folder."""
        born, year = self.born, self.photo_year
        if self.part == "wiki":
            return f"{self.number % 100:02d}/{self.number}_{born.isoformat()}_{year}.jpg"
        name = f"nm{self.celebrity:07d}_rm{self.number * 61}_{born.year}-{born.month}-{born.day}_{year}.jpg"
        return f"{self.celebrity % 100:02d}/{name}"

    @property
    def path(self) -> str:
        """The path as the release states it."""
        return OUTSIDE.get(self.fault, "") + self.file


def draw_imdb_wiki(root: Path, n: int, rng: np.random.Generator) -> Iterator[None]:
    """Draw `n` records into `root`: imdb_crop, wiki_crop, and truth.csv; yields after each picture."""
    records = _people(n, rng)
    _inject_faults(records, rng)
    for record in sorted(records, key=lambda r: r.copy_of is not None):  # copies come last
        _draw(record, rng)
        path = root / f"{record.part}_crop" / record.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if record.fault != "missing_file":
            path.write_bytes(record.content)
        yield
    for part in ("imdb", "wiki"):
        fields = _fields([record for record in records if record.part == part], rng)
        save_mat(root / f"{part}_crop" / f"{part}.mat", {part: fields})
    # utkface_file is a column of releases made from real chips
    columns = ["part", "full_path", "true_age", "fault", "utkface_file", "duplicate_of"]
    rows = [(r.part, r.path, r.true_age, r.fault or None, None, r.copy_of and r.copy_of.path) for r in records]
    pl.DataFrame(rows, columns, orient="row", infer_schema_length=None).write_csv(root / "truth.csv")


# --- records ---------------------------------------------------------------------------------------------------


def _people(n: int, rng: np.random.Generator) -> list[Record]:
    """Faultless records: several per celebrity over the years, one per person in the wiki part."""
    in_imdb = round(n * IMDB_SHARE)
    records: list[Record] = []
    celebrity = 0
    while len(records) < n:
        person, first = draw_person(rng), _age(rng)
        born = datetime.date(int(rng.integers(1900, 1990)), int(rng.integers(1, 13)), int(rng.integers(1, 29)))
        part, ages = "wiki", [first]
        if (left := in_imdb - len(records)) > 0:
            celebrity += 1
            part, ages = "imdb", (first + rng.integers(-12, 16, rng.integers(3, 9))).clip(0, 95).tolist()[:left]
        for age in ages:
            year = born.year + age + (born.month >= 7)  # results in the age by the age rule
            number = int(rng.integers(10**6, 5 * 10**7))
            records.append(Record(part, number, person, celebrity if part == "imdb" else 0, born, year, age))
    return records


def _age(rng: np.random.Generator) -> int:
    """Mostly adults, as in the real release, with some of every age."""
    return int(np.clip(rng.normal(38, 13), 1, 95) if rng.random() < 0.6 else rng.integers(0, 96))


def _inject_faults(records: list[Record], rng: np.random.Generator) -> None:
    """Give one fault each to a share of the records; duplicates repeat faultless records."""
    order = rng.permutation(len(records)).tolist()
    for fault, share in FAULTS.items():
        for _ in range(max(1, round(share * len(records)))):
            record = records[order.pop()]
            record.fault = fault
            _mislabel(record, rng)
    for i, record in enumerate(records):
        if record.fault.endswith("_duplicate"):
            sources = [k for k in order if records[k].part == record.part] or order
            records[i] = _repeated(record, records[rng.choice(sources)], rng)


def _mislabel(record: Record, rng: np.random.Generator) -> None:
    born, age = record.born, record.true_age
    if record.fault == "wrong_age":
        wrong = int(rng.choice([other for other in range(1, 95) if abs(other - age) >= 12]))
        record.born = born.replace(year=born.year + age - wrong)
    elif record.fault == "age_over_100":
        record.born = born.replace(year=record.photo_year - int(rng.integers(104, 150)))
    elif record.fault == "negative_age":
        record.photo_year = born.year - int(rng.integers(2, 30))


def _repeated(record: Record, original: Record, rng: np.random.Generator) -> Record:
    """The record of a duplicate: the original's labels under another name, or (for some exact ones) another's
    labels."""
    if record.fault == "exact_duplicate" and rng.random() < 0.4:
        too_near = abs(record.true_age - original.true_age) < 6
        year = record.photo_year + (14 if too_near else 0)
        return replace(record, photo_year=year, true_age=original.true_age, copy_of=original)
    return replace(original, number=original.number + int(rng.integers(1, 10**6)), fault=record.fault, copy_of=original)


# --- pictures --------------------------------------------------------------------------------------------------


def _draw(record: Record, rng: np.random.Generator) -> None:
    """Set the record's box and content, including the effect of its fault."""
    size, fault, original = int(rng.choice(SIZES)), record.fault, record.copy_of
    if original and fault == "exact_duplicate":
        record.content, record.box = original.content, original.box
        return
    if original:
        lightness = ImageEnhance.Brightness(Image.open(io.BytesIO(original.content)))
        picture, record.box = ImageOps.scale(lightness.enhance(rng.uniform(0.93, 1.08)), 0.8), original.box * 0.8
    elif fault == "no_face":
        picture, record.box = Image.fromarray(background(rng, size)), np.array([0.3, 0.3, 0.4, 0.4]) * size
    else:
        drawn = photograph(record.person, record.true_age, rng, size)
        picture, record.box = Image.fromarray(drawn.pixels), drawn.box
    if fault == "two_faces":
        other = Image.fromarray(photograph(draw_person(rng), _age(rng), rng, size).pixels)
        picture = ImageOps.expand(picture, (0, 0, size, 0))
        picture.paste(other, (size, 0))
    elif fault == "tiny_face":  # a dozen pixels, somewhere on a larger background
        face, place = ImageOps.scale(picture, 0.16), rng.integers(0, int(1.8 * size), 2)
        picture = Image.fromarray(background(rng, 2 * size))
        picture.paste(face, tuple(place.tolist()))
        record.box = record.box * 0.16 + (*place, 0, 0)
    elif fault == "grayscale":
        picture = picture.convert("L").convert("RGB")
    elif fault == "blurred":
        picture = picture.filter(ImageFilter.GaussianBlur(size * 0.035))
    elif fault == "one_pixel":
        picture = picture.crop((0, 0, 1, 1))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG" if fault == "png_as_jpg" else "JPEG", quality=85)
    kept = {"empty_file": 0.0, "truncated": rng.uniform(0.3, 0.7)}.get(fault, 1)
    record.content = buffer.getvalue()[: int(buffer.tell() * kept)]


# --- the .mat --------------------------------------------------------------------------------------------------


def _fields(records: list[Record], rng: np.random.Generator) -> dict[str, Any]:
    n = len(records)
    faults = np.array([r.fault for r in records])
    days = np.array([r.born.toordinal() + EPOCH for r in records], dtype=np.int32)
    gender = np.array([float(r.person.man) for r in records])
    score = rng.uniform(1.2, 6.0, n).round(4)
    left_top, sides = np.hsplit(np.array([r.box for r in records]), 2)
    corners = np.hstack([left_top.round() + 1, (left_top + sides).round()])
    fields = {
        "dob": np.where(faults == "dob_zero", rng.choice([0, 0, 1, 300], n), days).astype(np.int32),
        "photo_taken": np.array([r.photo_year for r in records], dtype=np.uint16),
        "full_path": cells([r.path for r in records]),
        "gender": np.where(faults == "gender_nan", np.nan, gender),
        "name": cells([r.person.name for r in records]),
        "face_location": cells(list(corners[:, None])),
        "face_score": np.where(faults == "no_face", -np.inf, score),
        "second_face_score": np.where(faults == "two_faces", rng.uniform(1.5, 4.0, n).round(4), np.nan),
    }
    if records[0].part == "imdb":
        names = {r.celebrity: r.person.name for r in records if not r.copy_of}
        fields["celeb_names"] = cells([names.get(i + 1, "") for i in range(max(names))])
        fields["celeb_id"] = np.array([r.celebrity for r in records], dtype=np.float64)
    return fields
