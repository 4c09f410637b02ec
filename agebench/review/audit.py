"""The audit: a blind sample of the records that are kept, and how many of their labels are still wrong.

Half of the sample is read twice, for reviewers make mistakes too; the estimate is that of `review.label_errors`.
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

TWICE = 0.5  # share of the sample that is read twice
Name = tuple[str, str]  # part, path


@dataclass(frozen=True)
class Sample:
    """The records of one audit, drawn once and kept in a file, so that later curations do not change it.

    curated: fingerprint of the curated rows that it was drawn from. kept: their number. strata: decade, kept, drawn.
    records: part, path, age (years), sha256, readings (1 or 2: how often it is to be read), in the order of reading.
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
    """What an audit says of the labels that are kept. Shares are from 0 to 1; None before the first reading.

    n: records drawn; changed: those of them whose picture has changed since, which are left out; read: records with a
    reading; readings: their number; called_wrong: readings that say so. wrong: median of the posterior of the share of
    wrong labels; interval: 95 % of it (see `Posterior.interval`). mistakes: median of the reviewers' mistake rate.
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
    """Where the sample of an audit lies: `X.audit-N-SEED.json` beside `X.duckdb`."""
    return beside(manifest, f"audit-{n}-{seed}.json")


def draw_sample(kept: pl.DataFrame, *, n: int, seed: int, curated: str) -> Sample:
    """Draw n of the kept records (part, path, age, sha256), stratified by decade of age.

    Every decade has its proportional share, rounded by largest remainders; within one the order is sha256(seed, part,
    path), the same on any machine. Of several rows with one name the first counts. All where there are fewer. Raises
    NothingCurated where there is none.
    """
    kept = kept.unique(["part", "path"], keep="first", maintain_order=True)
    if kept.is_empty():
        raise NothingCurated("There is no kept record to audit.", "`agebench curate` prints which check took how many.")
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
    """n in proportion to sizes, by largest remainders; the earlier one of equals. n is at most their sum."""
    total = sum(sizes)
    exact = [n * size / total for size in sizes]
    given = [int(share) for share in exact]
    by_rest = sorted(range(len(sizes)), key=lambda i: (given[i] - exact[i], i))
    for i in by_rest[: n - sum(given)]:
        given[i] += 1
    return given


def write_sample(path: Path, sample: Sample) -> None:
    """Write a sample whole or not at all. Raises StorageError."""
    write_whole(path, (json.dumps(asdict(sample), indent=1) + "\n").encode())


def read_sample(path: Path) -> Sample:
    """A sample that was drawn before. Raises DecisionError where the file is none."""
    try:
        sample = Sample(**json.loads(read_file(path)))
        if not all(set(r) == {"part", "path", "age", "sha256", "readings"} for r in sample.records):
            raise KeyError("records")
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise DecisionError(f"{path} is no sample of an audit: {error}.", "Move it away to draw another.") from error
    return sample


def samples_of(manifest: Path) -> list[Sample]:
    """All samples that lie beside a manifest, the latest first. Raises DecisionError."""
    pattern = escape(beside(manifest, "").name) + "audit-*-*.json"
    found = [read_sample(path) for path in sorted(manifest.parent.glob(pattern))]
    return sorted(found, key=lambda sample: sample.drawn_at, reverse=True)


def describe_sample(sample: Sample) -> str:
    """How many readings a sample asks for, and why."""
    twice = sum(r["readings"] == 2 for r in sample.records)
    n = len(sample.records)
    return (
        f"{n:,} of the {sample.kept:,} kept records were drawn, from each decade of age in proportion to its size. "
        f"{twice:,} of them, about half and chosen at random, are read twice: readers make mistakes too, and the "
        f"second reading shows how many. That makes {n + twice:,} readings."
    )


def looked(decisions: Sequence[Decision], by: str, name: Name, sha256: str | None, reading: int) -> Looks | None:
    """How old a reader said that a face looks, in one of their readings of a record; what they said first counts. None
    where they have not said it yet: then they must not be shown the claimed age."""
    return _estimates(decisions).get((by, *name, sha256, reading))


def estimated_by(decisions: Sequence[Decision], by: str) -> set[Name]:
    """The records of which a reader has said how old the face looks, in any reading."""
    return {(d.part, d.path) for d in decisions if d.kind == "estimate" and d.by == by}


def _estimates(decisions: Sequence[Decision]) -> dict[tuple[Any, ...], Looks | None]:
    """By reviewer, part, path, sha256 and reading."""
    said = sorted((d for d in decisions if d.kind == "estimate"), key=lambda d: d.order, reverse=True)
    return {(d.by, d.part, d.path, d.sha256, d.reading): d.looks for d in said}


def must_come_next(name: str, before: Looks | None, looks: Looks | None) -> None:
    """Raises UsageError where a step of a reading is out of order. before: how old the reader has said that the face
    looks, looks: what they say now, None where they judge the claim."""
    if looks is not None and before is not None:
        said = before if before == CANNOT_TELL else f"{before} years"
        raise UsageError(
            f"How old the face of {name} looks was said already ({said}), and cannot be changed.",
            "Judge the claimed age.",
        )
    if looks is None and before is None:
        raise UsageError(
            f"The claimed age of {name} is judged only after you have said how old the face looks.",
            "Say that first (on the terminal: `--looks`).",
        )


def readings(sample: Sample, decisions: Sequence[Decision]) -> dict[Name, list[Decision]]:
    """The readings of each record of a sample, in order: the audit answers that are not taken back, of each reviewer's
    first and second reading the latest. An answer about another picture or another age than the one that was drawn is
    none: another sample may hold the record with the age that people decided since."""
    drawn = {(r["part"], r["path"]): r for r in sample.records}
    found: dict[Name, dict[tuple[str, int], Decision]] = {name: {} for name in drawn}
    for one in sorted(standing(decisions, "audit"), key=lambda d: d.order):
        name = (one.part, one.path)
        if name in found and (one.sha256, one.claimed) == (drawn[name]["sha256"], drawn[name]["age"]):
            found[name][one.by, one.reading or 1] = one
    return {name: sorted(had.values(), key=lambda d: d.order) for name, had in found.items()}


def changed_since(sample: Sample, present: Mapping[Name, str | None] | None) -> set[Name]:
    """Records of a sample whose picture is another one now, or that are gone. present: sha256 of the pictures of the
    manifest's records as they are now; None where that is not known, and then nothing has changed."""
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
    """What is still to be read, in order: first what nobody has read, then the second readings, those of others'
    records first for the reviewer `by`; without what has changed since (see `changed_since`).

    part, path, sha256, reading: which reading of the record it is, or, for a reviewer, which of their own; looks: how
    old the reviewer said that the face looks, where the claim waits to be judged; else None. age: the claimed age,
    years; None until the reviewer has said how old the face looks. No verdict, no reason: it is blind.
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
        free = (number for number in count(1) if number not in mine)  # a number of their own for each that is left
        for reading in range(len(had) + 1, r["readings"] + 1):
            own = next(free) if by is not None else reading
            looks = estimates.get((by, *name, r["sha256"], own))
            row = {k: r[k] for k in ("part", "path", "sha256")} | {"reading": own, "looks": looks}
            row["age"] = r["age"] if looks is not None else None
            waiting.append((reading, bool(mine), place, row))
    return [row for *_, row in sorted(waiting, key=lambda w: w[:3])]


def is_wrong(reading: Decision, age: int) -> bool:
    """Whether a reading says that the age that was drawn with the record is wrong."""
    return reading.answer == "wrong" or (reading.answer == "age" and reading.age != age)


def foremost(
    samples: Sequence[Sample], decisions: Sequence[Decision], pictures: Sequence[Mapping[Name, str | None] | None]
) -> Estimate | None:
    """The estimate of the audit of which most was read, of equals the first: one that is begun does not take the place
    of one that is done. pictures: the present ones of each sample (see `changed_since`). None where nothing was
    read."""
    found = [estimate(sample, decisions, present) for sample, present in zip(samples, pictures, strict=True)]
    best = max(found, key=lambda one: one.read, default=None)
    return best if best is not None and best.readings else None


def estimate(
    sample: Sample, decisions: Sequence[Decision], present: Mapping[Name, str | None] | None = None
) -> Estimate:
    """What the readings so far say of the share of wrong labels among the kept records, without those that have changed
    since they were drawn (see `changed_since`)."""
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
    """Read twice by other digits of the draw than those that order it."""
    return int(key[-8:], 16) < TWICE * 2**32


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(frozen=True)
class Audit:
    """A sample, what of it waits (see `review.audit.to_read`), and what the readings say. current: whether the curated
    rows and the sample's pictures are those that it was drawn from; curate: the command that takes the estimate into
    the manifest."""

    sample: Sample
    file: Path
    to_read: list[dict[str, Any]]
    estimate: Estimate
    current: bool
    curate: str
    notes: list[str] = field(default_factory=list)


def audit(manifest: Path, *, n: int | None = None, seed: int | None = None, by: str | None = None) -> Audit:
    """The audit of n kept records: drawn at the first call and kept in a file, then read as far as the answers go.

    n, seed: 200 and 0; where neither is given, those of the audit that was drawn last. Raises NothingCurated,
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
        notes.append(f"It is the audit that was drawn last, --n {n} --seed {seed}; other numbers draw another.")
    if drawn:
        write_sample(file, sample)
        notes.append(f"The sample was drawn and is kept in {file}.")
    changed = len(changed_since(sample, present))
    if changed:
        notes.append(f"The pictures of {changed:,} records have changed since they were drawn; they are left out.")
    current = sample.curated == fingerprint and not changed
    if not current:
        notes.append("The curated records have changed since it was drawn; another `--seed` audits those of now.")
    notes.append(describe_sample(sample))
    waiting, found = to_read(sample, decisions, by, present), estimate(sample, decisions, present)
    return Audit(sample, file, waiting, found, current, curate, notes)
