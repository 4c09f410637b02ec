"""add: reads a table or folder of somebody's pictures, reports how it was understood, and writes a card for it."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import ValidationError

from agebench import resources
from agebench.datasets.layouts.table import WORDS, read_labels
from agebench.datasets.records import examples
from agebench.errors import ReleaseNotFound, UsageError, nearest
from agebench.files import write_whole
from agebench.manifest.fingerprints import label_fingerprint
from agebench.pictures import Locator, stat_all
from agebench.recipes import NAME, Card, Columns, mistakes_of, toml_value
from agebench.remote import Folder, as_folder

Role = Literal["train", "test", "both"]
RECIPE = "any"  # the curation recipe of a card without checks of its own
UNKNOWN = "not stated"


@dataclass(frozen=True)
class Added:
    """A table as it was understood, and the card for it.

    columns: role → the column that is read for it. files: number of pictures by fault; `found` are those that can be
    read. ages: min, median, max. decades: (first age, records) for the ages 0 to 99 in tens.
    """

    name: str
    card: Path
    text: str = field(repr=False)
    written: bool
    columns: dict[str, str]
    records: int
    parts: dict[str, int]
    files: dict[str, int]
    ages: dict[str, float] | None
    decades: list[tuple[int, int]]
    without_age: int
    outside: int
    subjects: int
    genders: dict[str, int]
    notes: list[str]


def add_dataset(
    name: str,
    root: str | Folder,
    *,
    table: Path | None = None,
    pattern: str | None = None,
    mapped: Mapping[str, Sequence[str]] | None = None,
    role: Role = "train",
    title: str | None = None,
    source: str | None = None,
    licence: str | None = None,
    citation: str | None = None,
    dry_run: bool = False,
) -> Added:
    """Understand the labels in `table`, or in file names by `pattern`, and write `manifests/NAME.toml`.

    root: the folder or URL that paths are relative to. mapped: role → its columns (see `recipes.Columns`), and `male`,
    `female` → their values in the table. Raises UsageError for a name that is taken and for a wrong mapping,
    ReleaseNotFound and ReleaseError if the table or the pictures cannot be read, RecipeError.
    """
    target = Path("manifests") / f"{name}.toml"
    _must_be_free(name, target)
    folder = as_folder(root)
    if not folder.is_dir():
        raise ReleaseNotFound(f"There is no folder {folder}.", "Name the folder of the pictures with `--root DIR`.")
    facts: dict[str, object] = {
        "name": name, "title": title or name, "roles": ["train", "test"] if role == "both" else [role],
        "layout": "table", "root": str(root), "recipe": RECIPE, "age_rule": UNKNOWN, "files": UNKNOWN,
        "source": source or UNKNOWN, "licence": licence or UNKNOWN, "citation": citation or UNKNOWN,
        "table": _table(folder, table, pattern, mapped or {}), "expected": {"records": 0},
    }  # fmt: skip
    if role != "train":
        facts["protocol"] = {"column": facts["title"]}
    try:
        labels = read_labels(_checked(facts), folder)
    except ReleaseNotFound as error:
        raise ReleaseNotFound(error.message, "Name the labels with `--root`, `--table` or `--pattern`.") from error
    records = labels.release.records
    facts["age_rule"], facts["files"] = _in_words(labels.columns, table, pattern)
    facts["expected"] = _expected(name, records)
    text = _as_toml(facts)
    Card.model_validate(tomllib.loads(text))
    notes = [*labels.release.notes]
    names = records["part"].to_list(), records["path"].to_list()
    faults = [fault for *_, fault in stat_all(Locator(labels.release.folders), *names)]
    if "found" not in (files := dict(Counter(fault or "found" for fault in faults).most_common())):
        notes.append(_nothing_found(records["path"].filter(records["path"] != ""), folder, table))
    if not dry_run:
        write_whole(target, text.encode())
    ages = records["age"].drop_nulls()
    inside = ages.filter(ages.is_between(0, 99))
    counted = dict((inside // 10 * 10).value_counts().iter_rows())
    return Added(
        name=name,
        card=target,
        text=text,
        written=not dry_run,
        columns=labels.columns,
        records=records.height,
        parts=dict(records["part"].value_counts(sort=True).iter_rows()),
        files=files,
        ages={"min": ages.min(), "median": ages.median(), "max": ages.max()} if len(ages) else None,  # type: ignore[dict-item]
        decades=[(low, counted.get(low, 0)) for low in range(0, 100, 10)],
        without_age=records.height - len(ages),
        outside=len(ages) - len(inside),
        subjects=records["subject_id"].drop_nulls().n_unique(),
        genders=dict(records["gender"].drop_nulls().value_counts(sort=True).iter_rows()),
        notes=notes,
    )


def _must_be_free(name: str, target: Path) -> None:
    if not re.fullmatch(NAME, name):
        raise UsageError(
            f"'{name}' is not a valid name; expected lower-case letters, digits and dashes, such as my-faces."
        )
    there = resources.available("manifests").get(name, target)
    if there.exists():
        raise UsageError(
            f"A dataset '{name}' already exists: {there}.",
            "Choose another name, or edit that card: it will not be replaced.",
        )


def _checked(facts: dict[str, object]) -> Card:
    """The facts as a card. Raises UsageError with the mistakes in a pattern or a mapping."""
    try:
        return Card.model_validate(facts)
    except ValidationError as error:
        mistakes = "; ".join(mistakes_of(error, Card, facts))
        raise UsageError(f"No card can be made from this: {mistakes}.", "Correct `--pattern` or `--map`.") from error


def _table(
    root: Folder, table: Path | None, pattern: str | None, mapped: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    """The card's `[table]`. The file is named relative to the root if it is inside it."""
    if (table is None) == (pattern is None):
        raise UsageError("Labels are in a table or in file names: give `--table FILE` or `--pattern TEMPLATE`.")
    columns = {}
    for role, names in mapped.items():
        if role not in Columns.model_fields and role not in WORDS:
            known = [*Columns.model_fields, *WORDS]
            raise UsageError(f"There is no role '{role}' to map. {nearest(role, known)}")
        if role in Columns.model_fields:
            columns[role] = list(names) if role in ("box", "corners") else ",".join(names)
    where: dict[str, object] = {"pattern": pattern}
    if table is not None:
        if not table.exists():
            raise ReleaseNotFound(
                f"There is no file {table}.", "Name the CSV, JSON Lines or Parquet file of labels with `--table`."
            )
        where = {"file": _spelled(table, root)}
    return where | {"columns": columns} | {word: list(mapped[word]) for word in WORDS if word in mapped}


def _spelled(table: Path, root: Folder) -> str:
    """The name of the file in the card: relative to the root if it is inside it, else to the working directory."""
    file, home = table.resolve(), root.resolve()
    if isinstance(home, Path) and file.is_relative_to(home):
        return file.relative_to(home).as_posix()
    return (file if (root / table.as_posix()).is_file() else table).as_posix()  # the root has another file of that name


def _in_words(columns: Mapping[str, str], table: Path | None, pattern: str | None) -> tuple[str, str]:
    """(the age rule, the layout) of a card, for people."""
    rule = "photo date minus birth date in completed years; by the photo's year alone, minus 1 if born in July or later"
    if "age" in columns:
        rule = f"'{columns['age']}', rounded down" + (f"; without it {rule}" if "taken" in columns else "")
    if table is None:
        return rule, f"pictures named {pattern}, in any folder."
    return (
        rule,
        f"{table.name} with {', '.join(f'{role} in {name}' for role, name in columns.items())}; and the pictures.",
    )


def _expected(name: str, records: pl.DataFrame) -> dict[str, object]:
    expected: dict[str, object] = {"records": records.height}
    if subjects := records["subject_id"].drop_nulls().n_unique():
        expected["subjects"] = subjects
    if records["age"].null_count() < records.height:
        expected["ages"] = [records["age"].min(), records["age"].max()]
    parts = dict(records["part"].value_counts().sort("part").iter_rows())
    if set(parts) != {name}:
        expected["parts"] = parts
    return expected | {"labels": label_fingerprint(records)}


def _nothing_found(paths: pl.Series, root: Folder, table: Path | None) -> str:
    """The note if no picture was found: whether the paths are relative to another folder nearby."""
    some = paths.head(100).to_list()
    nearby = [Path(), *([table.parent] if table else []), *([root.parent] if isinstance(root, Path) else [])]
    for other in nearby:
        if any((other / path).is_file() for path in some):
            return f"No picture was found in {root}; `--root {other}` finds them."
    return f"No picture was found in {root}, for example not {examples(paths)}: name their folder with `--root`."


# --- the card --------------------------------------------------------------------------------------------------


def _as_toml(facts: Mapping[str, object]) -> str:
    """A card with comments for the person who completes it."""
    lines = ["# Made by `agebench add`. Please complete the missing facts: tables and reports quote them.", ""]
    for key in ("name", "title", "roles", "layout", "root", "recipe", "age_rule", "files", "source", "licence"):
        comment = ' # "train", "test"' if key == "roles" else ""
        comment = " # relative to the folder in which agebench runs" if key == "root" else comment
        lines.append(f"{key} = {toml_value(facts[key])}{comment}")
    citation = "\n".join(toml_value(line)[1:-1] for line in str(facts["citation"]).split("\n"))
    lines += [f'citation = """\n{citation}\n"""', ""]
    table = dict(facts["table"])  # type: ignore[call-overload]
    columns = table.pop("columns")
    lines += ["[table]", *(f"{key} = {toml_value(said)}" for key, said in table.items())]
    if not table.keys() & WORDS.keys():
        lines += [
            '# male = ["0"] # values in the table, in addition to words such as male, m, female and f',
            '# female = ["1"]',
        ]
    lines += [
        "",
        "[table.columns] # columns with usual names need no entry",
        *(f"{k} = {toml_value(v)}" for k, v in columns.items()),
    ]
    lines += ["", "[expected] # the labels when this card was made"]
    expected = dict(facts["expected"])  # type: ignore[call-overload]
    parts = expected.pop("parts", {})
    lines += [f"{key} = {toml_value(said)}" for key, said in expected.items()]
    if parts:
        lines += ["", "[expected.parts]", *(f"{toml_value(part)} = {count}" for part, count in parts.items())]
    if "protocol" in facts:
        lines += ["", "[protocol] # for a test set: its column in the tables; `records` and `seed` draw a subset"]
        lines += [f"{key} = {toml_value(said)}" for key, said in facts["protocol"].items()]  # type: ignore[attr-defined]
    return "\n".join(lines) + "\n"
