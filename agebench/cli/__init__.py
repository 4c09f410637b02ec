"""The command line: one module a command; each parses, makes one library call, and renders what it returns.

Nothing heavy is imported here: `agebench --help` needs neither torch, pandas, polars, duckdb nor cv2.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import typer
import typer.core

from agebench.errors import AgebenchError
from agebench.memory import keep_freed_memory

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


# The base class of usage errors, from the click that this typer uses: its own copy since about 0.20.
_ClickException: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


class _Stopped(Exception):
    """Carries a Ctrl-C past Typer, which would turn it into a bare exit status and lose the message."""

    def __init__(self, cause: KeyboardInterrupt) -> None:
        self.kind = type(cause).__name__ if isinstance(cause, AgebenchError) else "Interrupted"
        self.message = cause.message if isinstance(cause, AgebenchError) else "Stopped."
        self.next_step = (
            cause.next_step if isinstance(cause, AgebenchError) else "Run the same command again to continue."
        )


COMMANDS = (
    "curate", "review", "balance", "train", "study", "evaluate", "report", "predict", "export-model", "explain",
    "export", "fetch", "add", "status", "ls", "show", "cp", "demo", "doctor",
)  # fmt: skip


class _LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for: all of them together take 0.3 s."""

    def __getitem__(self, name: str) -> Any:
        if name not in COMMANDS:
            raise KeyError(name)
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


@cache
def _command(name: str) -> Any:
    """The command or group that its module registers. Raises ImportError."""
    alone = typer.Typer(rich_markup_mode=app.rich_markup_mode)  # a group takes its mode from here, not from itself
    try:
        module = importlib.import_module(f"agebench.cli.{name.replace('-', '_')}")
    except KeyError as error:  # which a mapping would take for an unknown name
        raise ImportError(f"agebench.cli.{name}: {error!r}") from error
    module.register(alone)
    return typer.main.get_group(alone).commands[name]


class _Commands(typer.core.TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _LazyCommands()  # type: ignore[assignment]

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return list(COMMANDS)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Stopped(error) from error
        except RuntimeError as error:  # what DuckDB raises at Ctrl-C during a query
            if str(error) != "Query interrupted":
                raise
            raise _Stopped(KeyboardInterrupt()) from error


app = typer.Typer(
    name="agebench",
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # it would read `[the default]` as markup
    pretty_exceptions_enable=False,
    help="Curate IMDB-WIKI in the open, train age estimators with the neighborhood loss, and report errors that can be "
    "traced.\n\nThe main job: agebench curate imdb-wiki, agebench balance, agebench train, agebench report "
    "--tables 2,3. Without any data: agebench demo.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from agebench import __version__

        typer.echo(f"agebench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Print a traceback when something fails."),
) -> None:
    pass


def main() -> None:
    """Entry point: run a command, and turn any exception into a message and an exit status (DESIGN section 6)."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    keep_freed_memory()
    arguments = [a for a in arguments if a != "--debug"]
    try:
        status = app(arguments, standalone_mode=False)
    except AgebenchError as error:
        status = _fail(arguments, type(error).__name__, error.message, error.next_step, error.exit_status, debug)
    except _ClickException as error:
        name = type(error).__name__
        if name == "NoArgsIsHelpError":
            error.show()
            status = 2
        else:
            status = _fail(arguments, name, error.format_message(), _help_of(error), 2, debug)
    except _Stopped as stop:
        status = _fail(arguments, stop.kind, stop.message, stop.next_step, 130, debug)
    except (KeyboardInterrupt, typer.Abort):
        status = _fail(arguments, "Interrupted", "Stopped.", "Run the same command again to continue.", 130, debug)
    except BrokenPipeError:  # the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except MemoryError:
        text, what = "The memory of this machine is not enough.", "End other programs, or take fewer --workers."
        status = _fail(arguments, "OutOfMemory", text, what, 1, debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}."
        status = _fail(arguments, "StorageError", text, "Fix this and run the command again.", 1, debug)
    except Exception as error:  # noqa: BLE001 - last resort: a message, never a traceback
        text = f"agebench failed unexpectedly: {type(error).__name__}: {error}"
        status = _fail(arguments, "Bug", text, "Run it again with --debug and report the traceback.", 1, debug)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(arguments: list[str], kind: str, message: str, next_step: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if "--json" in arguments:
        import json

        command = " ".join(a for a in arguments[:2] if not a.startswith("-")) if arguments else ""
        print(
            json.dumps(
                {
                    "command": _named(arguments) or command,
                    "error": {"kind": kind, "message": message, "next": next_step},
                }
            )
        )
    print(f"agebench: {message.rstrip()}", file=sys.stderr)
    if next_step:
        print(f"  {next_step}", file=sys.stderr)
    return status


def _named(arguments: list[str]) -> str | None:
    """The command in the arguments, such as `curate` or `review list`; None if there is none."""
    place, first = next(((i, a) for i, a in enumerate(arguments) if a in COMMANDS), (0, None))
    if first is None:
        return None
    try:
        below = getattr(_command(first), "commands", {})
    except Exception:  # noqa: BLE001 - that its module cannot be imported is the error which is being reported
        return first
    second = next((a for a in arguments[place + 1 :] if a in below), None)
    return f"{first} {second}" if second else first


def _help_of(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path} --help`." if context else "See `agebench --help`."
