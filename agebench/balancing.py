"""The 5000-per-class rule as a plan: how often each curated record is drawn in an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from agebench.errors import NothingCurated, UsageError
from agebench.manifest.places import find_manifest
from agebench.manifest.plans import PlanFacts, copies_by_rule, curated_fingerprint, now, write_plan
from agebench.manifest.renewal import is_judged
from agebench.manifest.store import get_meta, open_manifest, query

MANY_COPIES = 50
MOST_PER_CLASS = 10_000_000


@dataclass(frozen=True)
class BalanceReport:
    """A balance plan by class.

    Attributes:
        manifest: The file from which it was made.
        facts: The plan's name, settings and seed, and the curated records that it belongs to.
        classes: One row per age from 0 to 99: age (years), curated (records), drawn (records with copies ≥ 1), copies
            (their sum), most (copies of one record).
        notes: Sentences that the user should see.
    """

    manifest: Path
    facts: PlanFacts
    classes: pl.DataFrame
    notes: list[str]

    @property
    def total(self) -> int:
        """Pictures in an epoch."""
        return int(self.classes["copies"].sum())


def balance(
    manifest: str | Path | None = None,
    *,
    per_class: int = 5000,
    thin_ages: tuple[int, int] = (20, 60),
    plan: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
) -> BalanceReport:
    """Plan how often each curated record is drawn in an epoch, and store the plan in the manifest.

    The same seed gives the same plan on any machine.

    Args:
        manifest: A file, or a name in `manifests/` (see `Manifest`).
        per_class: Pictures that every age class should have in an epoch, 1 to 10,000,000.
        thin_ages: Ages (years, inclusive) whose classes are thinned out at random if they have more.
        plan: Its name, `per-class-N` by default.
        seed: Seed of the draw.
        dry_run: Do not store the plan.

    Raises:
        UsageError: A number is out of range.
        NothingCurated: No curated record has an age from 0 to 99, or curation was not finished.
        ManifestNotFound: There is no such manifest.
        ManifestBusy: Another process holds it.
    """
    manifest = find_manifest(manifest)
    low, high = thin_ages
    if not 1 <= per_class <= MOST_PER_CLASS:
        raise UsageError(f"--per-class is {per_class}; expected 1 to {MOST_PER_CLASS:,}.")
    if not 0 <= low <= high <= 99:
        raise UsageError(f"--thin-ages is {low}-{high}; expected two ages between 0 and 99, the smaller first.")
    with open_manifest(manifest, write=not dry_run) as con:
        rows = draw_plan(con, per_class=per_class, thin_ages=thin_ages, seed=seed)
        if rows.is_empty() and not is_judged(con):
            raise NothingCurated(f"The curation of {manifest} was not finished.", "Run `agebench curate` again.")
        if rows.is_empty():
            raise NothingCurated(
                f"{manifest} has no curated record with an age from 0 to 99 (recipe {get_meta(con, 'recipe')}).",
                "`agebench curate` prints how many records each check took; `--recipe` names a milder recipe.",
            )
        facts = PlanFacts(plan or f"per-class-{per_class}", per_class, thin_ages, seed, now(), curated_fingerprint(con))
        if not dry_run:
            write_plan(con, rows, facts)
        left_out = con.execute("SELECT count(*) FROM kept WHERE age NOT BETWEEN 0 AND 99").fetchall()[0][0]
    classes = (
        pl.DataFrame({"age": range(100)}, schema={"age": pl.Int32})
        .join(
            rows.group_by("age").agg(
                curated=pl.len(),
                drawn=(pl.col("copies") > 0).sum(),
                copies=pl.col("copies").sum(),
                most=pl.col("copies").max(),
            ),
            on="age",
            how="left",
        )
        .fill_null(0)
        .sort("age")
    )
    return BalanceReport(manifest, facts, classes, _notes(classes, int(left_out)))


def _notes(classes: pl.DataFrame, left_out: int) -> list[str]:
    notes = []
    empty = classes.filter(pl.col("curated") == 0)["age"].to_list()
    if empty:
        notes.append(f"No curated record of {_ranges(empty)}: these classes stay empty.")
    repeated = classes.filter(pl.col("most") > MANY_COPIES)
    if len(repeated):
        ages = _ranges(repeated["age"].to_list())
        most = int(repeated["most"].to_numpy().max())
        notes.append(
            f"More than {MANY_COPIES} copies of a record at {ages} (up to {most}): a network memorises such faces; "
            "a smaller --per-class repeats them less."
        )
    if left_out:
        notes.append(f"{left_out:,} curated records claim an age outside 0-99 and are not drawn.")
    return notes


def _ranges(ages: list[int]) -> str:
    """[0, 1, 2, 7] as `ages 0-2, 7`."""
    runs: list[list[int]] = []
    for age in ages:
        if runs and age == runs[-1][1] + 1:
            runs[-1][1] = age
        else:
            runs.append([age, age])
    return "ages " + ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def draw_plan(con: duckdb.DuckDBPyConnection, *, per_class: int, thin_ages: tuple[int, int], seed: int) -> pl.DataFrame:
    """The 5000 rule as rows: record_id, age, copies; curated records of ages 0 to 99 only."""
    rows = query(con, "SELECT record_id, part, path, age FROM kept WHERE age BETWEEN 0 AND 99 ORDER BY record_id")
    copies = copies_by_rule(rows, per_class=per_class, thin_ages=thin_ages, seed=seed)
    return rows.select("record_id", "age", copies)
