"""report --explain: where one number of the tables comes from, down to files and their hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agebench.bench.evaluations import Evaluation, own_manifest_first, stored_evaluations
from agebench.bench.leakage import leak_phrases, unsearched_phrase
from agebench.bench.published import load_published
from agebench.bench.tables import Table
from agebench.errors import AgebenchError, UsageError
from agebench.recipes import load_card
from agebench.training.run_cards import trained_on
from agebench.training.runs import WEIGHTS, Listed, committed_hashes, find_run, list_evaluated


@dataclass(frozen=True)
class Explained:
    """One number of the tables. facts: description → text, the most important first."""

    tables: list[int]
    method: str
    column: str
    source: str
    mae: float
    facts: dict[str, str]


def explain_cells(tables: list[Table], cell: str, runs_dir: Path) -> list[Explained]:
    """Where the numbers named by `cell` come from: COLUMN (its measured numbers), or METHOD:COLUMN with a part of the
    method's or the run's name.

    Raises UsageError if there is no such number, and RunError if a run's files are damaged.
    """
    method, _, column = (text.strip().casefold() for text in cell.rpartition(":"))
    found: dict[tuple[str, str, str], Explained] = {}
    for table in tables:
        for row in table.rows:
            named = any(method in text.casefold() for text in (row.method, row.run or ""))
            if not named or not (method or row.source == "measured"):
                continue
            for name, number in row.cells.items():
                if number is None or name.casefold() != column:
                    continue
                key = row.source, row.method, name
                if key in found:
                    found[key].tables.append(table.number)
                    continue
                facts = (
                    {"cited from": _citation(table.number, row.method)}
                    if row.source == "published"
                    else _measured(number.runs, name, runs_dir)
                )
                found[key] = Explained([table.number], row.method, name, row.source, number.value, facts)
    if found:
        return list(found.values())
    columns = sorted({name for table in tables for name in table.columns})
    methods = sorted({row.method for table in tables for row in table.rows})
    raise UsageError(
        f"No number in the tables matches '{cell}'.",
        f"Expected COLUMN (its measured numbers) or METHOD:COLUMN. Columns: {', '.join(columns)}; methods: "
        f"{'; '.join(methods)}.",
    )


def _citation(number: int, method: str) -> str:
    published = load_published()
    table = next(table for table in published.table if table.number == number)
    return published.citation(next(row for row in table.row if row.method == method), table)


def _measured(runs: Sequence[str], column: str, runs_dir: Path) -> dict[str, str]:
    facts: dict[str, str] = {}
    for run_id in runs:
        for what, text in _of_run(run_id, column, runs_dir).items():
            facts[f"{what} ({run_id})" if len(runs) > 1 else what] = text
    return facts


def _of_run(run_id: str, column: str, runs_dir: Path) -> dict[str, str]:
    listed = next(one for one in list_evaluated(runs_dir) if one.id == run_id)
    evaluation = next(e for e in own_manifest_first(stored_evaluations(listed.path)) if _column(e) == column)
    origin = _of_training(listed) if listed.trained else _of_estimator(listed)
    return _of_evaluation(evaluation, listed.path) | origin


def _of_evaluation(evaluation: Evaluation, folder: Path) -> dict[str, str]:
    interval = evaluation.ci95
    drawn_by = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    return {
        "mean absolute error": f"{evaluation.mae:.4f} years"
        + (f", 95 % interval {interval[0]:.4f} to {interval[1]:.4f} (bootstrap by {drawn_by})" if interval else ""),
        "within 5 years": "unknown" if evaluation.cs5 is None else f"{evaluation.cs5:.2%}",
        "predictions": f"{evaluation.n:,}, of which {evaluation.undetected:,} without a detected face; "
        f"{evaluation.unreadable:,} unreadable pictures left out",
        "leaks": _leaks(evaluation),
        "predictions' file": f"{folder / 'predictions' / evaluation.name}.parquet, sha256 "
        f"{evaluation.predictions_sha256}",
        "test set": f"{evaluation.manifest}: {evaluation.records:,} records, the card says {evaluation.expected:,}; "
        f"labels {_agreement(evaluation.matches_card)}, pictures {_agreement(evaluation.pictures_match)}; faces by "
        f"{evaluation.detector or 'no detector'}"
        + (f", in training by {evaluation.training_detector or 'no detector'}" if evaluation.training_known else ""),
    }


def _leaks(evaluation: Evaluation) -> str:
    if not evaluation.training_known:
        return "could not be looked for without a list of the training pictures"
    found = leak_phrases(evaluation) or "none found"
    return "; ".join(filter(None, (found, unsearched_phrase(evaluation.unsearched))))


def _of_training(listed: Listed) -> dict[str, str]:
    card = find_run(str(listed.path), listed.path.parent).card
    known = card.get("provenance", {})
    return {
        "weights": f"{listed.path / WEIGHTS}, sha256 {committed_hashes(listed.path)[WEIGHTS]}",
        "trained on": trained_on(card),
        "training manifest": f"{known.get('manifest')}, curated rows {known.get('curated_fingerprint')}, labels "
        f"{known.get('label_fingerprint')}, recipe {known.get('curation_recipe_digest')}",
        "model": f"{card.get('model')}, recipe {card.get('recipe_digest')}, "
        + (f"{card['steps']:,} steps, " if card.get("steps") else "")
        + f"seed {card.get('seed')}",
        "when and where": f"{str(card.get('finished'))[:16]}, {card.get('hardware', {}).get('device')}, "
        + ", ".join(f"{name} {version}" for name, version in card.get("versions", {}).items()),
    }


def _of_estimator(listed: Listed) -> dict[str, str]:
    card = listed.card
    facts = card["estimator"]
    told = card["recipe"].get("trained_on") or "not known"
    return {
        "trained on": f"{told} (not trained here)",
        "estimator": ", ".join(f"{key} {value}" for key, value in facts.items() if key != "files"),
        "files": "; ".join(f"{path}, sha256 {digest}" for path, digest in facts["files"].items()) or "none",
        "when": f"{str(card.get('finished'))[:16]}, "
        + ", ".join(f"{name} {version}" for name, version in card.get("versions", {}).items()),
    }


def _column(evaluation: Evaluation) -> str:
    try:
        protocol = load_card(evaluation.dataset).protocol
    except AgebenchError:
        return evaluation.dataset
    return protocol.column if protocol else evaluation.dataset


def _agreement(value: bool | None) -> str:
    return {True: "match the card's fingerprint", False: "do not match the card", None: "not verified"}[value]
