"""The documentation's examples: Python runs, TOML is valid, command lines exist."""

from __future__ import annotations

import json
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from agebench import recipes, registry
from agebench.bench.own_tables import OwnTable
from agebench.cli import app
from agebench.training.resolve import resolve_recipe

from ..plugins.plugin import install
from .blocks import PAGES, TOP, blocks, commands

# Commands that take a moment on the drawn releases, and whose lines on the pages are whole.
CHEAP = {"add", "status", "ls", "show", "cp", "export", "balance", "report", "evaluate", "predict", "review list"}
# data, models and runs that the drawn releases do not have
NOT_HERE = ("utkface", "morph", "utk-test", "years", "{age}", "mine.onnx", "--protocol", "my-table", "genderage")


def ids(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(TOP)) for page in pages]


def having(language: str) -> Any:
    pages = [page for page in PAGES if any(b.language == language for b in blocks(page))]
    return pytest.mark.parametrize("page", pages, ids=ids(pages))


def with_commands() -> Any:
    pages = [page for page in PAGES if commands(page)]
    return pytest.mark.parametrize("page", pages, ids=ids(pages))


@pytest.fixture
def my_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the page `extending`, installed."""
    site = install(tmp_path / "site")
    monkeypatch.syspath_prepend(str(site))
    registry._entry_points.cache_clear()
    yield site
    registry._entry_points.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_ages"]:
        del sys.modules[name]


@having("python")
def test_python_examples_run(page: Path, reader: Path, my_ages: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__example__"}
    for block in blocks(page):
        if block.language == "python":
            text = "\n" * (block.line - 1) + block.text  # a traceback names the page's line
            exec(compile(text, TOP / block.page, "exec", dont_inherit=True), namespace)


def test_the_notebook_runs(reader: Path) -> None:
    path = TOP / "docs" / "notebook.ipynb"
    namespace: dict[str, Any] = {"__name__": "__notebook__"}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []  # pictures of faces must not get into the repository
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), namespace)


@having("toml")
def test_toml_examples_are_valid(page: Path, my_ages: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            validate(tomllib.loads(block.text))


def validate(data: dict[str, Any]) -> None:
    """A card, a recipe, a part of one, or a `pyproject.toml` with entry points."""
    if "project" in data:
        groups = data["project"]["entry-points"]
        assert {group.removeprefix("agebench.") for group in groups} <= set(registry.KINDS)
    elif "layout" in data:
        recipes.Card.model_validate(data)
    elif "dataset" in data:
        recipes.CurationRecipe.model_validate(data)
    elif "estimator" in data:
        recipes.EstimatorRecipe.model_validate(data)
    elif "arm" in data:
        study = recipes.StudyRecipe.model_validate(data)
        for arm in study.arm:
            resolve_recipe(study.model, arm.set)
    elif "name" in data:
        recipes.model_recipe_kind(Path(), data).model_validate(data)
        resolve(data)
    elif "columns" in data:
        OwnTable.model_validate(data)
    elif "protocols" in data:
        for partition in data["protocols"].values():
            recipes.Partition.model_validate(partition)
    else:
        tables: dict[str, type[BaseModel]] = {"check": recipes.Check, "observe": recipes.Observe}
        tables |= {"loss": recipes.Loss, "network": recipes.Network, "train": recipes.Training}
        for key, value in data.items():
            for one in value if isinstance(value, list) else [value]:
                tables[key].model_validate(one)


def resolve(data: dict[str, Any]) -> None:
    """The settings of network and loss, which a recipe leaves to them."""
    for table, kind, default in recipes.NAMED_TABLES:
        if table not in data:
            continue
        settings = {key: value for key, value in data[table].items() if key not in ("name", "weights")}
        registry.settings_of(registry.find(kind, data[table].get("name", default))).model_validate(settings)


@with_commands()
def test_command_lines_exist(page: Path) -> None:
    for block, line in commands(page):
        command: Any = typer.main.get_command(app)
        arguments = shlex.split(line, comments=True)[1:]
        try:
            while hasattr(command, "commands"):
                context = command.make_context("agebench", arguments[:1], resilient_parsing=True)
                _, command, arguments = command.resolve_command(context, arguments)
            command.make_context(command.name, arguments)
        except Exception as error:  # click's own, in whichever copy typer brings
            error.add_note(f"{block.page}:{block.line}: {line}")
            raise


@with_commands()
def test_cheap_command_lines_run(page: Path, reader: Path, agebench: Callable) -> None:
    for block in blocks(page):
        if block.title:  # a file that the page tells its reader to write
            Path(block.title).parent.mkdir(exist_ok=True)
            Path(block.title).write_text(block.text)
    for block, line in commands(page):
        arguments = shlex.split(line, comments=True)[1:]
        added = arguments[0] == "curate" and Path("manifests", f"{arguments[1]}.toml").is_file()  # by a line before
        cheap = added or arguments[0] in CHEAP or " ".join(arguments[:2]) in CHEAP
        placeholder = any(word.isupper() and "-" not in word for word in arguments)
        if cheap and not placeholder and not any(word in line for word in NOT_HERE):
            done = agebench(*arguments)
            assert done.status == 0, (block.page, block.line, line, done.err)
