"""agebench evaluate"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.render import Json, RunsFolder, console, plain, print_json, progress

if TYPE_CHECKING:
    from rich.console import Console

    from agebench.bench.evaluations import Evaluation


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench evaluate RUN --on fg-net")(evaluate)


def evaluate(
    estimator: Annotated[
        str,
        typer.Argument(
            help="Run (id, start of an id, model name or folder), recipe, ONNX file, module:function, predictions "
            "(.csv, .parquet), `ready`, or A+B."
        ),
    ],
    on: Annotated[list[str] | None, typer.Option(help="Test set, by its name in manifests/ or its file [all].")] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="A protocol of the test set's card that trains on the set itself, such as leave-one-person-out; "
            "ESTIMATOR is then a model recipe."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the trainings of --protocol.")] = 0,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
) -> None:
    """Measure a run, or any other estimator, on test sets.

    The predictions are kept in the run's folder, or in one of the estimator's own beside the runs.
    """
    import agebench

    if protocol is not None:
        _cross_validate(estimator, on or [], protocol, seed, runs, json)
        return
    from agebench.estimators import believed_training
    from agebench.estimators.finding import find_estimator

    found = find_estimator(estimator, runs)
    with (
        progress("cropping", "faces", quiet=json) as crops,
        progress("predicting", "faces", quiet=json) as predictions,
    ):
        results = agebench.evaluate(found, on or (), runs=runs, on_crops=crops, on_predict=predictions)
    render_evaluations(results, console(json))
    told = getattr(found.recipe, "trained_on", None)
    if told:
        console(json).print(plain(f"{found.called}: {believed_training(told)}."))
    if json:
        about = {"command": "evaluate", "run": found.id} | ({"trained_on": told} if told else {})
        print_json(about | {"results": [evaluation_json(e) for e in results]})


def _cross_validate(recipe: str, on: list[str], protocol: str, seed: int, runs: Path, as_json: bool) -> None:
    from agebench.bench.cross_validation import cross_validate
    from agebench.training.resolve import resolve_recipe

    if not on:
        raise typer.BadParameter("it needs the test set: --on fg-net.", param_hint="--protocol")
    resolved = resolve_recipe(recipe)
    results = []
    for name in on:
        with (
            progress("reading", "faces", quiet=as_json) as crops,
            progress("training", "folds", quiet=as_json) as folds,
        ):
            results.append(
                cross_validate(
                    resolved, name, protocol, runs=runs, seed=seed, on_crops=crops,
                    on_fold=lambda done, total, fold: folds(done, total),
                )
            )  # fmt: skip
    render_evaluations(results, console(as_json))
    if as_json:
        print_json(
            {
                "command": "evaluate", "recipe": resolved.name, "protocol": protocol,
                "results": [evaluation_json(e) for e in results],
            }
        )  # fmt: skip


def render_evaluations(results: list[Evaluation], out: Console) -> None:
    from rich.table import Table

    from agebench.bench.leakage import leak_phrases, unsearched_phrase

    if not results:
        out.print("There is no test manifest: `agebench curate fg-net` (or morph, cacd) makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("test set", "n", "MAE, years", "95 % interval", "CS(5)", "no face", "unreadable"):
        table.add_column(name, justify="left" if name == "test set" else "right", overflow="fold")
    remarks = []
    for e in results:
        words = {True: "matches the card", False: "does not match the card", None: "record count matches the card"}
        remark = words[e.matches_card]
        if e.matches_card is False and e.records != e.expected:
            remark += f" ({e.records:,} records, not {e.expected:,})"
        if e.pictures_match is False:
            remark += "; the pictures differ from the card's"
        if leaks := leak_phrases(e):
            remark += f"; {leaks}"
        if not e.training_known:
            remark += "; leaks could not be looked for without a list of the training pictures"
        if unsearched := unsearched_phrase(e.unsearched):
            remark += f"; {unsearched}"
        if e.detector != e.training_detector:
            remark += f"; faces by {e.detector or 'no detector'}, in training by {e.training_detector or 'no detector'}"
        table.add_row(
            e.name, f"{e.n:,}", _number(e.mae), f"{e.ci95[0]:.2f} to {e.ci95[1]:.2f}" if e.ci95 else "-",
            f"{e.cs5:.1%}" if e.cs5 is not None else "-", f"{e.undetected:,}", f"{e.unreadable:,}",
        )  # fmt: skip
        remarks.append(f"{plain(e.name)}: {remark}")
    out.print(table)
    for remark in remarks:
        out.print(remark)


def evaluation_json(e: Evaluation) -> dict[str, Any]:
    return dataclasses.asdict(e)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
