"""The audit: kept records, drawn at random and read blind, and an estimate of how many labels are still wrong.

About half of the sample is read twice, because reviewers make mistakes too; `review.label_errors` has the estimate.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from glob import escape
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from agebench.errors import DecisionError, NothingCurated, UsageError
from agebench.files import read_file, write_whole
from agebench.manifest.places import curate_command, must_be_judged
from agebench.manifest.plans import curated_fingerprint
from agebench.manifest.store import open_manifest
from agebench.review.decisions import CANNOT_TELL, Decision, Looks, beside
from agebench.review.label_errors import posterior
from agebench.review.resolution import standing
from agebench.review.rows import auditable_rows, lines_of, present_pictures

TWICE = 0.5  # probability that a drawn record is read twice
Name = tuple[str, str]  # part, path


@dataclass(frozen=True)
class Sample:
    """The records of one audit, drawn once and kept in a file, so that later curations do not change them.

    curated: fingerprint of the curated rows from which they were drawn. kept: the number of those rows. strata: decade,
    kept, drawn. records: part, path, age (years), sha256, readings (1 or 2), in the order in which they are read.
    """

    n: int
    seed: int
    drawn_at: str
    curated: str
    kept: int
    strata: list[dict[str, int]]
    records: list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True)
class Estimate:
    """What an audit says about the labels that are kept. Shares are from 0 to 1; None before the first reading.

    n: records drawn; changed: those whose picture has changed since, which are left out. read: records with at least
    one reading; readings: all readings; called_wrong: readings that call the label wrong. wrong: posterior median of
    the share of wrong labels; interval: its 95 % interval (see `Posterior.interval`). mistakes: posterior median of the
    reviewers' error rate.
    """

    n: int
    read: int
    readings: int
    called_wrong: int
    wrong: float | None
    interval: tuple[float, float] | None
    mistakes: float | None
    seed: int
    drawn_at: str
    curated: str
    estimated_at: str
    changed: int = 0


def sample_file(manifest: Path, n: int, seed: int) -> Path:
    """The file of an audit's sample: `X.audit-N-SEED.json` beside `X.duckdb`."""
    return beside(manifest, f"audit-{n}-{seed}.json")


def draw_sample(kept: pl.DataFrame, *, n: int, seed: int, curated: str) -> Sample:
    """Draw n of the kept records (part, path, age, sha256), stratified by decade of age; all if there are fewer.

    Every decade gets its proportional share, rounded by largest remainders. Within a decade, records are drawn in the
    order of sha256(seed, part, path), which is the same on every machine. Of several rows with the same name, only the
    first can be drawn. Raises NothingCurated if there are no kept records.
    """
    kept = kept.unique(["part", "path"], keep="first", maintain_order=True)
    if kept.is_empty():
        raise NothingCurated(
            "There are no kept records to audit.", "`agebench curate` prints how many each check took."
        )
    sizes = kept.group_by(decade=pl.col("age") // 10 * 10).agg(kept=pl.len()).sort("decade")
    counts = [int(k) for k in sizes["kept"]]
    shares = allocate(counts, min(n, len(kept)))
    drawn = []
    strata = []
    for decade, size, share in zip(sizes["decade"].to_list(), counts, shares, strict=True):
        rows = kept.filter(pl.col("age") // 10 * 10 == decade).select("part", "path", "age", "sha256")
        keyed = sorted((_draw(seed, row[0], row[1]), row) for row in rows.iter_rows())
        drawn += keyed[:share]
        strata.append({"decade": int(decade), "kept": size, "drawn": share})
    records = [
        {"part": part, "path": path, "age": age, "sha256": sha256, "readings": 1 + _twice(key)}
        for key, (part, path, age, sha256) in sorted(drawn)
    ]
    return Sample(n, seed, _now(), curated, len(kept), strata, records)


def allocate(sizes: Sequence[int], n: int) -> list[int]:
    """n shared out in proportion to sizes by largest remainders; ties go to the earlier one. n is at most their sum."""
    total = sum(sizes)
    exact = [n * size / total for size in sizes]
    given = [int(share) for share in exact]
    by_rest = sorted(range(len(sizes)), key=lambda i: (given[i] - exact[i], i))
    for i in by_rest[: n - sum(given)]:
        given[i] += 1
    return given


def write_sample(path: Path, sample: Sample) -> None:
    """Write a sample, completely or not at all. Raises StorageError."""
    write_whole(path, (json.dumps(asdict(sample), indent=1) + "\n").encode())


def read_sample(path: Path) -> Sample:
    """A sample that was drawn before. Raises DecisionError if the file is not one."""
    try:
        sample = Sample(**json.loads(read_file(path)))
        if not all(set(r) == {"part", "path", "age", "sha256", "readings"} for r in sample.records):
            raise KeyError("records")
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DecisionError(f"{path} is not an audit sample: {error}.", "Move it away to draw another.") from error
    return sample


def samples_of(manifest: Path) -> list[Sample]:
    """All samples beside a manifest, the latest first. Raises DecisionError."""
    pattern = escape(beside(manifest, "").name) + "audit-*-*.json"
    found = [read_sample(path) for path in sorted(manifest.parent.glob(pattern))]
    return sorted(found, key=lambda sample: sample.drawn_at, reverse=True)


def describe_sample(sample: Sample) -> str:
    """How many readings a sample asks for, and why."""
    twice = sum(r["readings"] == 2 for r in sample.records)
    n = len(sample.records)
    return (
        f"{n:,} of the {sample.kept:,} kept records were drawn, from each decade of age in proportion to its size. "
        f"{twice:,} of them, each chosen with a probability of one half, are read twice: readers make mistakes too, "
        f"and second readings show how many. That makes {n + twice:,} readings."
    )


def looked(decisions: Sequence[Decision], by: str, name: Name, sha256: str | None, reading: int) -> Looks | None:
    """How old a reader said a face looks, in one of their readings of a record; what they said first counts. None if
    they have not said so yet: then they must not be shown the claimed age."""
    return _estimates(decisions).get((by, *name, sha256, reading))


def estimated_by(decisions: Sequence[Decision], by: str) -> set[Name]:
    """The records for which a reader has said, in any reading, how old the face looks."""
    return {(d.part, d.path) for d in decisions if d.kind == "estimate" and d.by == by}


def _estimates(decisions: Sequence[Decision]) -> dict[tuple[Any, ...], Looks | None]:
    """By reviewer, part, path, sha256 and reading."""
    said = sorted((d for d in decisions if d.kind == "estimate"), key=lambda d: d.order, reverse=True)
    return {(d.by, d.part, d.path, d.sha256, d.reading): d.looks for d in said}


def must_come_next(name: str, before: Looks | None, looks: Looks | None) -> None:
    """Raises UsageError if a step of a reading is out of order. before: how old the reader has already said the face
    looks; looks: what they say now, None if they judge the claim."""
    if looks is not None and before is not None:
        said = before if before == CANNOT_TELL else f"{before} years"
        raise UsageError(
            f"You have already said how old the face of {name} looks ({said}), and that cannot be changed.",
            "Judge the claimed age.",
        )
    if looks is None and before is None:
        raise UsageError(
            f"The claimed age of {name} can only be judged after you have said how old the face looks.",
            "Say that first (on the terminal: `--looks`).",
        )


def readings(sample: Sample, decisions: Sequence[Decision]) -> dict[Name, list[Decision]]:
    """The readings of each record of a sample, in order: the audit answers that were not undone, only the latest for
    each of a reviewer's two readings. Answers about another picture or age than the drawn one do not count: another
    sample may hold the record with an age that reviewers have decided since."""
    drawn = {(r["part"], r["path"]): r for r in sample.records}
    found: dict[Name, dict[tuple[str, int], Decision]] = {name: {} for name in drawn}
    for one in sorted(standing(decisions, "audit"), key=lambda d: d.order):
        name = (one.part, one.path)
        if name in found and (one.sha256, one.claimed) == (drawn[name]["sha256"], drawn[name]["age"]):
            found[name][one.by, one.reading or 1] = one
    return {name: sorted(had.values(), key=lambda d: d.order) for name, had in found.items()}


def changed_since(sample: Sample, present: Mapping[Name, str | None] | None) -> set[Name]:
    """Records of a sample whose picture has changed, or that are gone. present: sha256 of each record's current picture
    in the manifest; None if that is not known, and then nothing counts as changed."""
    if present is None:
        return set()
    drawn = {(r["part"], r["path"]): r["sha256"] for r in sample.records}
    return {name for name, sha256 in drawn.items() if name not in present or present[name] != sha256}


def to_read(
    sample: Sample,
    decisions: Sequence[Decision],
    by: str | None = None,
    present: Mapping[Name, str | None] | None = None,
) -> list[dict[str, Any]]:
    """What is still to be read, in order: first the records that nobody has read, then second readings, where the
    reviewer `by` gets the records that others have read first. Changed records are left out (see `changed_since`).

    Each row has part, path, sha256; reading: which reading of the record it is, or, with `by`, which of the reviewer's
    own; looks: how old the reviewer said the face looks if they have yet to judge the claim, else None; age: the
    claimed age, years, None until the reviewer has said how old the face looks. There is no verdict and no reason: the
    reading is blind.
    """
    done, changed = readings(sample, decisions), changed_since(sample, present)
    estimates = _estimates(decisions)
    waiting = []
    for place, r in enumerate(sample.records):
        name = (r["part"], r["path"])
        if name in changed:
            continue
        had = done[name]
        mine = {d.reading for d in had if d.by == by}
        free = (number for number in count(1) if number not in mine)  # numbers that the reviewer has not used
        for reading in range(len(had) + 1, r["readings"] + 1):
            own = next(free) if by is not None else reading
            looks = estimates.get((by, *name, r["sha256"], own))
            row = {k: r[k] for k in ("part", "path", "sha256")} | {"reading": own, "looks": looks}
            row["age"] = r["age"] if looks is not None else None
            waiting.append((reading, bool(mine), place, row))
    return [row for *_, row in sorted(waiting, key=lambda w: w[:3])]


def is_wrong(reading: Decision, age: int) -> bool:
    """Whether a reading calls the age wrong that was drawn with the record."""
    return reading.answer == "wrong" or (reading.answer == "age" and reading.age != age)


def foremost(
    samples: Sequence[Sample], decisions: Sequence[Decision], pictures: Sequence[Mapping[Name, str | None] | None]
) -> Estimate | None:
    """The estimate of the audit with the most records read, the first of equals: an audit that was just begun does not
    replace one that is done. pictures: the current ones for each sample (see `changed_since`). None if nothing was
    read."""
    found = [estimate(sample, decisions, present) for sample, present in zip(samples, pictures, strict=True)]
    best = max(found, key=lambda one: one.read, default=None)
    return best if best is not None and best.readings else None


def estimate(
    sample: Sample, decisions: Sequence[Decision], present: Mapping[Name, str | None] | None = None
) -> Estimate:
    """What the readings so far say about the share of wrong labels among the kept records. Records that have changed
    since they were drawn are left out (see `changed_since`)."""
    changed = changed_since(sample, present)
    done = {name: had for name, had in readings(sample, decisions).items() if name not in changed}
    ages = {(r["part"], r["path"]): r["age"] for r in sample.records}
    pairs = [(sum(is_wrong(d, ages[name]) for d in had), len(had)) for name, had in done.items() if had]
    found = posterior(pairs) if pairs else None
    return Estimate(
        n=len(sample.records),
        read=len(pairs),
        readings=sum(of for _, of in pairs),
        called_wrong=sum(wrong for wrong, _ in pairs),
        wrong=found.wrong[1] if found else None,
        interval=found.interval if found else None,
        mistakes=found.mistakes[1] if found else None,
        seed=sample.seed,
        drawn_at=sample.drawn_at,
        curated=sample.curated,
        estimated_at=_now(),
        changed=len(changed),
    )


def _draw(seed: int, part: str, path: str) -> str:
    return hashlib.sha256(f"{seed}/{part}/{path}".encode()).hexdigest()


def _twice(key: str) -> bool:
    """Whether a record is read twice; not from the digits of the hash that decide its order."""
    return int(key[-8:], 16) < TWICE * 2**32


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Audit:
    """A sample, what is still to be read (see `to_read`), and what the readings say. current: whether the curated rows
    and the pictures are still those from which it was drawn; curate: the command that stores the estimate in the
    manifest."""

    sample: Sample
    file: Path
    to_read: list[dict[str, Any]]
    estimate: Estimate
    current: bool
    curate: str
    notes: list[str] = field(default_factory=list)


def audit(manifest: Path, *, n: int | None = None, seed: int | None = None, by: str | None = None) -> Audit:
    """The audit of n kept records as far as it has been read. The first call draws the sample and keeps it in a file.

    n, seed: default to 200 and 0; if neither is given, those of the audit that was drawn last. Raises NothingCurated,
    UsageError, DecisionError, StorageError.
    """
    latest = next(iter(samples_of(manifest)), None) if n is None and seed is None else None
    n, seed = (latest.n, latest.seed) if latest else (200 if n is None else n, seed or 0)
    if not 1 <= n <= 1_000_000:
        raise UsageError(f"--n is {n}; expected 1 to 1,000,000 records.")
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}; expected 0 or more, below 2^63.")
    file = sample_file(manifest, n, seed)
    decisions, notes = lines_of(manifest)
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        fingerprint = curated_fingerprint(con)
        if file.is_file():
            sample, drawn = read_sample(file), False
        else:
            sample = draw_sample(auditable_rows(con), n=n, seed=seed, curated=fingerprint)
            drawn = True
        present = present_pictures(con, ((r["part"], r["path"]) for r in sample.records))
        curate = curate_command(con, manifest)
    if latest:
        notes.append(f"This is the audit that was drawn last, --n {n} --seed {seed}. Other numbers draw another one.")
    if drawn:
        write_sample(file, sample)
        notes.append(f"The sample was drawn and written to {file}.")
    changed = len(changed_since(sample, present))
    if changed:
        notes.append(f"The pictures of {changed:,} records have changed since they were drawn; they are left out.")
    current = sample.curated == fingerprint and not changed
    if not current:
        notes.append(
            "The curated records have changed since the sample was drawn; another `--seed` draws from the current ones."
        )
    notes.append(describe_sample(sample))
    waiting, found = to_read(sample, decisions, by, present), estimate(sample, decisions, present)
    return Audit(sample, file, waiting, found, current, curate, notes)
