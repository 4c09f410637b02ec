"""A study's trainings compared: the error of each arm over its seeds, and the paired difference from the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agebench.bench.statistics.bootstrap import RESAMPLES, Bootstrap, Floats, Interval, crossed_bootstrap, subject_codes
from agebench.bench.statistics.comparison import holm_where_known
from agebench.bench.statistics.groups import group_labels
from agebench.bench.tables import Cell, Row, Table
from agebench.errors import RunError

PICTURE = ("part", "path")
HOW = (
    "Means over {seeds}, with 95 % intervals over subjects and seeds; at the same seed every arm draws from the same "
    "records, in the same order, for as many steps, except where its settings say otherwise."
)
DIFFERENCES = "MAE of the row minus that of {first}, on the same pictures and seeds; p after Holm's correction: {p}."


@dataclass(frozen=True)
class ArmErrors:
    """The errors of one arm on one test set.

    Attributes:
        label: The arm's.
        seeds: MAE of the training with each seed, years.
        mae: Their mean, years.
        interval: Its 95 % interval over subjects and seeds; None with fewer than two subjects.
        bias: Mean signed error over pictures and seeds, years.
        difference: MAE minus that of the study's first arm, years; None for the first one.
        difference_interval: Its 95 % interval, from the same draws of subjects and seeds.
        p_holm: Two-sided p of no difference, after Holm's correction over the arms.
        groups: MAE by age group: columns group, n, mae, low, high.
    """

    label: str
    seeds: list[float]
    mae: float
    interval: Interval | None
    bias: float
    difference: float | None
    difference_interval: Interval | None
    p_holm: float | None
    groups: pl.DataFrame


@dataclass(frozen=True)
class StudySet:
    """A study on one test set. column: its name in tables; n: pictures."""

    dataset: str
    column: str
    n: int
    arms: list[ArmErrors]


def compare_arms(
    dataset: str, column: str, arms: Mapping[str, Sequence[pl.DataFrame]], *, resamples: int = RESAMPLES, seed: int = 0
) -> StudySet:
    """Compare the predictions of all arms on a test set.

    arms: label → a frame for each seed, in the same order, with part, path, age, predicted (years) and subject_id.
    Pictures that any training lacks are left out. Raises RunError if none is left, or if ages differ.
    """
    frames = [frame for seeds in arms.values() for frame in seeds]
    pictures = frames[0].select(*PICTURE, "age", "subject_id")
    for frame in frames[1:]:
        pictures = pictures.join(frame.select(PICTURE), on=PICTURE, how="semi", maintain_order="left")
    if pictures.is_empty():
        raise RunError(f"The trainings of this study have no picture of {column} in common.", "Evaluate them again.")
    signed = np.stack([[_errors(frame, pictures, column) for frame in seeds] for seeds in arms.values()])
    errors, codes = np.abs(signed), subject_codes(pictures["subject_id"])
    whole = crossed_bootstrap(errors, codes, resamples=resamples, seed=seed)
    labels = group_labels(pictures["age"])
    parts = {group: (labels == group).to_numpy() for group in labels.unique().sort()}
    by_group = {
        group: crossed_bootstrap(errors[..., mask], _packed(codes[mask]), resamples=resamples, seed=seed)
        for group, mask in parts.items()
    }
    apart = [None, *(whole.difference(arm, 0) for arm in range(1, len(arms)))]
    adjusted = holm_where_known([one.p_value(0) if one else None for one in apart])
    found = []
    for number, label in enumerate(arms):
        difference = apart[number]
        found.append(
            ArmErrors(
                label,
                errors[number].mean(axis=1).tolist(),
                float(whole.values[number]),
                whole.interval(number),
                float(signed[number].mean()),
                float(difference.values[0]) if difference else None,
                difference.interval(0) if difference else None,
                adjusted[number],
                _groups(by_group, {group: int(mask.sum()) for group, mask in parts.items()}, number),
            )
        )
    return StudySet(dataset, column, len(pictures), found)


def _errors(frame: pl.DataFrame, pictures: pl.DataFrame, column: str) -> Floats:
    """(N,) estimate minus age in years, in the order of `pictures`."""
    both = pictures.join(frame.select(*PICTURE, own="age", predicted="predicted"), on=PICTURE, maintain_order="left")
    if (both["own"] != both["age"]).any() or len(both) != len(pictures):
        raise RunError(f"The labels of {column} changed between the trainings of this study.", "Evaluate them again.")
    return (both["predicted"] - both["age"]).cast(pl.Float64).to_numpy()


def _packed(codes: np.ndarray) -> np.ndarray:
    """The same clusters, numbered from 0 without gaps."""
    return np.unique(codes, return_inverse=True)[1]


def _groups(by_group: Mapping[str, Bootstrap], counts: Mapping[str, int], arm: int) -> pl.DataFrame:
    rows = [
        (group, counts[group], float(boot.values[arm]), *(boot.interval(arm) or (None, None)))
        for group, boot in by_group.items()
    ]
    schema = {"group": pl.Utf8, "n": pl.Int64, "mae": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def study_tables(title: str, seeds: int, sets: Sequence[StudySet]) -> list[Table]:
    """The MAE of every arm on every test set, and the differences from the first arm."""
    columns, counts = [one.column for one in sets], {one.column: one.n for one in sets}
    labels = [arm.label for arm in sets[0].arms]
    how = HOW.format(seeds=f"{seeds} seeds" if seeds > 1 else "one seed")
    errors, apart, p_values = [], [], []
    for number, label in enumerate(labels):
        arms = {one.column: one.arms[number] for one in sets}
        cells = {column: Cell(arm.mae, counts[column], arm.interval, seeds) for column, arm in arms.items()}
        errors.append(Row(label, "measured", None, {**cells}))
        if number:
            beside = {
                column: Cell(arm.difference, counts[column], arm.difference_interval, seeds)
                for column, arm in arms.items()
                if arm.difference is not None
            }
            apart.append(Row(label, "measured", None, {**beside}))
            p_values += [
                f"{label} on {column} {'< 0.001' if arm.p_holm < 0.001 else f'= {arm.p_holm:.2g}'}"
                for column, arm in arms.items()
                if arm.p_holm is not None
            ]
    said = DIFFERENCES.format(first=labels[0], p="; ".join(p_values) or "none")
    return [
        Table(0, title, columns, errors, [("", how)], [], counts),
        Table(0, f"{title}: difference from {labels[0]}", columns, apart, [("", said)], [], counts, "difference"),
    ]
