"""Where the test pictures are, and the skip (with its reason) where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _shared() -> Path | None:
    named = os.environ.get("AGEBENCH_TEST_DATA")
    candidates = [Path(named)] if named else []
    candidates.append(Path(__file__).resolve().parents[2] / "shared" / "data")
    return next((c.resolve() for c in candidates if c.is_dir()), None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data; skips where neither AGEBENCH_TEST_DATA nor ../shared/data exists."""
    folder = _shared()
    if folder is None:
        pytest.skip("no test pictures: set AGEBENCH_TEST_DATA, or put them in ../shared/data")
    return folder
