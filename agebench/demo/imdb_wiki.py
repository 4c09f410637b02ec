"""The synthetic IMDB-WIKI: people in two parts, and the faults of the real one, each recorded in `truth.csv`."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.demo.faces import photograph
from agebench.demo.files import cells, encoded, save_mat
from agebench.demo.people import Person, draw_person
from agebench.demo.sketch import background

# Shares of all records; every fault comes at least once.
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
IMDB_SHARE = 0.6
SIZES = (150, 180, 200, 240)
EPOCH = 366  # MATLAB's day number is Python's date ordinal + 366


@dataclass(frozen=True)
class Record:
    """One row of the release and of the truth. born and photo_year are as the release states them."""

    part: str
    path: str
    person: Person
    celebrity: int  # 0 in the wiki part
    born: datetime.date
    photo_year: int
    true_age: int
    fault: str = ""
    copy_of: int = -1  # index of the record that this one repeats


def draw_imdb_wiki(root: Path, n: int, rng: np.random.Generator, tick: Callable[[], None]) -> None:
    """Draw `n` records into `root`: imdb_crop, wiki_crop, and truth.csv."""
    records = _with_faults(_people(n, rng), rng)
    copied = {record.copy_of for record in records}
    sources: dict[int, Drawn] = {}
    boxes: list[Box] = [(0.0, 0.0, 0.0, 0.0)] * n
    for i, record in sorted(enumerate(records), key=lambda item: item[1].copy_of >= 0):  # copies come last
        drawn = _copy(record, sources[record.copy_of], rng) if record.copy_of >= 0 else _original(record, rng)
        if i in copied:
            sources[i] = drawn
        boxes[i] = drawn.box
        _write(root, record, drawn.content)
        tick()
    for part in ("imdb", "wiki"):
        (root / f"{part}_crop").mkdir(exist_ok=True)
        chosen = [(r, b) for r, b in zip(records, boxes, strict=True) if r.part == part]
        save_mat(root / f"{part}_crop" / f"{part}.mat", {part: _fields(part, chosen, rng)})
    truth = {
        "part": [r.part for r in records],
        "full_path": [r.path for r in records],
        "true_age": [r.true_age for r in records],
        "fault": [r.fault or None for r in records],
        "utkface_file": [None] * len(records),  # the column of the releases made from real chips
        "duplicate_of": [records[r.copy_of].path if r.copy_of >= 0 else None for r in records],
    }
    pl.DataFrame(truth).write_csv(root / "truth.csv")


# --- records ---------------------------------------------------------------------------------------------------


def _people(n: int, rng: np.random.Generator) -> list[Record]:
    """Faultless records: of each celebrity several over the years, of everybody in the wiki part one."""
    in_imdb = round(n * IMDB_SHARE)
    records: list[Record] = []
    celebrity = 0
    while len(records) < in_imdb:
        celebrity += 1
        person, first, born = draw_person(rng), _age(rng), _birthday(rng)
        for age in sorted(np.clip(first + rng.integers(-12, 16, int(rng.integers(3, 9))), 0, 95).tolist()):
            records.append(_record("imdb", person, celebrity, born, int(age), rng))
    records = records[:in_imdb]
    return records + [_record("wiki", draw_person(rng), 0, _birthday(rng), _age(rng), rng) for _ in range(n - in_imdb)]


def _age(rng: np.random.Generator) -> int:
    """Mostly adults, as in the real release, with some of every age."""
    return int(np.clip(rng.normal(38, 13), 1, 95) if rng.random() < 0.6 else rng.integers(0, 96))


def _birthday(rng: np.random.Generator) -> datetime.date:
    return datetime.date(int(rng.integers(1900, 1990)), int(rng.integers(1, 13)), int(rng.integers(1, 29)))


def _record(
    part: str, person: Person, celebrity: int, born: datetime.date, age: int, rng: np.random.Generator
) -> Record:
    """A record whose stated dates give `age` by the age rule."""
    year = born.year + age + (born.month >= 7)
    return _named(Record(part, "", person, celebrity, born, year, age), rng)


def _named(record: Record, rng: np.random.Generator) -> Record:
    number = int(rng.integers(10**6, 5 * 10**7))
    b = record.born
    if record.part == "imdb":
        name = f"nm{record.celebrity:07d}_rm{number * 61}_{b.year}-{b.month}-{b.day}_{record.photo_year}.jpg"
        return replace(record, path=f"{record.celebrity % 100:02d}/{name}")
    return replace(record, path=f"{number % 100:02d}/{number}_{b.isoformat()}_{record.photo_year}.jpg")


def _with_faults(records: list[Record], rng: np.random.Generator) -> list[Record]:
    """Give a share of the records a fault each; duplicates repeat faultless records."""
    n = len(records)
    order = rng.permutation(n).tolist()
    out = list(records)
    for fault, share in FAULTS.items():
        for _ in range(max(1, round(share * n))):
            i = order.pop()
            out[i] = replace(_mislabelled(records[i], fault, rng), fault=fault)
    sources = [i for i in order if not out[i].fault]
    for i, record in enumerate(out):
        if record.fault.endswith("_duplicate"):
            source = int(rng.choice([k for k in sources if out[k].part == record.part] or sources))
            out[i] = _repeated(record, out[source], source, rng)
    return out


def _repeated(record: Record, original: Record, source: int, rng: np.random.Generator) -> Record:
    """The record of a duplicate: the original's labels under another name, or (some exact ones) another's labels."""
    if record.fault == "exact_duplicate" and rng.random() < 0.4:
        too_near = abs(record.true_age - original.true_age) < 6
        year = record.photo_year + (14 if too_near else 0)
        return _named(replace(record, photo_year=year, true_age=original.true_age, copy_of=source), rng)
    return _named(replace(original, fault=record.fault, copy_of=source), rng)


def _mislabelled(record: Record, fault: str, rng: np.random.Generator) -> Record:
    born, year = record.born, record.photo_year
    if fault == "wrong_age":
        wrong = record.true_age
        while abs(wrong - record.true_age) < 12:
            wrong = int(rng.integers(1, 95))
        born = born.replace(year=born.year + record.true_age - wrong)
    elif fault == "age_over_100":
        born = born.replace(year=year - int(rng.integers(104, 150)))
    elif fault == "negative_age":
        year = born.year - int(rng.integers(2, 30))
    elif fault == "absolute_path":
        return replace(record, path=f"/etc/{record.path}")
    elif fault == "path_escape":
        return replace(record, path=f"../../{record.path}")
    else:
        return record
    return _named(replace(record, born=born, photo_year=year), rng)


# --- pictures --------------------------------------------------------------------------------------------------

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawn:
    """pixels: (H, W, 3) RGB. box: of the face, as the release has it. content: the file's bytes."""

    pixels: NDArray[np.uint8]
    box: Box
    content: bytes


def _original(record: Record, rng: np.random.Generator) -> Drawn:
    size, quality = int(rng.choice(SIZES)), int(rng.integers(72, 97))
    if record.fault == "no_face":
        pixels = _scenery(rng, size)
        return Drawn(pixels, (0.3 * size, 0.3 * size, 0.4 * size, 0.4 * size), encoded(pixels, quality=quality))
    picture = photograph(record.person, record.true_age, rng, size)
    pixels, box = picture.pixels, picture.box
    if record.fault == "two_faces":
        other = photograph(draw_person(rng), _age(rng), rng, size)
        pixels = np.concatenate([pixels, other.pixels], axis=1)
    elif record.fault == "tiny_face":
        pixels, box = _in_the_distance(pixels, box, size, rng)
    elif record.fault == "grayscale":
        pixels = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    elif record.fault == "blurred":
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), size * 0.035), dtype=np.uint8)
    elif record.fault == "one_pixel":
        pixels = pixels[:1, :1]
    content = encoded(pixels, ".png" if record.fault == "png_as_jpg" else ".jpg", quality)
    if record.fault == "empty_file":
        content = b""
    elif record.fault == "truncated":
        content = content[: int(len(content) * rng.uniform(0.3, 0.7))]
    return Drawn(pixels, box, content)


def _copy(record: Record, original: Drawn, rng: np.random.Generator) -> Drawn:
    """The same bytes, or for a near duplicate the picture smaller, a little lighter or darker, compressed again."""
    if record.fault == "exact_duplicate":
        return original
    scale = 0.8
    side = round(original.pixels.shape[0] * scale)
    smaller = cv2.resize(original.pixels, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    pixels = np.clip(smaller * np.float32(rng.uniform(0.93, 1.08)), 0, 255).astype(np.uint8)
    x, y, w, h = (v * scale for v in original.box)
    return Drawn(pixels, (x, y, w, h), encoded(pixels, quality=65))


def _scenery(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """A picture of no one: a wall, a sky, and things in front of it."""
    picture = background(rng, size).astype(np.float32)
    for _ in range(int(rng.integers(2, 7))):
        colour = tuple(float(c) for c in rng.uniform(10, 245, 3))
        x, y, w, h = (int(v) for v in rng.uniform(0, size, 4) * (1, 1, 0.5, 0.5))
        if rng.random() < 0.5:
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
        else:
            cv2.line(picture, (x, y), (x + w, y - h), colour, int(rng.integers(2, 12)), cv2.LINE_AA)
    picture += rng.normal(0, 2, picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _in_the_distance(
    pixels: NDArray[np.uint8], box: Box, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Box]:
    """The picture reduced to a face of a dozen pixels, somewhere on a larger background."""
    small = int(size * 0.16)
    scale = small / size
    reduced = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
    whole = np.clip(background(rng, size * 2), 0, 255).astype(np.uint8)
    x, y = (int(v) for v in rng.integers(0, size * 2 - small, 2))
    whole[y : y + small, x : x + small] = reduced
    left, top, width, height = (v * scale for v in box)
    return whole, (left + x, top + y, width, height)


def _write(root: Path, record: Record, content: bytes) -> None:
    """The file of a record, always inside its part's folder, whatever the record's path pretends."""
    if record.fault == "missing_file":
        return
    path = root / f"{record.part}_crop" / record.path.removeprefix("/etc/").removeprefix("../../")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- the .mat --------------------------------------------------------------------------------------------------


def _fields(part: str, records: list[tuple[Record, Box]], rng: np.random.Generator) -> dict[str, Any]:
    n = len(records)
    faults = np.array([record.fault for record, _ in records])
    days = np.array([record.born.toordinal() + EPOCH for record, _ in records], dtype=np.int32)
    zero = faults == "dob_zero"
    days[zero] = rng.choice([0, 0, 1, 300], int(zero.sum()))
    gender = np.array([1.0 if record.person.gender == "male" else 0.0 for record, _ in records])
    gender[faults == "gender_nan"] = np.nan
    score = rng.uniform(1.2, 6.0, n).round(4)
    score[faults == "no_face"] = -np.inf
    second = np.full(n, np.nan)
    second[faults == "two_faces"] = rng.uniform(1.5, 4.0, int((faults == "two_faces").sum())).round(4)
    box = [np.array([[round(x) + 1.0, round(y) + 1.0, round(x + w), round(y + h)]]) for _, (x, y, w, h) in records]
    fields = {
        "dob": days[None],
        "photo_taken": np.array([[record.photo_year for record, _ in records]], dtype=np.uint16),
        "full_path": cells([record.path for record, _ in records]),
        "gender": gender[None],
        "name": cells([record.person.name for record, _ in records]),
        "face_location": cells(box),
        "face_score": score[None],
        "second_face_score": second[None],
    }
    if part == "imdb":
        names = {record.celebrity: record.person.name for record, _ in records if record.copy_of < 0}
        fields["celeb_names"] = cells([names.get(i + 1, "") for i in range(max(names))])
        fields["celeb_id"] = np.array([[record.celebrity for record, _ in records]], dtype=np.float64)
    return fields
