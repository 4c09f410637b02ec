"""Studies: trainings that differ in a few keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from agebench.recipes.fields import Name, Strict


class Arm(Strict):
    """One of the trainings that a study compares: the model with some dotted keys set."""

    label: str
    set: dict[str, Any] = {}


class StudyRecipe(Strict):
    """Trainings that differ in a few keys, compared on equal terms: `agebench study`.

    model: the model recipe that every arm changes. seeds: how many trainings each arm has, with the seeds 0, 1, …. arm:
    the first is what the others are compared with.
    """

    name: Name
    title: str
    model: Name
    seeds: Annotated[int, Field(ge=1)] = 3
    arm: Annotated[list[Arm], Field(min_length=2)]

    @model_validator(mode="after")
    def labels_are_unique(self) -> StudyRecipe:
        labels = [arm.label for arm in self.arm]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two arms have the label '{twice[0]}'")
        return self
