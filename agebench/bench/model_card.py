"""The model card of a run: what it was trained on, how far it is off and for whom, and what it is not for.

After Mitchell et al., "Model cards for model reporting", FAT* 2019. It is written into the run's folder as
`MODEL_CARD.md` after each evaluation, from the card and the kept predictions alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

from agebench.bench.analysis import Analysis, analysis_of
from agebench.bench.evaluations import leaked, own_manifest_first, stored_evaluations
from agebench.bench.findings import calibration_of
from agebench.bench.statistics.groups import UNKNOWN, breakdown
from agebench.errors import AgebenchError
from agebench.files import write_whole
from agebench.manifest.manifest import Manifest
from agebench.recipes import IMAGENET, Card, load_card
from agebench.training.run_cards import trained_on
from agebench.training.runs import Listed, Run

FILE = "MODEL_CARD.md"
RESAMPLES = 200  # only means are shown
GROUPS = {"age": "true age", "gender": "gender", "race": "race"}
USE = """It estimates how old a person looks in an aligned photograph of their face, to study and compare age estimators
and to find wrong ages in sets of labelled photographs.

It is not for decisions about a person: it must not be the only check of an age limit, and it says nothing about
identity, health or anything but apparent age. Errors differ between groups (see below), and between photographs like
those it was trained on and others. Consent and the law of the place decide whether a face may be processed at all."""


def write_model_card(run: Run) -> Path:
    """Write the model card of a complete run into its folder. Raises RunError where its predictions are damaged, and
    StorageError."""
    path = run.path / FILE
    write_whole(path, model_card(run).encode())
    return path


def model_card(run: Run) -> str:
    """The card as Markdown. Raises RunError where the predictions of the run are damaged."""
    listed = Listed(run.id, run.path, True, run.card)
    measured = [
        analysis_of(listed, one) for one in own_manifest_first(stored_evaluations(run.path)) if one.mae is not None
    ]
    dataset = _dataset(run.card)
    sections = [
        f"# {run.recipe.label}\n\n{run.recipe.title}. Run `{run.id}`, made by agebench {_version(run.card)}.",
        f"## Intended use\n\n{USE}",
        "## Model\n\n" + _bullets(_model(run)),
        "## Training data\n\n" + _bullets(_data(run.card, dataset)) + _funnel(run.card),
        "## Errors\n\n" + _errors(measured),
        *(_by_group(one) for one in measured),
        "## Limits\n\n" + _bullets(_limits(run.card, measured)),
        "## Licences\n\n" + _bullets(_licences(run, dataset)),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _bullets(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _version(card: dict[str, Any]) -> str:
    return str(card.get("versions", {}).get("agebench", "?"))


def _dataset(card: dict[str, Any]) -> Card | None:
    with suppress(AgebenchError, TypeError):
        return load_card(str(card.get("provenance", {})["dataset"])) if card.get("provenance") else None
    return None


def _model(run: Run) -> Iterator[str]:
    recipe = run.card["recipe"]
    size = recipe["crop"]["size"]
    yield f"Input: an aligned face, {size} × {size} pixels, RGB."
    if "network" not in recipe:
        yield f"Method: {_named(recipe['method'])}."
        return
    yield f"Network: {_named(recipe['network'])}. Loss: {_named(recipe['loss'])}."
    train = recipe["train"]
    yield f"Trained for {train['steps']:,} steps of {train['batch']}, seed {run.card['seed']}."
    if run.card.get("val_mae") is not None:
        yield (
            f"MAE on {run.card['validation_records']:,} records of the same set that were held back: "
            f"{run.card['val_mae']:.2f} years."
        )


def _named(table: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in table.items() if key != "name" and value is not None)
    return f"{table['name']} ({settings})" if settings else str(table["name"])


def _data(card: dict[str, Any], dataset: Card | None) -> Iterator[str]:
    yield f"Trained on {trained_on(card).rstrip('.')}."
    records = card.get("classes", {}).get("records")
    if records and sum(records):
        known = [age for age, count in enumerate(records) if count]
        young = sum(records[:18]) / sum(records)
        yield f"Ages {known[0]} to {known[-1]}; {young:.0%} of the training records are under 18."
    if dataset:
        yield f"Source: {dataset.source}."
    if not (card.get("provenance", {}).get("audit") or {}).get("interval"):
        yield "How many of its labels are wrong is not known: nobody has audited them."


def _funnel(card: dict[str, Any]) -> str:
    """The curation's funnel, if the manifest is still that which the run was trained on."""
    known = card.get("provenance", {})
    with suppress(AgebenchError, OSError):
        manifest = Manifest(str(known.get("manifest", "")))
        funnel = manifest.funnel
        if manifest.meta.get("recipe_digest") == known.get("curation_recipe_digest") and len(funnel):
            lines = [f"| {row['step']} | {row['verdict'] or ''} | {row['records']:,} |" for row in funnel.to_dicts()]
            return "\n\n| curation | verdict | records |\n|---|---|---:|\n" + "\n".join(lines)
    return ""


def _errors(measured: list[Analysis]) -> str:
    if not measured:
        return "It has not been measured on a test set yet: `agebench evaluate` does so."
    lines = ["| test set | pictures | MAE, years | bias, years | within 5 years | 90 % intervals hold |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for one in measured:
        found, known = one.accuracy, calibration_of(one)
        covered = known.coverage.get(0.9) if known else None
        low, high = found.mae.interval or (None, None)
        interval = f" ({low:.2f} to {high:.2f})" if low is not None else ""
        lines.append(
            f"| {_set(one)} | {found.n:,} | {found.mae.value:.2f}{interval} | {found.bias.value:+.2f} "
            f"| {found.cs[5.0].value:.0%} | {'–' if covered is None else f'{covered:.0%}'} |"
        )
    return "\n".join(lines)


def _set(one: Analysis) -> str:
    with suppress(AgebenchError):
        title = load_card(one.evaluation.dataset).title
        return f"{title}, {one.evaluation.protocol}" if one.evaluation.protocol else title
    return one.evaluation.dataset


def _by_group(one: Analysis) -> str:
    rows = _groups(one)
    if rows.is_empty():
        return ""
    lines = [
        f"### {_set(one)}, by group",
        "",
        "| | | pictures | MAE, years | bias, years |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows.to_dicts():
        few = " (few people)" if row["few_subjects"] else ""
        lines.append(
            f"| {GROUPS[row['by']]} | {row['group']}{few} | {row['n']:,} | {row['mae']:.2f} | {row['bias']:+.2f} |"
        )
    return "\n".join(lines)


def _groups(one: Analysis) -> pl.DataFrame:
    """See `statistics.groups.breakdown`."""
    known = [column for column in GROUPS if column in one.predictions.columns]
    return breakdown(one.predictions, known, resamples=RESAMPLES).filter(pl.col("group") != UNKNOWN)


def _limits(card: dict[str, Any], measured: list[Analysis]) -> Iterator[str]:
    yield "It expects a face aligned as in its training: `agebench predict` says where another detector was used."
    if measured:
        worst = max(measured, key=lambda one: one.accuracy.mae.value)
        ages = _groups(worst).filter((pl.col("by") == "age") & ~pl.col("few_subjects")).sort("mae")
        if len(ages):
            last = ages.row(-1, named=True)
            yield f"On {_set(worst)} it is worst at {last['group']} years: {last['mae']:.1f} years off on average."
    for one in measured:
        if shared := leaked(one.evaluation):
            yield f"{shared:,} pictures of {_set(one)} leaked into its training (`report --without-leaks`)."
        if one.evaluation.matches_card is False:
            yield f"What was measured as {_set(one)} is not that release, only its layout."


def _licences(run: Run, dataset: Card | None) -> Iterator[str]:
    if dataset:
        yield f"Training data: {dataset.licence}. The weights were learnt from them."
    network = run.card["recipe"].get("network") or {}
    if network.get("weights") == IMAGENET:
        yield "Initial weights: trained on ImageNet, Apache-2.0."
    elif network.get("weights"):
        yield f"Initial weights: those of {Path(network['weights']).name}, under its own terms."
