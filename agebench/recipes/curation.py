"""Curation recipes as typed data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from agebench.recipes.fields import CheckName, Name, Strict, known

# Reasons besides those of checks.
DECISIONS = ("decision", "reviewers_disagree", "picture_changed", "claim_changed", "answer_does_not_fit")


class Check(Strict):
    """One rule: an SQL predicate over `evidence`, its verdict, and the reason in words."""

    name: CheckName
    reject: str | None = None
    review: str | None = None
    reason: str
    value: str | None = None  # the column or expression whose number is stored with the verdict

    @model_validator(mode="after")
    def its_name_is_its_own(self) -> Check:
        if self.name in DECISIONS:
            raise ValueError(f"the name '{self.name}' is reserved for people's decisions")
        return self

    @model_validator(mode="after")
    def one_verdict(self) -> Check:
        if (self.reject is None) == (self.review is None):
            raise ValueError("a check needs exactly one of `reject` and `review`")
        return self

    @property
    def verdict(self) -> Literal["reject", "review"]:
        return "reject" if self.reject is not None else "review"

    @property
    def predicate(self) -> str:
        return self.reject if self.reject is not None else (self.review or "")


class Observe(Strict):
    """What a curation recipe observes besides hashes, quality and faces.

    estimators: `ready` (a pretrained age model, if one is installed), the name of one in the registry, `cross-fit`
    (models trained on this release, each estimating the records held out from it), a model recipe whose name begins so,
    or a finished run.
    identities: `auto` or an embedder in the registry, whose embeddings show which face is the subject's.
    second_detector: is run if the first found no face or only doubtful ones.
    """

    estimators: list[str] = []
    identities: Annotated[str, AfterValidator(lambda name: known("embedders", name, "none", "auto"))] = "none"
    second_detector: Annotated[str, AfterValidator(lambda name: known("detectors", name, "none"))] = "none"


class CurationRecipe(Strict):
    """A documented set of checks, in the order in which the funnel counts them: of one dataset, or of `any`."""

    name: Name
    dataset: Name
    title: str
    observe: Observe = Observe()
    check: list[Check]

    @model_validator(mode="after")
    def names_are_unique(self) -> CurationRecipe:
        seen: set[str] = set()
        for check in self.check:
            if check.name in seen:
                raise ValueError(f"the check '{check.name}' appears twice")
            seen.add(check.name)
        return self
