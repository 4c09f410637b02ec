"""review list and review decide: list the queue, answer a record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from agebench.errors import AgebenchError, DecisionError, UsageError
from agebench.manifest.places import curate_command, must_be_judged
from agebench.manifest.store import get_meta, open_manifest
from agebench.manifest.summary import reasons
from agebench.manifest.unknown import parts_of, unknown_record
from agebench.recipes import load_card
from agebench.review import audit as audits
from agebench.review.decisions import Answer, Box, Decision, Kind, Looks, append, decisions_file, new_decision
from agebench.review.queue import OPEN, Answers, assigned, load_queue, second_looks
from agebench.review.resolution import misfits, resolve
from agebench.review.rows import AnsweredRecord, answered_record, answered_records, lines_of


@dataclass(frozen=True)
class Listing:
    """What waits for an answer. rows: see `review.queue.Queue`; left: how many there are without the limit."""

    left: int
    rows: pl.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class Answered:
    """An answer that is on disk. counts: how all answers about the record resolve now (its row of
    `resolution.resolve`); None if it has no answers. claimed: the claimed age, years; name: the subject's name; curate:
    the command that applies the answer."""

    decision: Decision
    file: Path
    counts: dict[str, Any] | None
    claimed: int | None
    name: str | None
    curate: str
    notes: list[str]


def listing(
    manifest: Path,
    *,
    check: str | None = None,
    ages: tuple[int, int] | None = None,
    part: str | None = None,
    subject: str | None = None,
    limit: int | None = None,
    by: str | None = None,
    reviewers: Sequence[str] = (),
    overlap: float = 0.0,
    seed: int = 0,
) -> Listing:
    """The queue of a manifest, without the records that were answered since it was judged.

    by: leave out only what this reviewer answered, not what others did. With `reviewers`, which must include `by`: only
    what is assigned to this reviewer (see `queue.assigned`), even if another one has decided it (`second_looks`).
    Raises NothingCurated, DecisionError, UsageError.
    """
    if reviewers and by not in reviewers:
        raise UsageError(
            f"'{by}' is not among the reviewers {', '.join(reviewers)}.", "`--by` must name one of `--reviewers`."
        )
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        parts, checks = parts_of(con), list(reasons(con))
    if part is not None and part not in parts:
        raise UsageError(f"{manifest} has no part '{part}'.", f"Its parts: {', '.join(parts)}.")
    decisions, notes = lines_of(manifest)
    answers = Answers(decisions)
    also = second_looks(answers, reviewers, overlap=overlap, seed=seed) if reviewers else []
    queue = load_queue(manifest, also)
    if check is not None and check not in (*checks, *OPEN):
        raise UsageError(f"{manifest} was not judged by a check '{check}'.", f"Its checks: {', '.join(checks)}.")
    rows = queue.left(answers.answered(queue, by), check=check, ages=ages, part=part, subject=subject)
    if reviewers and by is not None:
        mine = [
            by in assigned((p, q), reviewers, overlap=overlap, seed=seed)
            for p, q in rows.select("part", "path").iter_rows()
        ]
        rows = rows.filter(pl.Series(mine, dtype=pl.Boolean))
    return Listing(len(rows), rows.head(limit) if limit is not None else rows, notes)


def decide(
    manifest: Path,
    part: str,
    path: str,
    *,
    by: str,
    answer: Answer | None = None,
    age: int | None = None,
    box: Box | None = None,
    note: str | None = None,
    undo: bool = False,
    settle: bool = False,
    shown: dict[str, Any] | None = None,
) -> Answered:
    """Answer a record, or undo the reviewer's latest answer about it. The answer is on disk when this returns.

    settle: whether the answer overrules the others that stand now. Raises UsageError (no such record, with the nearest;
    an answer that does not fit; nothing to undo or settle), DecisionError for a file that is damaged or missing,
    StorageError.
    """
    asked = _Asked(manifest, part, path)
    if undo:
        return asked.undo(by, "decision", note)
    settles: list[str] = []
    if settle:
        others = Answers(asked.mine).standing((part, path))
        if all(d.by == by for d in others):
            raise UsageError(f"Nobody else has answered {part} {path}, so there is nothing to settle.")
        settles = [d.id for d in others]
    asked.notes += _of_a_test_set(asked.dataset, answer)
    return asked.write(
        by, "decision", answer=answer, age=age, box=box, claimed=asked.subject.age, note=note, settles=settles,
        shown=shown,
    )  # fmt: skip


def read_blind(
    manifest: Path,
    part: str,
    path: str,
    *,
    by: str,
    looks: Looks | None = None,
    answer: Answer | None = None,
    age: int | None = None,
    note: str | None = None,
    reading: int = 1,
    undo: bool = False,
) -> Answered:
    """One step of an audit reading. The first step is `looks`, how old the face looks, which cannot be changed later;
    only its result tells the claimed age. The second step is `answer`, which judges the claim: keep, wrong, or age with
    the right one. A later judgement replaces an earlier one; undo removes it.

    reading: which of the reviewer's own readings of the record it is, 1 or 2. Raises as `decide`, and UsageError for a
    record that is in no sample and for steps out of order.
    """
    asked = _Asked(manifest, part, path)
    if undo:
        return asked.undo(by, "audit", note)
    drawn = _drawn(manifest, asked.subject)
    before = audits.looked(asked.mine, by, (part, path), drawn["sha256"], reading)
    about: dict[str, Any] = {"note": note, "reading": reading}
    if drawn["sha256"] != asked.subject.sha256:
        asked.notes.append(
            "The picture has changed since the sample was drawn, so the record is left out of the audit."
        )
        about["sha256"] = drawn["sha256"]
    audits.must_come_next(f"{part} {path}", before, looks)
    if looks is not None:
        return replace(asked.write(by, "estimate", looks=looks, **about), claimed=drawn["age"])
    about |= {"looks": before, "claimed": drawn["age"]}
    return asked.write(by, "audit", answer=answer, age=age, **about)


class _Asked:
    """The record to be answered, and the answers that it has. Raises as `decide`."""

    def __init__(self, manifest: Path, part: str, path: str) -> None:
        for word, text in (("part", part), ("path", path)):
            if not text.isascii() and not _is_text(text):
                raise UsageError(f"The {word} {text!a} is not valid UTF-8.", "Releases spell their paths in UTF-8.")
        with open_manifest(manifest) as con:
            subject = answered_record(con, part, path)
            if subject is None:
                raise UsageError(*unknown_record(con, manifest, part, path))
            self.subject = subject
            self.records = answered_records(con, pl.DataFrame({"part": [part], "path": [path]}))
            self.dataset, self.curate = get_meta(con, "dataset") or "?", curate_command(con, manifest)
        self.file = decisions_file(manifest)
        decisions, self.notes = lines_of(manifest)
        self.mine = [d for d in decisions if (d.part, d.path) == (part, path)]

    def undo(self, by: str, kind: Kind, note: str | None) -> Answered:
        """Undo the reviewer's latest line of a kind."""
        name = self.subject.part, self.subject.path
        last = Answers(self.mine).latest(name, by, kind)
        if last is None:
            what = "judgement of the audit" if kind == "audit" else "answer"
            raise UsageError(f"{by} has no {what} about {' '.join(name)} to undo.", _who(self.mine))
        return self.write(by, "undo", after=last, undoes=last.id, note=note)

    def write(self, by: str, kind: Kind, *, after: Decision | None = None, **said: Any) -> Answered:
        """Write a line after checking that it fits the record."""
        name = self.subject.part, self.subject.path
        about = {"by": by, "kind": kind, "part": name[0], "path": name[1], "sha256": self.subject.sha256}
        try:
            line = new_decision(after=after or Answers(self.mine).latest(name, by, kind), **about | said)
        except DecisionError as error:
            raise UsageError(error.message, error.next_step) from error
        for message, next_step in misfits([line], self.records).values():
            raise UsageError(message, next_step)
        self.notes += append(self.file, line)
        rows = resolve([*self.mine, line], self.records).to_dicts()
        counts = rows[0] if rows else None
        return Answered(line, self.file, counts, self.subject.age, self.subject.name, self.curate, self.notes)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return False
    return True


def _drawn(manifest: Path, subject: AnsweredRecord) -> dict[str, Any]:
    """The record as it was drawn by the latest audit that has its current picture, else by the latest that has the
    record at all. Raises UsageError if none has it."""
    name = (subject.part, subject.path)
    drawn = [r for sample in audits.samples_of(manifest) for r in sample.records if (r["part"], r["path"]) == name]
    if not drawn:
        raise UsageError(
            f"{subject.part} {subject.path} is in no audit sample, so it cannot be read for one.",
            "`agebench review audit` draws a sample and lists what is to be read.",
        )
    return next((r for r in drawn if r["sha256"] == subject.sha256), drawn[0])


def _of_a_test_set(dataset: str, answer: Answer | None) -> list[str]:
    """A note that evaluation keeps the published labels, if the dataset is a test set and the answer changes one."""
    try:
        card = load_card(dataset)
    except AgebenchError:  # its card is not here
        return []
    if "train" in card.roles or answer not in ("age", "reject"):
        return []
    return [
        f"{dataset} is a test set: `agebench evaluate` keeps its published labels and pictures, whatever is decided."
    ]


def _who(decisions: Sequence[Decision]) -> str:
    others = sorted({d.by for d in decisions})
    return f"It has answers by {', '.join(others)}." if others else "Nobody has answered it."
