"""How two curation recipes differ on one manifest, record by record and by age."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from agebench.curation.checks import compile_recipe, load_recipe, must_judge
from agebench.curation.verdicts import judge_apart
from agebench.manifest.evidence import observers_run
from agebench.manifest.store import get_meta, open_manifest
from agebench.manifest.summary import judged_rows
from agebench.recipes import CurationRecipe

VERDICTS = ("keep", "review", "reject")


@dataclass(frozen=True)
class Comparison:
    """The recipe in force compared with another.

    matrix: verdict (in force), keep, review, reject (by the other recipe): numbers of records. by_age: age, records,
    kept, other_kept, for every claimed age. changed: part, path, age, verdict, reasons, other_verdict, other_reasons,
    for every record whose verdict differs. not_run: checks of the other recipe whose observer has not run.
    """

    recipe: str
    other: str
    matrix: pl.DataFrame
    by_age: pl.DataFrame
    changed: pl.DataFrame
    not_run: list[str] = field(default_factory=list)


def other_recipe(name: str, dataset: str) -> tuple[CurationRecipe, Path]:
    """A recipe to compare with, and its file. Raises UsageError, and RecipeError if it is invalid or for another
    dataset."""
    recipe, file = load_recipe(name)
    must_judge(recipe, file, dataset)
    return recipe, file


def compare(manifest: Path, other: str) -> Comparison:
    """Judge a curated manifest by another recipe and compare with the one in force; nothing is stored.

    Raises UsageError, RecipeError for a recipe that is invalid or for another dataset, and whatever `open_manifest`
    raises.
    """
    with open_manifest(manifest) as con:
        in_force = get_meta(con, "recipe") or "?"
        recipe, file = other_recipe(other, get_meta(con, "dataset") or "?")
        checks = compile_recipe(recipe, str(file), observers_run(con))
        ours = judged_rows(con)
        theirs = judge_apart(con, checks, recipe=recipe.name)
    theirs = theirs.rename({"verdict": "other_verdict", "reasons": "other_reasons"})
    both = ours.join(theirs, on="record_id", maintain_order="left")
    counts = both.group_by("verdict", "other_verdict").len()
    matrix = pl.DataFrame(
        [
            {"verdict": one} | {other: _count(counts, one, other) for other in VERDICTS}
            for one in VERDICTS
        ]
    )  # fmt: skip
    by_age = (
        both.filter(pl.col("age").is_between(0, 99))
        .group_by("age")
        .agg(
            records=pl.len(),
            kept=(pl.col("verdict") == "keep").sum(),
            other_kept=(pl.col("other_verdict") == "keep").sum(),
        )
        .sort("age")
    )
    changed = both.filter(pl.col("verdict") != pl.col("other_verdict")).drop("record_id")
    return Comparison(in_force, recipe.name, matrix, by_age, changed, [c.name for c in checks if not c.runs])


def _count(counts: pl.DataFrame, one: str, other: str) -> int:
    return int(counts.filter((pl.col("verdict") == one) & (pl.col("other_verdict") == other))["len"].sum())
