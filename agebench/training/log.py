"""The training log, `metrics.jsonl`, as another process may be writing it or as a crash may have left it."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from agebench.files import read_file

METRICS = "metrics.jsonl"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines with a step, in order; incomplete or damaged lines are left out, as is a file that cannot be read."""
    lines = []
    with suppress(OSError):
        for text in read_file(path).decode(errors="replace").splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and isinstance(line.get("step"), int):
                    lines.append(line)
    return lines
