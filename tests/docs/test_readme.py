"""README is short, recommends the good install, and leads to the pages that hold the rest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .blocks import TOP, blocks

README = TOP / "README.md"
PAGES = ("how-to/datasets", "how-to/curate", "how-to/review", "how-to/train", "how-to/evaluate", "scale", "reliability")
WRITE = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute('CREATE TABLE free (x INT)')"


def test_readme_has_at_most_120_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_readme_says_what_a_newcomer_asks() -> None:
    text = README.read_text(encoding="utf-8")
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    order = ["Install", "The four commands", "What comes out", "Beside other tools", "Limits and intended use"]
    assert [head for head in heads if head in order] == order
    first, picture, *_ = text.split("\n\n")[1:]
    assert first.startswith("agebench ")
    assert picture.startswith("![")
    assert "licence" in text.splitlines()[-2] + text.splitlines()[-1]
    commands = next(block.text for block in blocks(README) if "agebench train" in block.text)
    assert {line.split()[1] for line in commands.splitlines()} == {"curate", "balance", "train", "report"}


def test_readme_leads_to_files_that_exist_and_to_every_main_page() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text(encoding="utf-8"))
    local = {link for link in links if "://" not in link}
    assert [link for link in local if not (TOP / link).is_file()] == []
    assert {f"docs/{page}.md" for page in PAGES} <= local


def test_the_install_of_readme_can_doubt_claimed_ages() -> None:
    lines = [line for block in blocks(README) for line in block.text.splitlines() if line.startswith("pip install")]
    assert any("'.[age,identity,backbones]'" in line for line in lines)


def test_reads_that_the_pages_show_leave_the_manifest_to_writers(reader: Path) -> None:
    """A block's names live on, as in a notebook, while another process writes."""
    shown = [block for page in (README, TOP / "docs/how-to/export.md") for block in blocks(page)]
    reads = [block for block in shown if block.language == "python" and "duckdb.connect" in block.text]
    assert {block.page for block in reads} == {"README.md", "docs/how-to/export.md"}
    notebooks: list[dict[str, Any]] = [{} for _ in reads]
    for block, names in zip(reads, notebooks, strict=True):
        exec(compile(block.text, block.page, "exec"), names)
    done = subprocess.run([sys.executable, "-c", WRITE, "manifests/imdb-wiki.duckdb"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
