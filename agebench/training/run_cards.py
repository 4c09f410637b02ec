"""Run cards as text and commands, without importing torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agebench import resources
from agebench.errors import AgebenchError
from agebench.manifest.places import manifest_of
from agebench.recipes import IMAGENET, Card, load_card, load_model_recipe, weights_path
from agebench.training.log import METRICS, read_log
from agebench.training.run_lock import holder
from agebench.training.runs import Listed

RUNS = Path("runs")


def matches_card(card: Card, records: int, labels: str | None) -> bool | None:
    """Whether a manifest matches its card; None if the count agrees and the card has no fingerprint of the labels."""
    if records != card.expected.records:
        return False
    return None if card.expected.labels is None else labels == card.expected.labels


@dataclass(frozen=True)
class TrainingProgress:
    """How far the training of a run is.

    process: the process on this machine that is training it. step: of the last line of its metrics, 0 before the
    first; seconds_left: at the speed of that line, without validations; val_mae: the last one, in years.
    """

    process: int
    step: int
    steps: int
    seconds_left: float | None
    val_mae: float | None


def training_now(run: Listed) -> TrainingProgress | None:
    """The progress of a run's training; None if no process is training it."""
    process = holder(run.path)
    if process is None:
        return None
    lines = read_log(run.path / METRICS)
    step, steps = int(lines[-1]["step"]) if lines else 0, int(run.card.get("steps") or 0)
    speed = next((line["pictures_per_second"] for line in lines[-1:] if line.get("pictures_per_second")), None)
    batch = run.card.get("recipe", {}).get("train", {}).get("batch")
    left = (steps - step) * batch / speed if speed and batch else None
    val_mae = next((line["val_mae"] for line in reversed(lines) if "val_mae" in line), None)
    return TrainingProgress(process, step, steps, left, val_mae)


def resume_command(run: Listed) -> str:
    """The command that resumes an unfinished run: its recipe with changes, its seed, manifest, plan and test sets."""
    card = run.card
    known = card.get("provenance", {})
    words = ["agebench", "train", str(card.get("model", "")), "--resume"]
    if known.get("manifest") and Path(known["manifest"]) != manifest_of("imdb-wiki"):
        words += ["--manifest", str(known["manifest"])]
    if known.get("plan"):
        words += ["--plan", str(known["plan"]["plan"])]
    for option, key in ("--without-leaks", "without_leaks_into"), ("--on", "test_sets"):
        words += [word for manifest in known.get(key, []) for word in (option, str(manifest))]
    if card.get("seed"):
        words += ["--seed", str(card["seed"])]
    if (processes := card.get("hardware", {}).get("processes", 1)) > 1:
        words += ["--devices", str(processes)]
    for key, value in changed_settings(card.get("recipe", {})):
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def changed_settings(recipe: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a run changed in the recipe of its name, as dotted keys and values."""
    try:
        name = str(recipe.get("name"))
        ours = dict(flat(load_model_recipe(name).model_dump(mode="json")))
    except AgebenchError:
        return []
    if weights := ours.get("network.weights"):
        ours["network.weights"] = weights_path(weights, resources.find("models", name).parent)
    return [(key, value) for key, value in flat(recipe) if key in ours and ours[key] != value]


def changes_in_words(recipe: dict[str, Any]) -> str:
    """The changed settings for a row of a table, where a file goes by its name alone."""
    changed = changed_settings(recipe)
    return ", ".join(
        f"{key} = {Path(value).name if key == 'network.weights' and value else value}" for key, value in changed
    )


def flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A recipe's tables as dotted keys and values."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def trained_on(card: dict[str, Any]) -> str:
    """One sentence on what a run was trained on, from its card."""
    known = card.get("provenance", {})
    title = "unknown records"
    if known.get("dataset"):
        try:
            dataset = load_card(known["dataset"])
        except AgebenchError:  # its card no longer exists
            return f"{int(card.get('train_records', 0)):,} records of {known['dataset']}, whose card is missing"
        title = dataset.title
        if matches_card(dataset, int(known.get("records", 0)), known.get("label_fingerprint")) is False:
            title += f" in layout only (not the release: {known.get('records', 0):,} records, "
            title += f"the card says {dataset.expected.records:,})"
    plan = known.get("plan")
    how = f", balanced to {plan['per_class']:,} per class" if plan else ", each record once"
    if card.get("recipe", {}).get("train", {}).get("distrust"):
        how += ", suspicious labels less often"
    records = int(card.get("train_records", 0))
    for name, count in known.get("without_leaks", {}).items():
        how += f", without {count:,} that leak into {name}"
    curated = f"curated by {known.get('curation_recipe') or 'no recipe'}"
    return f"{records:,} records of {title} {curated}{how}{_audited(known)}{_start(card)}"


def _start(card: dict[str, Any]) -> str:
    """What a network started from: a file of weights, or random ones where a cited method had others."""
    recipe = card.get("recipe", {})
    if loaded := card.get("pretrained"):
        total = len(loaded["taken"]) + len(loaded["new"])
        of = "ImageNet weights, " if recipe.get("network", {}).get("weights") == IMAGENET else ""
        return f"; started from {of}{loaded['file']} ({len(loaded['taken'])} of {total} tensors)"
    return "; started from random weights" if recipe.get("published_row") and recipe.get("network") else ""


def _audited(known: dict[str, Any]) -> str:
    """The audit's estimate of wrong labels in the training manifest; empty if nothing was read."""
    audit = known.get("audit")
    if not audit or not audit.get("interval"):
        return ""
    low, high = audit["interval"]
    then = "" if audit["curated"] == known.get("curated_fingerprint") else ", before later decisions"
    return (
        f"; labels still wrong by an audit of {audit['read']:,}: {audit['wrong']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}{then})"
    )
