"""review: the queue listed, an answer given, answers out and in, reviewers compared, the kept records audited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from agebench.errors import AgebenchError, DecisionError, Missing, StorageError, UsageError
from agebench.manifest import get_meta, open_manifest
from agebench.manifest.decisions import (
    Subject,
    answered_records,
    kept_rows,
    lines_folded,
    must_be_there,
    present_pictures,
    subject_of,
    task_rows,
)
from agebench.manifest.plans import curated_fingerprint
from agebench.recipes import load_card
from agebench.review import audit as audits
from agebench.review.agreement import Agreement, agreement
from agebench.review.answers import latest_answers, resolve
from agebench.review.decisions import (
    Answer,
    Box,
    Decision,
    Kind,
    append,
    decisions_file,
    merge,
    new_decision,
    parse,
    read,
    write_merged,
)
from agebench.review.label_studio import LABELLING, answers_in, is_label_studio, task
from agebench.review.queue import Answers, Queue, assigned, load_queue
from agebench.workflows.explain import parts_of, unknown_record
from agebench.workflows.places import curate_command, must_be_judged


@dataclass(frozen=True)
class Listing:
    """What waits for an answer. rows: see `review.queue.Queue`; left: their number before the limit."""

    left: int
    rows: pl.DataFrame
    notes: list[str]


@dataclass(frozen=True)
class Answered:
    """An answer that is on disk. counts: what all answers about the record come to now (the row of `answers.resolve`);
    None where none counts. claimed: its claimed age; curate: the command that folds it in."""

    decision: Decision
    file: Path
    counts: dict[str, Any] | None
    claimed: int | None
    curate: str
    notes: list[str]


@dataclass(frozen=True)
class Imported:
    """Answers taken in: how many of the file were new, and the records on which reviewers now disagree. curate: the
    command that folds them in."""

    file: Path
    read: int
    added: int
    disagreements: list[dict[str, Any]]
    curate: str
    notes: list[str]


@dataclass(frozen=True)
class Audit:
    """A sample, what of it waits (see `review.audit.to_read`), and what the readings say. current: whether the curated
    rows and the sample's pictures are those that it was drawn from; curate: the command that takes the estimate into
    the manifest."""

    sample: audits.Sample
    file: Path
    to_read: list[dict[str, Any]]
    estimate: audits.Estimate
    current: bool
    curate: str
    notes: list[str] = field(default_factory=list)


def queue_of(manifest: Path) -> tuple[Queue, Answers, list[str]]:
    """A queue with the answers that are there, as the page wants them: snapshots, nobody holds a file."""
    queue = load_queue(manifest)
    decisions, notes = _lines(manifest)
    return queue, Answers(decisions), notes


def _lines(manifest: Path) -> tuple[list[Decision], list[str]]:
    """All answers about a manifest, as `read`. Raises DecisionError also where the file is gone."""
    file = decisions_file(manifest)
    with open_manifest(manifest) as con:
        must_be_there(file, lines_folded(con), manifest)
    return read(file)


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
    """The queue of a manifest, without what is answered since it was judged.

    by: leave out what this reviewer answered, not what others did; with `reviewers` (which must hold the name), only
    what is assigned to them (see `queue.assigned`). Raises NothingCurated, DecisionError, UsageError.
    """
    if reviewers and by not in reviewers:
        raise UsageError(
            f"'{by}' is none of the reviewers {', '.join(reviewers)}.", "`--by` names one of `--reviewers`."
        )
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        parts = parts_of(con)
    if part is not None and part not in parts:
        raise UsageError(f"{manifest} has no part '{part}'.", f"Its parts: {', '.join(parts)}.")
    queue, answers, notes = queue_of(manifest)
    known = sorted(queue.rows["reasons"].explode().drop_nulls().unique()) if check is not None else []
    if check is not None and check not in known:
        raise UsageError(
            f"No record waits because of '{check}'.",
            "Checks with records in review: " + (", ".join(known) or "none") + ".",
        )
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
    audit: bool = False,
    reading: int = 1,
    undo: bool = False,
    settle: bool = False,
    shown: dict[str, Any] | None = None,
) -> Answered:
    """Give an answer about a record, or take the reviewer's latest one about it back; it is on disk when this returns.

    reading: of an audit, which of the reviewer's own readings of the record it is; a later one of the same number takes
    its place. settle: whether it decides the record against the other answers that stand now.
    Raises UsageError (no such record, with the nearest; an answer that does not fit; nothing to undo or settle; a
    reading of a record that is in no sample), DecisionError for a file that is damaged or gone, StorageError.
    """
    for word, text in (("part", part), ("path", path)):
        if not text.isascii() and not _is_text(text):
            raise UsageError(f"The {word} {text!a} is no text.", "Releases spell their paths in UTF-8.")
    with open_manifest(manifest) as con:
        subject = subject_of(con, part, path)
        if subject is None:
            raise UsageError(*unknown_record(con, manifest, part, path))
        records = answered_records(con, pl.DataFrame({"part": [part], "path": [path]}))
        dataset, curate = get_meta(con, "dataset") or "?", curate_command(con, manifest)
    file = decisions_file(manifest)
    decisions, notes = _lines(manifest)
    mine = [d for d in decisions if (d.part, d.path) == (part, path)]
    kind: Kind = "audit" if audit else "decision"
    about: dict[str, Any] = {
        "by": by,
        "part": part,
        "path": path,
        "sha256": subject.sha256,
        "note": note,
        "shown": shown,
    }
    if undo:
        last = Answers(mine).latest((part, path), by, kind)
        if last is None:
            raise UsageError(
                f"{by} has no {'audit ' if audit else ''}answer about {part} {path} to undo.",
                _who(decisions, part, path),
            )
        about |= {"kind": "undo", "undoes": last.id}
    else:
        must_fit(subject, answer=answer, age=age, box=box, audit=audit)
        about |= {"kind": kind, "answer": answer, "age": age, "box": box}
        about["shown"] = {"claimed": subject.age} | (shown or {})
        if audit:
            about["shown"]["reading"] = reading
            notes += _drawn(manifest, subject)
        else:
            notes += _of_a_test_set(dataset, answer)
        if settle:
            others = Answers(mine).standing((part, path))
            if all(d.by == by for d in others):
                raise UsageError(f"Nobody else has answered about {part} {path}: there is nothing to settle.")
            about["shown"]["settles"] = [d.id for d in others]
    try:
        decision = new_decision(after=Answers(mine).latest((part, path), by, kind), **about)
    except DecisionError as error:
        raise UsageError(error.message, error.next_step) from error
    notes += append(file, decision)
    rows = resolve([*mine, decision], records).to_dicts()
    return Answered(decision, file, rows[0] if rows else None, subject.age, curate, notes)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False
    return True


def _drawn(manifest: Path, subject: Subject) -> list[str]:
    """What is to be said of a reading. Raises UsageError where no audit's sample holds the record."""
    name = (subject.part, subject.path)
    pictures = [
        r["sha256"] for sample in audits.samples_of(manifest) for r in sample.records if (r["part"], r["path"]) == name
    ]
    if not pictures:
        raise UsageError(
            f"{subject.part} {subject.path} is in no audit's sample, so a reading of it says nothing.",
            "`agebench review audit` draws a sample and lists what is to be read.",
        )
    if subject.sha256 not in pictures:
        return ["The picture has changed since it was drawn, it is left out: the reading does not count."]
    return []


def _of_a_test_set(dataset: str, answer: Answer | None) -> list[str]:
    """That evaluation keeps the published labels, where that is so and the answer says otherwise."""
    try:
        card = load_card(dataset)
    except AgebenchError:  # its card is not here
        return []
    if "train" in card.roles or answer not in ("age", "reject"):
        return []
    return [
        f"{dataset} is a test set: `agebench evaluate` keeps its published labels and pictures whatever is decided."
    ]


def must_fit(
    subject: Subject, *, answer: Answer | None, age: int | None = None, box: Box | None = None, audit: bool = False
) -> None:
    """Raises UsageError where an answer about a record cannot be meant so: an age that is no class, a wrong claim kept
    as it is, a picture kept that cannot be read, a box whose middle lies outside the picture. `answers.resolve` calls
    such answers `unfit`."""
    if age is not None and not 0 <= age <= 99:
        raise UsageError(
            f"The age {age} is no age class.", "Ages are whole years from 0 to 99; a record of another age is rejected."
        )
    if not audit and answer in ("keep", "face") and not 0 <= (-1 if subject.age is None else subject.age) <= 99:
        raise UsageError(
            f"The claimed age of {subject.part} {subject.path} is {subject.age}, so it cannot be kept as it is.",
            "`--age N` says which age is right; `--reject` takes it out.",
        )
    if not audit and answer != "reject" and subject.error is not None:
        raise UsageError(
            f"The picture of {subject.part} {subject.path} cannot be read ({subject.error}), so it cannot be kept.",
            "Put the right file there and curate again, or `--reject` it.",
        )
    if box is not None and subject.width and subject.height:
        x, y, w, h = box
        if not (0 <= x + w / 2 <= subject.width and 0 <= y + h / 2 <= subject.height):
            raise UsageError(
                f"The middle of the box lies outside the picture, which is {subject.width} by {subject.height} pixels.",
                "`agebench explain` lists the faces that were found.",
            )


def _who(decisions: Sequence[Decision], part: str, path: str) -> str:
    others = sorted({d.by for d in decisions if (d.part, d.path) == (part, path)})
    return f"Answers are there by {', '.join(others)}." if others else "Nobody has answered about it."


def export_decisions(manifest: Path) -> tuple[bytes, int, list[str]]:
    """All lines of the file of decisions, sorted by (at, id), and their number. Raises DecisionError."""
    decisions, notes = _lines(manifest)
    lines = merge(decisions, [])
    return b"".join(d.line() for d in lines), len(lines), notes


def export_label_studio(manifest: Path) -> tuple[bytes, int, list[str]]:
    """The queue as Label Studio's tasks (JSON), in the order of the queue, and their number."""
    found = listing(manifest)
    with open_manifest(manifest) as con:
        rows, faces, estimates = task_rows(con, found.rows["record_id"])
    by_record = {row["record_id"]: row for row in rows.to_dicts()}
    by_face = _grouped(faces)
    by_estimate = _grouped(estimates)
    tasks = [task(by_record[n], by_face.get(n, []), by_estimate.get(n, [])) for n in found.rows["record_id"].to_list()]
    interface = "Label Studio's labelling interface for them: " + " ".join(LABELLING.split())
    return json.dumps(tasks, indent=1).encode(), len(tasks), [*found.notes, interface]


def _grouped(frame: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in frame.to_dicts():
        found.setdefault(row.pop("record_id"), []).append(row)
    return found


def import_answers(manifest: Path, file: Path, kind: str = "auto") -> Imported:
    """Merge another person's decisions, or Label Studio's annotations, into the file of a manifest; annotations that
    cannot be read are told one by one.

    kind: auto, jsonl, label-studio. Raises Missing, DecisionError; nothing is changed then.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise Missing(f"There is no file {file}.", "`agebench review export --out FILE` writes one.") from error
    except OSError as error:
        raise StorageError(f"Cannot read {file}: {error.strerror or error}.") from error
    studio = kind == "label-studio" or (kind == "auto" and is_label_studio(data))
    theirs, unread = answers_in(data, str(file)) if studio else (parse(data, str(file)), [])
    with open_manifest(manifest) as con:
        names = pl.DataFrame(
            [(d.part, d.path) for d in theirs], schema={"part": pl.Utf8, "path": pl.Utf8}, orient="row"
        ).unique()
        must_be_there(decisions_file(manifest), lines_folded(con), manifest)
        curate = curate_command(con, manifest)
        unknown = len(names) - len(answered_records(con, names).unique(["part", "path"]))
    merged, added, notes = write_merged(decisions_file(manifest), theirs)
    notes += unread
    if not theirs and not unread:
        notes.append(f"{file} holds no answer{'; its tasks have no annotations' if studio else ''}.")
    if unknown:
        notes.append(
            f"{unknown:,} records of {file} are not in {manifest}; the answers about them are kept in the file."
        )
    records = _answered_in(manifest, merged)
    found = agreement(merged, records)
    unfit = len(resolve(merged, records).filter(pl.col("status") == "unfit"))
    if unfit:
        notes.append(
            f"{unfit:,} records have an answer that cannot be meant so (such as keeping an age that is none, or a "
            "picture that cannot be read); they stay in review with the reason `answer_does_not_fit`."
        )
    return Imported(decisions_file(manifest), len(theirs), added, found.disagreements, curate, notes)


def agree(manifest: Path) -> tuple[Agreement, list[str]]:
    """How far the reviewers of a manifest agree (see `review.agreement`). Raises DecisionError."""
    decisions, notes = _lines(manifest)
    return agreement(decisions, _answered_in(manifest, decisions)), notes


def _answered_in(manifest: Path, decisions: Sequence[Decision]) -> pl.DataFrame:
    """The records of a manifest that answers are about."""
    names = latest_answers(decisions).select("part", "path").unique()
    with open_manifest(manifest) as con:
        return answered_records(con, names)


def audit(manifest: Path, *, n: int | None = None, seed: int | None = None, by: str | None = None) -> Audit:
    """The audit of n kept records: drawn at the first call and kept in a file, then read as far as the answers go.

    n, seed: 200 and 0; where neither is given, those of the audit that was drawn last. Raises NothingCurated,
    UsageError, DecisionError, StorageError.
    """
    latest = next(iter(audits.samples_of(manifest)), None) if n is None and seed is None else None
    n, seed = (latest.n, latest.seed) if latest else (200 if n is None else n, seed or 0)
    if not 1 <= n <= 1_000_000:
        raise UsageError(f"--n is {n}; expected 1 or more records.")
    file = audits.sample_file(manifest, n, seed)
    decisions, notes = _lines(manifest)
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        fingerprint = curated_fingerprint(con)
        if file.is_file():
            sample, drawn = audits.read_sample(file), False
        else:
            sample = audits.draw_sample(kept_rows(con), n=n, seed=seed, curated=fingerprint)
            drawn = True
        present = present_pictures(con, ((r["part"], r["path"]) for r in sample.records))
        curate = curate_command(con, manifest)
    if latest:
        notes.append(f"It is the audit that was drawn last, --n {n} --seed {seed}; other numbers draw another.")
    if drawn:
        audits.write_sample(file, sample)
        notes.append(f"The sample was drawn and is kept in {file}.")
    changed = len(audits.changed_since(sample, present))
    if changed:
        notes.append(f"The pictures of {changed:,} records have changed since they were drawn; they are left out.")
    current = sample.curated == fingerprint and not changed
    if not current:
        notes.append("The curated records have changed since it was drawn; another `--seed` audits those of now.")
    waiting, found = audits.to_read(sample, decisions, by, present), audits.estimate(sample, decisions, present)
    return Audit(sample, file, waiting, found, current, curate, notes)
