"""Help: quick, light, with an example for every command, and every example runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

from agebench import cli
from agebench.cli import app

GROUP: Any = typer.main.get_command(app)
COMMANDS = sorted(name for name, command in GROUP.commands.items() if not hasattr(command, "commands"))
EXAMPLES = {name: re.findall(r"agebench [^\n;]+", GROUP.commands[name].epilog or "") for name in COMMANDS}
HEAVY = ("torch", "pandas", "polars", "duckdb", "cv2", "numpy", "pyarrow", "scipy", "insightface")
MAIN = "import sys; from agebench.cli import main; sys.argv = ['agebench', *sys.argv[1:]]"


def test_help_shows_defaults_in_brackets_and_no_boxes(agebench: Callable[..., Any]) -> None:
    for arguments, shown in ((("study",), ["[[arm]] tables", "[all]"]), (("review", "list"), ["Usage:", "Options:"])):
        told = " ".join(agebench(*arguments, "--help").out.split())
        assert [words for words in shown if words not in told] == []
        assert "╭" not in told


def test_a_command_whose_module_cannot_be_imported_is_told(
    agebench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli._command.cache_clear()
    monkeypatch.setitem(sys.modules, "agebench.cli.cp", None)
    found = agebench("cp", "a", "b", "--json")
    assert found.status == 1
    assert json.loads(found.out)["command"] == "cp"
    assert "agebench.cli.cp" in json.loads(found.out)["error"]["message"]
    cli._command.cache_clear()


def test_every_command_of_the_surface_is_there() -> None:
    expected = {"curate", "balance", "train", "evaluate", "report", "predict", "export", "status", "ls", "show", "cp",
                "demo", "doctor", "fetch", "add"}  # fmt: skip
    assert expected <= set(COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["curate", "--help"], ["train", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"{MAIN}\ntry: main()\nexcept SystemExit: pass\nprint('|', *[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("|")[2].split() == [], done.stderr


def test_help_loads_nothing_that_takes_long() -> None:
    """`tests/benchmarks/bench_report.py` times it."""
    script = f"import sys\n{MAIN}\ntry:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=True)
    assert "Usage: agebench" in done.stdout
    heavy = {"torch", "numpy", "polars", "pandas", "duckdb", "cv2", "matplotlib", "scipy", "sklearn", "onnxruntime"}
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(command: str, agebench: Callable) -> None:
    assert EXAMPLES[command]
    shown = agebench(command, "--help")
    assert shown.status == 0
    assert "Example: agebench" in " ".join(shown.out.split())


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "demo"])
def test_every_example_runs(command: str, workshop: Path, run_id: str, agebench: Callable) -> None:
    for example in EXAMPLES[command]:
        person = next((workshop / "data" / "fg-net" / "images").iterdir()).name  # 001A02.JPG may not be drawn
        words = [{"RUN": run_id, "001A02.JPG": person}.get(word, word) for word in shlex.split(example)[1:]]
        done = agebench(*words, cwd=workshop)
        assert done.status == 0, (example, done.err)


@pytest.mark.slow
def test_the_demos_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{MAIN}; main()", *shlex.split(EXAMPLES["demo"][0])[1:]],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "drawn faces" in done.stdout
    assert "Table 3" in done.stdout


def test_without_arguments_the_help_is_shown(agebench: Callable) -> None:
    done = agebench()
    assert done.status in {0, 2}
    assert "curate" in done.out + done.err


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "agebench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("agebench ")
