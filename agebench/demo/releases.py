"""Synthetic releases in the five published layouts, of made-up people drawn by the program.

IMDB-WIKI's has faults, each written down in `truth.csv`; the others are clean test sets.
"""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from agebench.demo.faces import Photograph, photograph
from agebench.demo.files import cells, column, save_jpeg, save_mat
from agebench.demo.imdb_wiki import draw_imdb_wiki
from agebench.demo.people import Person, draw_person
from agebench.errors import StorageError, UsageError

VERSION = 1  # raise when the same seed draws other files
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

    The same records and seed give the same bytes; what such a call has drawn before is used again. on_progress is
    called with pictures done and pictures in all. Raises UsageError where `folder/data` is something else, and
    StorageError where it cannot be written.
    """
    if records < 40:
        raise UsageError(f"{records} records are too few: the faults alone need 40.", "Ask for 40 or more.")
    counts = {"imdb-wiki": records, **{name: max(12, records // 5) for name in DATASETS[1:]}}
    mark = {"made_by": "agebench demo", "version": VERSION, "records": records, "seed": seed}
    data = folder / "data"
    if data.exists():
        if not _is_marked(data, mark):
            raise UsageError(
                f"{data} exists and is not what this demo draws ({records} records, seed {seed}).",
                "Choose another folder, or move it away.",
            )
        return _releases(data, counts)
    partial = folder / ".data.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _draw_all(partial, counts, seed, on_progress)
        (partial / DRAWN).write_text(json.dumps(mark), encoding="utf-8")
        partial.rename(data)
    except OSError as error:
        raise StorageError(
            f"The demo's releases cannot be written to {folder} ({error.strerror}).", "Check its space and permissions."
        ) from error
    return _releases(data, counts)


def _releases(data: Path, counts: dict[str, int]) -> DemoReleases:
    return DemoReleases({name: data / name for name in DATASETS}, data / "imdb-wiki" / "truth.csv", counts)


def _is_marked(data: Path, mark: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((data / DRAWN).read_text(encoding="utf-8")) == mark)
    except (OSError, ValueError):
        return False


def _draw_all(data: Path, counts: dict[str, int], seed: int, on_progress: Progress | None) -> None:
    total, done = sum(counts.values()), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(done, total)

    draw = (draw_imdb_wiki, _draw_fg_net, _draw_morph, _draw_cacd, _draw_utkface)
    for number, (name, drawer) in enumerate(zip(DATASETS, draw, strict=True)):
        rng = np.random.default_rng([seed, number])
        (data / name).mkdir()
        drawer(data / name, counts[name], rng, tick)


# --- the clean releases ----------------------------------------------------------------------------------------


def _draw_fg_net(root: Path, n: int, rng: np.random.Generator, tick: Callable[[], None]) -> None:
    """images/001A02.JPG and points/001a02.pts: about twelve pictures of each person, from childhood on."""
    (root / "images").mkdir()
    (root / "points").mkdir()
    for subject, person, count in _people(rng, n, each=12):
        letters: dict[int, int] = {}
        for age in sorted(int(a) for a in np.clip(rng.gamma(1.6, 10, count), 0, 69)):
            letter = "abcdefgh"[letters[age] - 1] if letters.get(age) else ""
            letters[age] = letters.get(age, 0) + 1
            picture = photograph(person, age, rng, int(rng.integers(180, 240)))
            name = f"{subject + 1:03d}A{age:02d}{letter}"
            save_jpeg(root / "images" / f"{name}.JPG", picture.pixels, rng)
            (root / "points" / f"{name.lower()}.pts").write_text(_pts(picture), encoding="ascii")
            tick()


def _draw_morph(root: Path, n: int, rng: np.random.Generator, tick: Callable[[], None]) -> None:
    """Album2/009055_1M54.JPG: about four pictures of each adult within a few years."""
    (root / "Album2").mkdir()
    for subject, person, count in _people(rng, n, each=4):
        first = int(rng.integers(16, 73))
        for shot in range(count):
            age = min(77, first + int(rng.integers(0, 2)) + shot)
            name = f"{9055 + subject:06d}_{shot}{person.gender[0].upper()}{age}.JPG"
            save_jpeg(root / "Album2" / name, photograph(person, age, rng, 220).pixels, rng)
            tick()


def _draw_cacd(root: Path, n: int, rng: np.random.Generator, tick: Callable[[], None]) -> None:
    """CACD2000/53_Robin_Williams_0001.jpg and celebrity2000_meta.mat, names not ASCII at times."""
    (root / "CACD2000").mkdir()
    rows: list[tuple[str, int, int, int, int]] = []
    stars: list[tuple[str, int, int]] = []
    for identity, person, count in _people(rng, n, each=8):
        born = int(rng.integers(1951, 1991))
        label = unicodedata.normalize("NFC", person.name).replace(" ", "_")
        star = f"{label}_{identity + 1}" if any(label == s[0] for s in stars) else label
        stars.append((star, identity + 1, born))
        for shot in range(count):
            year = int(rng.integers(max(2004, born + 14), min(2013, born + 62) + 1))
            name = f"{year - born}_{star}_{shot + 1:04d}.jpg"
            save_jpeg(root / "CACD2000" / name, photograph(person, year - born, rng, 200).pixels, rng)
            rows.append((name, identity + 1, year, born, shot + 1))
            tick()
    frame = pl.DataFrame(rows, schema=["name", "identity", "year", "birth", "rank"], orient="row")
    pictures = {
        "age": column(frame["year"] - frame["birth"], "u1"),
        **{name: column(frame[name], "u2") for name in ("identity", "year", "birth")},
        "rank": column(frame["rank"], "u1"),
        "lfw": column(pl.repeat(0, len(rows), eager=True), "u1"),
        "name": cells(frame["name"].to_list()).T,
    }
    names, numbers, births = zip(*stars, strict=True)
    people = {
        "name": cells(list(names)).T,
        "identity": column(pl.Series(numbers), "i4"),
        "birth": column(pl.Series(births), "i4"),
    }
    save_mat(root / "celebrity2000_meta.mat", {"celebrityData": people, "celebrityImageData": pictures})


def _draw_utkface(root: Path, n: int, rng: np.random.Generator, tick: Callable[[], None]) -> None:
    """26_1_0_20170104165809116.jpg.chip.jpg: a tight chip of another person each, all ages."""
    for number in range(n):
        person, age = draw_person(rng), int(rng.integers(1, 91))
        stamp = 20170104165800000 + 37 * number
        name = f"{age}_{int(person.gender == 'female')}_{int(rng.integers(5))}_{stamp}.jpg.chip.jpg"
        save_jpeg(root / name, photograph(person, age, rng, 200, tight=True).pixels, rng)
        tick()


def _people(rng: np.random.Generator, n: int, each: int) -> list[tuple[int, Person, int]]:
    """(number, person, pictures) with `n` pictures in all and about `each` of a person."""
    people = max(1, round(n / each))
    counts = np.diff(np.linspace(0, n, people + 1).round().astype(int))
    return [(i, draw_person(rng), int(count)) for i, count in enumerate(counts)]


def _pts(picture: Photograph) -> str:
    lines = "\n".join(f"{x:.4f} {y:.4f}" for x, y in picture.points.tolist())
    return f"version: 1\nn_points: {len(picture.points)}\n{{\n{lines}\n}}\n"
