"""The published numbers: `models/published.toml`, read and checked."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError, model_validator

from agebench import resources
from agebench.errors import RecipeError
from agebench.recipes import Strict, read_declaration


class PublishedRow(Strict):
    """One method: its MAE in years by column. `work` is the key of the work that describes the method."""

    method: str
    work: str
    mae: dict[str, float]


class PublishedTable(Strict):
    """One table as printed; `printed_in` is the key of the work that prints it."""

    number: int
    title: str
    printed_in: str
    columns: list[str]
    row: list[PublishedRow]

    @model_validator(mode="after")
    def rows_fill_the_columns(self) -> PublishedTable:
        for row in self.row:
            if set(row.mae) != set(self.columns):
                raise ValueError(f"'{row.method}' has {', '.join(row.mae)}, expected {', '.join(self.columns)}")
        return self


class Published(Strict):
    """Full citations by key, and the tables."""

    work: dict[str, str]
    table: list[PublishedTable]

    @model_validator(mode="after")
    def works_are_cited_in_full(self) -> Published:
        keys = {key for table in self.table for key in (table.printed_in, *(row.work for row in table.row))}
        if keys - self.work.keys():
            raise ValueError(f"no [work] entry for {', '.join(sorted(keys - self.work.keys()))}")
        if len({table.number for table in self.table}) < len(self.table):
            raise ValueError("a table number appears twice")
        return self

    def citation(self, row: PublishedRow, table: PublishedTable) -> str:
        """The full citation, and where the numbers are printed if in another work."""
        if row.work == table.printed_in:
            return f"{self.work[row.work]}, table {table.number}"
        return f"{self.work[row.work]}; as printed in table {table.number} of {self.work[table.printed_in]}"


def load_published(cwd: Path | None = None) -> Published:
    """The published tables; `models/published.toml` in the working directory wins over the shipped one.

    Raises RecipeError (exit 2) if it is invalid.
    """
    path = resources.declaration("models", "published", cwd)
    try:
        return Published.model_validate(tomllib.loads(read_declaration(path)))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{path} is not valid TOML: {error}.", "Fix it, or remove it to use the shipped one."
        ) from error
    except ValidationError as error:
        mistakes = [
            ".".join(map(str, e["loc"])) + f": {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
        ]
        raise RecipeError(f"{path} has {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes) + "\n") from error
