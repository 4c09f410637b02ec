"""Base classes and field types of cards and recipes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from agebench import registry
from agebench.errors import nearest


class Strict(BaseModel):
    """A table of a recipe: unknown keys are mistakes, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def known(kind: str, name: str, *more: str) -> str:
    """The name, if the registry has it or it is one of `more`. Raises ValueError with the nearest names."""
    names = [*registry.names(kind), *more]
    if name not in names:
        raise ValueError(f"there is no {registry.KINDS[kind].what} of this name. {nearest(name, names)}")
    return name


NAME = "[a-z0-9][a-z0-9-]*"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


def name_from(stem: str) -> str:
    """A file's name without its ending as the name of a recipe: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "estimator"


CheckName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Named(BaseModel):
    """A name in the registry and its settings: the other keys of the table. `training.resolve` checks them, as that
    loads torch."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})
