"""The package of the page `docs/extending.md` as pip would install it: its files and the metadata of entry points."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
FILE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)


def files() -> dict[str, str]:
    """Name → text of every file on the page."""
    return {match["name"]: match["text"] for match in FILE.finditer(PAGE.read_text(encoding="utf-8"))}


def install(site: Path) -> Path:
    """Put the package into a folder that can stand in `sys.path`; the folder."""
    found = files()
    for name, text in found.items():
        if name.startswith("my_ages/"):
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text, encoding="utf-8")
    project = tomllib.loads(found["pyproject.toml"])["project"]
    facts = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())])
        for group, entries in project["entry-points"].items()
    ]
    (facts / "entry_points.txt").write_text("\n\n".join(points) + "\n")
    return site
