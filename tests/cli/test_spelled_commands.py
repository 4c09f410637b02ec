"""Messages, help and docstrings name commands and options: each that stands between backquotes exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import agebench
from agebench.cli import app

PLACE = "PLACE"  # what a message fills in


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a module with its line; what an f-string fills in is PLACE. Strings side by side are one."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else PLACE for p in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value


def spelled() -> Iterator[tuple[str, list[str]]]:
    """(place, words) of every command and option between backquotes in the package."""
    root = Path(agebench.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for line, text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for quoted in re.findall(r"`((?:agebench |--)[^`]*)`", " ".join(text.split())):
                yield f"{path.relative_to(root)}:{line}", re.sub(r"[\[\]|]", " ", quoted).split()


def below(command: Any) -> dict[str, Any]:
    """The subcommands of a group; none of a command."""
    return getattr(command, "commands", {})


def known(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words after `agebench` name, and the rest of them."""
    command = typer.main.get_command(app)
    rest = list(words)
    while rest and rest[0] in below(command):
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


def every_option(command: Any) -> set[str]:
    return options(command).union(*(every_option(one) for one in below(command).values()))


def test_every_command_and_option_that_the_package_names_exists() -> None:
    anywhere = every_option(typer.main.get_command(app))
    wrong = []
    count = 0
    for place, words in spelled():
        count += 1
        if words[0] != "agebench":
            wrong += [f"{place}: {word}" for word in words if word.startswith("--") and word not in anywhere]
            continue
        command, rest = known(words[1:])
        if below(command) and rest[:1] and rest[0] not in (PLACE, "KIND") and rest[0].isalpha():
            wrong.append(f"{place}: agebench {' '.join(words[1:])}")
        allowed = every_option(command)
        wrong += [
            f"{place}: {word} of agebench {' '.join(words[1:])}"
            for word in rest
            if word.startswith("--") and word.split("=")[0] not in allowed
        ]
    assert count > 60
    assert wrong == []
