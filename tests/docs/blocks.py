"""The fenced blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?P<head>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """page: relative to the top; line: of its first line, from 1; title: the file that it is, if any."""

    page: str
    line: int
    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, _, rest = match["head"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start()) + 2
        name = str(page.relative_to(TOP))
        found.append(Block(name, line, language, title[1] if title else "", match["text"]))
    return found


def commands(page: Path) -> list[tuple[Block, str]]:
    """The lines that begin with `agebench` in shell blocks, as they stand."""
    shell = [block for block in blocks(page) if block.language in ("", "sh")]
    return [(b, line.strip()) for b in shell for line in b.text.splitlines() if line.startswith("agebench ")]
