"""The generated pages of the site, as hooks of mkdocs: what the program knows of itself is not written twice."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import agebench
from agebench import registry
from agebench.cli import app
from agebench.workflows import catalogue

TOP = Path(__file__).parent.parent


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    pages = {
        "notebook.md": notebook(),
        "contributing.md": (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "changelog.md": (TOP / "CHANGELOG.md").read_text(encoding="utf-8"),
        "reference/command-line.md": "\n\n".join(command_line()),
        "reference/python.md": python_api(),
        "reference/errors.md": "# Errors\n\n::: agebench.errors\n    options: {show_root_heading: false}\n",
        "reference/evidence.md": evidence(),
        "reference/checks.md": checks(),
        "reference/recipes.md": "\n\n".join(recipes()),
        "reference/registry.md": "\n\n".join(kinds()),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Puts the contract of import-linter where the page of the architecture has `{layers}`."""
    if page.file.src_uri != "architecture.md":
        return markdown
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    return markdown.replace("{layers}", "\n".join(layers).replace("agebench.", ""))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""

    def cell(value: Any) -> str:
        text = str(value).replace("\n", " ")
        return text if text.startswith("`") else text.replace("|", "\\|")  # in code a backslash would be shown

    def line(cells: Sequence[Any]) -> str:
        return f"| {' | '.join(map(cell, cells))} |"

    return "\n".join([line(heads), line(["---"] * len(heads)), *map(line, rows)])


def code(text: Any) -> str:
    return f"`{text}`" if text not in ("", None) else ""


def notebook() -> str:
    """The notebook as a page, with a link to the file."""
    cells = json.loads((TOP / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    parts = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(cells, texts, strict=True)
    ]
    return "\n\n".join([*parts, "[Download this notebook](notebook.ipynb)"])


def command_line() -> Iterator[str]:
    yield "# Command line"
    yield (
        "Every command prints one JSON document with `--json`. The exit status is 0 for done, 1 where the work failed, "
        "2 for wrong usage or a wrong recipe, 3 where something needed is missing, and 130 where it was interrupted."
    )
    yield from _commands(typer.main.get_command(app), "agebench", 2)


def _commands(command: Any, path: str, level: int) -> Iterator[str]:
    for name, child in getattr(command, "commands", {}).items():
        full = f"{path} {name}"
        yield f"{'#' * level} {full}"
        yield str(child.help or "")
        if getattr(child, "commands", None):
            yield from _commands(child, full, level + 1)
            continue
        context = child.make_context(full, [], resilient_parsing=True)
        yield f"```text\n{child.get_usage(context).removeprefix('Usage: ')}\n```"
        yield table(("argument or option", "meaning"), _parameters(child, context))
        if child.epilog:
            yield f"Example: `{child.epilog.removeprefix('Example: ')}`"


def _parameters(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            yield code(record[0].strip()), record[1]


def python_api() -> str:
    """Everything public, but for the errors, which have a page of their own."""
    names = [name for name in agebench.__all__ if name != "errors"]
    members = "\n\n".join(f"::: agebench.{name}" for name in names)
    return (
        "# Python API\n\nWhat `agebench.__all__` names is public. Functions return values, raise the "
        f"[errors](errors.md) of `agebench.errors`, and never print.\n\n{members}\n"
    )


def evidence() -> str:
    rows = [
        (code(row["name"]), row["type"], row["unit"], row["observer"], row["meaning"])
        for row in catalogue.list_evidence()
    ]
    return (
        "# Evidence columns\n\n"
        "What a check can read: one row a record. A column is NULL until its observer has run.\n\n"
        + table(("column", "type", "unit", "observer", "meaning"), rows)
    )


def checks() -> str:
    rows = [
        (code(row["name"]), row["verdict"], code(" ".join(row["predicate"].split())), ", ".join(row["recipes"]))
        for row in catalogue.list_checks()
    ]
    return (
        "# Checks of the shipped recipes\n\n"
        "A check gives its verdict to every record for which its predicate is true.\n\n"
        + table(("check", "verdict", "predicate", "recipes"), rows)
    )


def recipes() -> Iterator[str]:
    yield "# Cards and recipes"
    yield "`agebench show NAME` prints one, and `agebench cp NAME NEW-NAME` copies it to be edited."
    titles = {"manifests": "Cards", "pipelines": "Curation recipes", "models": "Model recipes"}
    for kind, rows in catalogue.list_declarations().items():
        yield f"## {titles[kind]}"
        yield table(("name", "title"), [(code(row["name"]), row["title"]) for row in rows if not row["yours"]])


def kinds() -> Iterator[str]:
    yield "# Registry"
    yield "What is found by name, with the settings that a recipe may give."
    yield "[Extending](../extending.md) shows how to add one."
    for kind, place in registry.KINDS.items():
        yield f"## {kind.capitalize()}"
        folder = Path(registry.__file__).parent.joinpath(*place.package.split(".")[1:])
        rows = []
        for path in sorted(folder.glob("*.py")):
            if path.stem == "__init__":
                continue
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            name = path.stem.replace("_", "-")
            rows.append((code(name), " ".join(docstring.split("\n\n")[0].split()), _settings(kind, name)))
        yield f"Folder: `{place.package.replace('.', '/')}/`. Entry points: `agebench.{kind}`."
        settings = any(row[2] for row in rows)
        yield table(("name", "what it is", "settings")[: 2 + settings], [row[: 2 + settings] for row in rows])


def _settings(kind: str, name: str) -> str:
    if kind not in ("losses", "networks"):
        return ""
    fields = registry.settings_of(registry.find(kind, name)).model_fields
    return ", ".join(code(key if one.is_required() else f"{key} = {one.default!r}") for key, one in fields.items())
