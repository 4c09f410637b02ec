"""Synthetic releases in the five published layouts, of made-up people drawn by the program.

IMDB-WIKI has faults, each listed in `truth.csv`; the others are clean test sets.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from agebench.demo.faces import photograph
from agebench.demo.imdb_wiki import draw_imdb_wiki
from agebench.demo.matfile import save_mat
from agebench.demo.people import Person, draw_person
from agebench.errors import StorageError, UsageError

VERSION = 2  # raise it when the same seed draws other files
DATASETS = ("imdb-wiki", "fg-net", "morph", "cacd", "utkface")
DRAWN = "demo.json"  # marks a folder of releases as drawn
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DemoReleases:
    """roots: dataset → folder. truth: the CSV of IMDB-WIKI's injected faults. records: dataset → how many."""

    roots: dict[str, Path]
    truth: Path
    records: dict[str, int]


def draw_releases(folder: Path, *, records: int, seed: int, on_progress: Progress | None = None) -> DemoReleases:
    """Draw the five releases in `folder/data`: IMDB-WIKI with `records` records, the others with a share of that.

    The same records and seed give the same bytes, and releases from an earlier call are used again. on_progress is
    called with pictures done and pictures in all. Raises UsageError if `folder/data` is something else, and
    StorageError if it cannot be written.
    """
    if records < 40:
        raise UsageError(f"{records} records are too few: the faults alone take 40.", "Ask for 40 or more.")
    counts = {"imdb-wiki": records, **{name: max(12, records // 5) for name in DATASETS[1:]}}
    mark = json.dumps({"made_by": "agebench demo", "version": VERSION, "records": records, "seed": seed}).encode()
    data, partial = folder / "data", folder / ".data.partial"
    releases = DemoReleases({name: data / name for name in DATASETS}, data / "imdb-wiki" / "truth.csv", counts)
    if data.exists():
        if not (data / DRAWN).is_file() or (data / DRAWN).read_bytes() != mark:
            raise UsageError(
                f"{data} exists, but was not drawn by this demo ({records} records, seed {seed}).",
                "Choose another folder, or move it away.",
            )
        return releases
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _draw_all(partial, counts, seed, on_progress)
        (partial / DRAWN).write_bytes(mark)
        partial.rename(data)
    except OSError as error:
        raise StorageError(
            f"The demo's releases cannot be written to {folder} ({error.strerror}).", "Check its space and permissions."
        ) from error
    return releases


def _draw_all(data: Path, counts: dict[str, int], seed: int, on_progress: Progress | None) -> None:
    total, done = sum(counts.values()), 0
    drawers = (draw_imdb_wiki, _draw_fg_net, _draw_morph, _draw_cacd, _draw_utkface)
    for number, (name, draw) in enumerate(zip(DATASETS, drawers, strict=True)):
        (data / name).mkdir()
        for _ in draw(data / name, counts[name], np.random.default_rng([seed, number])):
            done += 1
            if on_progress is not None:
                on_progress(done, total)


# --- the clean releases: each drawer yields after each picture ---------------------------------------------------


def _draw_fg_net(root: Path, n: int, rng: np.random.Generator) -> Iterator[None]:
    """images/001A02.JPG and points/001a02.pts: about twelve pictures of each person, from childhood on."""
    (root / "images").mkdir()
    (root / "points").mkdir()
    for subject, person, count in _people(rng, n, each=12):
        ages = sorted(np.clip(rng.gamma(1.6, 10, count), 0, 69).astype(int).tolist())
        for shot, age in enumerate(ages):
            again = ages[:shot].count(age)
            picture = photograph(person, age, rng, int(rng.integers(180, 240)))
            name = f"{subject:03d}A{age:02d}{chr(ord('a') + again - 1) if again else ''}"
            Image.fromarray(picture.pixels).save(root / "images" / f"{name}.JPG", quality=90)
            head, file = "version: 1\nn_points: 68\n{", root / "points" / f"{name.lower()}.pts"
            np.savetxt(file, picture.points, "%.4f", header=head, footer="}", comments="")
            yield


def _draw_morph(root: Path, n: int, rng: np.random.Generator) -> Iterator[None]:
    """Album2/009055_1M54.JPG: about four pictures of each adult within a few years."""
    (root / "Album2").mkdir()
    for subject, person, count in _people(rng, n, each=4):
        first = int(rng.integers(16, 73))
        for shot in range(count):
            age = min(77, first + int(rng.integers(0, 2)) + shot)
            name = f"{9054 + subject:06d}_{shot}{person.gender[0].upper()}{age}.JPG"
            Image.fromarray(photograph(person, age, rng, 220).pixels).save(root / "Album2" / name, quality=90)
            yield


def _draw_cacd(root: Path, n: int, rng: np.random.Generator) -> Iterator[None]:
    """CACD2000/53_Robin_Williams_0001.jpg and celebrity2000_meta.mat, some names are not ASCII."""
    (root / "CACD2000").mkdir()
    pictures: list[tuple[str, int, int, int, int, int, int]] = []
    stars: list[tuple[str, int, int]] = []
    for identity, person, count in _people(rng, n, each=8):
        born, star = int(rng.integers(1951, 1991)), unicodedata.normalize("NFC", person.name).replace(" ", "_")
        star = f"{star}_{identity}" if any(star == other for other, _, _ in stars) else star
        stars.append((star, identity, born))
        for rank in range(1, count + 1):
            year = int(rng.integers(max(2004, born + 14), min(2013, born + 62) + 1))
            name = f"{year - born}_{star}_{rank:04d}.jpg"
            picture = photograph(person, year - born, rng, 200)
            Image.fromarray(picture.pixels).save(root / "CACD2000" / name, quality=90)
            pictures.append((name, year - born, identity, year, born, rank, 0))
            yield
    small, large = pl.UInt8, pl.UInt16
    kinds = {"age": small, "identity": large, "year": large, "birth": large, "rank": small, "lfw": small}
    tables = {
        "celebrityData": pl.DataFrame(
            stars, {"name": pl.String, "identity": pl.Int32, "birth": pl.Int32}, orient="row"
        ),
        "celebrityImageData": pl.DataFrame(pictures, {"name": pl.String, **kinds}, orient="row"),
    }
    fields = {name: {c.name: c.to_numpy() for c in table} for name, table in tables.items()}
    save_mat(root / "celebrity2000_meta.mat", fields, columns=True)


def _draw_utkface(root: Path, n: int, rng: np.random.Generator) -> Iterator[None]:
    """26_1_0_20170104165809116.jpg.chip.jpg: a tight chip of another person each, all ages."""
    for number in range(n):
        person, age = draw_person(rng), int(rng.integers(1, 91))
        stamp = 20170104165800000 + 37 * number
        name = f"{age}_{int(person.gender == 'female')}_{int(rng.integers(5))}_{stamp}.jpg.chip.jpg"
        Image.fromarray(photograph(person, age, rng, 200, tight=True).pixels).save(root / name, quality=90)
        yield


def _people(rng: np.random.Generator, n: int, each: int) -> Iterator[tuple[int, Person, int]]:
    """(number from 1, person, pictures) with `n` pictures in all and about `each` of a person."""
    for number, pictures in enumerate(np.array_split(np.arange(n), max(1, round(n / each)))):
        yield number + 1, draw_person(rng), len(pictures)
