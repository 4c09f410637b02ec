"""Everything that the kept predictions of an estimator say of it on one test set, and how estimators differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from agebench.bench.evaluations import Evaluation, own_manifest_first, stored_evaluations, stored_predictions
from agebench.bench.protocols import first_draw
from agebench.bench.statistics.accuracy import Accuracy, accuracy
from agebench.bench.statistics.calibration import Calibration, calibration
from agebench.bench.statistics.comparison import Difference, all_differences
from agebench.bench.statistics.groups import breakdown
from agebench.bench.statistics.nist import NistFigures, nist_figures
from agebench.errors import AgebenchError, Missing, RunError, UsageError, nearest
from agebench.manifest.places import find_manifest
from agebench.training.run_cards import RUNS, changes_in_words
from agebench.training.runs import Listed, list_evaluated

RESAMPLES = 2000  # of intervals of groups, of which there are many
PAIRED_RESAMPLES = 20_000  # no p is below 1 / 10,000, and Holm's correction multiplies it by the number of pairs


@dataclass(frozen=True)
class Analysis:
    """An estimator on one test set.

    Attributes:
        id: The run, or the folder of an estimator that was not trained here.
        label: The name of its row in the tables.
        evaluation: Its evaluation.
        predictions: A row a picture: path, age, predicted (years), subject_id, face_no, leak, spread, probabilities,
            and the columns of `face_facts`.
    """

    id: str
    label: str
    evaluation: Evaluation
    predictions: pl.DataFrame

    @cached_property
    def accuracy(self) -> Accuracy:
        """MAE, RMSE, bias, balanced MAE and cumulative scores."""
        frame = self.predictions
        return accuracy(frame["age"].to_numpy(), frame["predicted"].to_numpy(), frame["subject_id"])

    @cached_property
    def groups(self) -> pl.DataFrame:
        """MAE and bias by age, gender, face size, pose and sharpness (see `statistics.groups.breakdown`)."""
        return breakdown(self.predictions, resamples=RESAMPLES)

    @cached_property
    def nist(self) -> NistFigures:
        """The figures of NIST's age evaluation."""
        return nist_figures(self.predictions, resamples=RESAMPLES)

    @cached_property
    def calibration(self) -> Calibration | None:
        """How well its distributions agree with the ages; None for an estimator without distributions."""
        frame = self.predictions
        if "probabilities" not in frame.columns or frame["probabilities"].null_count():
            return None
        return calibration(frame["age"].to_numpy(), np.asarray(frame["probabilities"].to_list(), np.float64))


def analyses(
    test_set: str, runs: str | Path = RUNS, *, protocol: str = "", without_leaks: bool = False
) -> list[Analysis]:
    """Every estimator that was measured on a test set, by MAE; of the runs of one recipe and settings the newest.

    test_set: a dataset, or one manifest of it: its file, its name without ending, or the name of the evaluation.
    protocol: a protocol of the card that trains on the set itself; empty for the usual one. without_leaks: leave out
    the pictures that leaked into any of the estimators' training, for all of them alike.

    Raises Missing where none was measured, or no picture is left.
    """
    measured: list[tuple[Listed, list[Evaluation]]] = []
    for listed in list_evaluated(Path(runs)):
        if listed.complete:
            with suppress(AgebenchError):  # the report says which runs are left out
                evaluations = own_manifest_first(stored_evaluations(listed.path))
                measured.append((listed, [one for one in evaluations if one.mae is not None]))
    everything = [one for _, evaluations in measured for one in evaluations]
    meant = _meant(test_set, everything)
    newest: dict[tuple[str, str], Analysis] = {}
    for listed, evaluations in measured:
        for evaluation in [one for one in evaluations if meant(one) and one.protocol == protocol][:1]:
            with suppress(AgebenchError):
                one = analysis_of(listed, evaluation)
                newest[str(listed.card.get("model")), one.label] = one
    if not newest:
        raise _nothing_measured(test_set, protocol, runs, everything, [one for one in everything if meant(one)])
    found = list(newest.values())
    if without_leaks:
        leaked = pl.concat(
            [one.predictions.filter(pl.col("leak").is_not_null()).select("part", "path") for one in found]
        )
        found = [
            replace(one, predictions=one.predictions.join(leaked, on=["part", "path"], how="anti")) for one in found
        ]
    found = [one for one in found if len(one.predictions)]
    if not found:
        raise Missing(f"No picture of {test_set} is left without those that leaked into training.")
    return sorted(found, key=lambda one: one.accuracy.mae.value)


def _meant(test_set: str, everything: Sequence[Evaluation]) -> Callable[[Evaluation], bool]:
    """Whether an evaluation is of a test set: of this dataset or name, of this manifest file, or of a manifest of this
    name without ending, the first of these that any evaluation is. Raises UsageError if several manifests of other
    datasets have that name."""
    file = Path(test_set).resolve()
    rules: tuple[Callable[[Evaluation], bool], ...] = (
        lambda one: test_set in (one.dataset, one.name),
        lambda one: Path(one.manifest).resolve() == file,
        lambda one: Path(one.manifest).stem == test_set,
    )
    rule = next((rule for rule in rules if any(map(rule, everything))), rules[0])
    if rule is rules[-1]:
        manifests = {Path(one.manifest).resolve(): one.manifest for one in everything if rule(one)}
        if len(manifests) > 1:
            named = ", ".join(sorted(manifests.values()))
            raise UsageError(f"Several manifests are called {test_set}: {named}.", "Name the file.")
    return rule


def _nothing_measured(
    test_set: str, protocol: str, runs: str | Path, everything: Sequence[Evaluation], of_it: Sequence[Evaluation]
) -> Missing:
    """of_it: the evaluations of the test set by other protocols."""
    named = f"the protocol {protocol} of {test_set}" if protocol else test_set
    says = f"Nothing was measured on {named} in {runs}."
    with_protocol = f" --protocol {protocol}" if protocol else ""
    next_step = f"`agebench evaluate ESTIMATOR --on {test_set}{with_protocol}` does so."
    if of_it:
        protocols = sorted({one.protocol for one in of_it})
        others = ", ".join(f"`--protocol {name}`" if name else "the usual one" for name in protocols)
        return Missing(f"{says} Measured there: {others}.", next_step)
    known = {name for one in everything for name in (one.dataset, Path(one.manifest).stem)}
    try:
        find_manifest(test_set)
    except UsageError:  # there is no such name that could be measured
        next_step = ""
    except AgebenchError:
        pass
    return Missing(says + (f" {nearest(test_set, known)}" if known else ""), next_step)


def analysis_of(listed: Listed, evaluation: Evaluation, *, without_leaks: bool = False) -> Analysis:
    """One evaluation of a run. Raises RunError if its predictions are missing or damaged."""
    predictions = first_draw(stored_predictions(listed.path, evaluation))
    if without_leaks:
        predictions = predictions.filter(pl.col("leak").is_null())
    recipe = listed.card.get("recipe", {})
    settings = changes_in_words(recipe)
    label = str(recipe.get("label", listed.id))
    return Analysis(listed.id, label + (f" ({settings})" if settings else ""), evaluation, predictions)


def compared(measured: Sequence[Analysis]) -> list[Difference]:
    """The paired differences of MAE of all pairs, with Holm's correction over them; estimators are called by their
    ids. Pictures are matched by part and path.

    Raises RunError if they were measured against different ages.
    """
    frames = {
        one.id: one.predictions.unique(["part", "path"], keep="first", maintain_order=True).with_columns(
            picture=pl.format("{}/{}", "part", "path")
        )
        for one in measured
    }
    try:
        return all_differences(frames, key="picture", resamples=PAIRED_RESAMPLES)
    except ValueError as error:  # labels that changed between two evaluations
        raise RunError(
            f"The estimators cannot be compared: {error}.", "`agebench evaluate` measures each of them again."
        ) from error


def analysis_facts(one: Analysis) -> dict[str, Any]:
    """An analysis as plain data, for JSON."""
    nist = one.nist
    return {
        "id": one.id,
        "label": one.label,
        "n": one.accuracy.n,
        **{name: asdict(getattr(one.accuracy, name)) for name in ("mae", "rmse", "bias", "balanced_mae")},
        "cs": {f"{years:g}": asdict(score) for years, score in one.accuracy.cs.items()},
        "groups": one.groups.to_dicts(),
        "calibration": asdict(one.calibration) if one.calibration else None,
        "nist": {
            "challenge25": asdict(nist.challenge25),
            "challenge25_by_sex": {sex: asdict(rate) for sex, rate in nist.challenge25_by_sex.items()},
            "challenge25_balanced": nist.challenge25_balanced,
            "mae_18_30": asdict(nist.mae_18_30) if nist.mae_18_30 else None,
            "in_13_to_16": {ages: asdict(rate) for ages, rate in nist.in_13_to_16.items()},
            "children": nist.children.to_dicts(),
            "by_age": nist.by_age.to_dicts(),
            "by_sex_and_age": nist.by_sex_and_age.to_dicts(),
        },
    }
