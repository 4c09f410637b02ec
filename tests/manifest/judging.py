"""Folding answers in and judging, as `curate` does, without observing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from agebench.curation.compiled import CompiledCheck
from agebench.curation.verdicts import judge, store_evidence
from agebench.manifest.renewal import mark_made, renew
from agebench.manifest.store import get_meta, open_manifest
from agebench.review.decisions import decisions_file
from agebench.review.folding import answers_key, describe_answers


def fold_answers(file: Path) -> list[str]:
    """Fold the answers in; what people are told."""
    request = SimpleNamespace(notes=[])
    renew(file, request, {"answers": answers_key(file)}, names=["decisions", "copy_answers"])
    return request.notes + describe_answers(facts_of(file), decisions_file(file))


def facts_of(file: Path) -> dict[str, int]:
    with open_manifest(file) as con:
        return dict(json.loads(get_meta(con, "decisions") or "{}"))


def judge_by(file: Path, checks: list[CompiledCheck]) -> list[str]:
    """Fold the answers in, store the evidence and judge; what people are told."""
    notes = fold_answers(file)
    with open_manifest(file, write=True) as con:
        store_evidence(con)
    with open_manifest(file, write=True) as con:
        judge(con, checks, recipe="r", recipe_digest="x")
        mark_made(con, "verdicts", "test")
    return notes
