"""The site: it builds without a warning, says all that is public, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import agebench
from agebench.manifest.evidence import COLUMNS

from .blocks import TOP


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?:|//)", text)
        assert loaded == [], page


def test_the_reference_has_every_public_name_and_every_evidence_column(site: Path) -> None:
    api = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert [n for n in agebench.__all__ if n != "errors" and f'id="agebench.{n}"' not in api] == []
    evidence = (site / "reference" / "evidence.html").read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"<code>{name}</code>" not in evidence] == []
