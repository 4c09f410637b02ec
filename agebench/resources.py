"""Where cards and recipes are found: the working directory first, then what ships with agebench.

The three folders are `manifests/` (cards), `pipelines/` (curation recipes) and `models/` (model recipes).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from agebench.errors import UsageError, nearest

Kind = Literal["manifests", "pipelines", "models"]
KINDS: tuple[Kind, ...] = ("manifests", "pipelines", "models")
NOT_RECIPES = {"published"}  # files in these folders that are neither cards nor recipes
WHAT = {"manifests": "dataset", "pipelines": "curation recipe", "models": "model recipe"}


def shipped_folder(kind: Kind) -> Path:
    """The folder that ships with agebench: inside the wheel, else the checkout's top level."""
    package = Path(__file__).resolve().parent
    inside = package / "_shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def available(kind: Kind, cwd: Path | None = None) -> dict[str, Path]:
    """Name → file of every card or recipe of one kind; one in the working directory comes before a shipped one."""
    found: dict[str, Path] = {}
    for folder in (shipped_folder(kind), (cwd or Path.cwd()) / kind):
        if folder.is_dir():
            found |= {p.stem: p for p in sorted(folder.glob("*.toml")) if p.stem not in NOT_RECIPES}
    return found


def is_yours(kind: Kind, name: str, file: Path) -> bool:
    """Whether the file behind a name is not what ships under that name: an unchanged copy, as in a checkout, is not."""
    shipped = shipped_folder(kind) / f"{name}.toml"
    return not (shipped.is_file() and shipped.read_bytes() == file.read_bytes())


def declaration(kind: Kind, name: str, cwd: Path | None = None) -> Path:
    """A file that is neither card nor recipe: the one in the working directory, else the shipped one."""
    yours = (cwd or Path.cwd()) / kind / f"{name}.toml"
    return yours if yours.exists() else shipped_folder(kind) / f"{name}.toml"


def find(kind: Kind, name: str, cwd: Path | None = None) -> Path:
    """The file behind a name, or behind a path that ends in `.toml`.

    Raises UsageError (exit 2) with the nearest names if there is none.
    """
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if path.exists():
            return path
        raise UsageError(
            f"There is no file {name}.",
            f"`agebench ls` lists what ships; `agebench cp` copies one to {kind}/.",
        )
    found = available(kind, cwd)
    if name not in found:
        here = (cwd or Path.cwd()) / f"{name}.toml"
        if here.is_file():
            raise UsageError(
                f"Unknown {WHAT[kind]} '{name}': it is not in {kind}/.",
                f"Name the file, {name}.toml, or move it to {kind}/.",
            )
        raise UsageError(f"Unknown {WHAT[kind]} '{name}'. {nearest(name, found)}", "`agebench ls` lists them all.")
    return found[name]
