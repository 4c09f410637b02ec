"""agebench review decide"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from agebench.cli.render import Json, ManifestName, console, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.review.deciding import Answered
    from agebench.review.decisions import Answer, Looks


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review decide PART PATH --reject --note 'a wax figure'")(decide)


def decide(
    part: Annotated[str, typer.Argument(help="Part of the release: imdb or wiki; otherwise the dataset's name.")],
    path: Annotated[str, typer.Argument(help="Path of the picture, as the release spells it.")],
    keep: Annotated[bool, typer.Option("--keep", help="The record is right as it is.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="The record cannot be used.")] = False,
    age: Annotated[int | None, typer.Option(help="The right age, 0 to 99; the record is kept with it.")] = None,
    face: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="The right face, in pixels; the record is kept.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Undo your latest answer about the record.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="This is an audit reading; it changes no verdict.")] = False,
    looks: Annotated[
        str | None,
        typer.Option(
            metavar="N|cannot-tell", help="With --audit, first: how old the face looks; shows the claimed age."
        ),
    ] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="With --audit: the claimed age is wrong.")] = False,
    reading: Annotated[
        int | None, typer.Option(min=1, max=2, help="With --audit: which of your readings of the record it is [1].")
    ] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Overrule the other answers; a later answer reopens the record.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Who answers [the user's name].")] = None,
    note: Annotated[str | None, typer.Option(help="Why, in words.")] = None,
    manifest: ManifestName = None,
    json: Json = False,
) -> None:
    """Keep or reject a record, or correct its age or face. --face can be combined with --keep or --age. The answer is
    on disk when the command ends.

    An audit reading takes two steps. First, --audit --looks N says how old the face looks. This cannot be changed
    later, and only then is the claimed age shown. Second, --audit with --keep (the claimed age is right), --wrong, or
    --age N (the right age) judges the claim.
    """
    from agebench.cli.review import reviewer

    answers = {
        "--keep": keep, "--reject": reject, "--wrong": wrong, "--age": age is not None, "--looks": looks is not None,
    }  # fmt: skip
    chosen = [name for name, given in answers.items() if given]
    allowed = ("--keep", "--wrong", "--age", "--looks") if audit else ("--keep", "--reject", "--age")
    if undo and (chosen or face):
        raise typer.BadParameter("--undo cannot be combined with an answer.")
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)} contradict each other.")
    if chosen and chosen[0] not in allowed:
        where = "a reading of an audit" if audit else "an answer without --audit"
        raise typer.BadParameter(f"{chosen[0]} cannot be used in {where}; expected one of {', '.join(allowed)}.")
    if face and (reject or audit):
        raise typer.BadParameter(f"{'--audit' if audit else '--reject'} and --face contradict each other.")
    if not (undo or chosen or face):
        expected = ", ".join((*allowed, *(() if audit else ("--face X,Y,W,H",)), "--undo"))
        raise typer.BadParameter(f"expected one of {expected}.")
    if reading is not None and (not audit or undo):
        raise typer.BadParameter("it needs --audit and an answer.", param_hint="--reading")
    if settle and (audit or undo):
        raise typer.BadParameter("it needs --keep, --reject, --age or --face.", param_hint="--settle")
    who = reviewer(by)
    seen = _looks(looks) if looks is not None else None
    box = _box(face) if face else None
    answer = cast("Answer", chosen[0].removeprefix("--") if chosen else "face")
    said = None if undo or looks is not None else answer
    from agebench.manifest.places import find_manifest
    from agebench.review.deciding import decide as decided
    from agebench.review.deciding import read_blind

    place = find_manifest(manifest, training=False)
    if audit:
        found = read_blind(
            place, part, path, by=who, looks=seen, answer=said, age=age, note=note, reading=reading or 1, undo=undo
        )
    else:
        found = decided(place, part, path, by=who, answer=said, age=age, box=box, note=note, undo=undo, settle=settle)
    out = console(json)
    out.print(f"{plain(part)} {plain(path)}: {plain(_reading(found) if audit else _counts(found))}")
    notes(found.notes, out)
    if json:
        print_json(
            {
                "command": "review decide",
                "file": found.file,
                "line": found.decision.model_dump(),
                "claimed": found.claimed,
                "counts": found.counts,
            }
        )


def _looks(text: str) -> Looks:
    if text == "cannot-tell":
        return "cannot tell"
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is neither an age nor cannot-tell.", param_hint="--looks") from error


def _reading(found: Answered) -> str:
    """The state of an audit reading, as a sentence."""
    line = found.decision
    if line.kind == "undo":
        return "judgement undone; your estimate of how old the face looks stays."
    if line.kind == "audit":
        return "reading recorded; it changes no verdict. `agebench review audit` counts it."
    looks = "you cannot tell how old the face looks" if line.looks == "cannot tell" else f"the face looks {line.looks}"
    who = f" of {found.name}" if found.name else ""
    return (
        f"recorded: {looks}. The claimed age{who} is {found.claimed}. Is it right? "
        f"Judge it with --audit{'' if line.reading == 1 else ' --reading 2'} and --keep, --wrong or --age N."
    )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not X,Y,W,H.", param_hint="--face") from error
    return x, y, w, h


def _counts(found: Answered) -> str:
    """What the record's answers decide now, as a sentence."""
    line, now = found.decision, found.counts
    did = "undone" if line.kind == "undo" else "recorded"
    folds = f"`{found.curate}` applies it."
    if now is None:
        return f"{did}; the record has no answer now. {folds}"
    if now["status"] == "conflict":
        who = now["by"].replace(";", " and ")
        return f"{did}; {who} disagree, so it stays in review (--settle overrules the others). {folds}"
    if now["status"] == "unfit":
        return f"{did}; no answer fits the record, so it stays in review. {folds}"
    if now["status"] == "claim_changed":
        return f"{did}; the answers keep an age that is no longer the claimed one, so it stays in review. {folds}"
    if now["status"] == "changed":
        return f"{did}; the answers are about an earlier picture, so it stays in review. {folds}"
    what = {"reject": "reject", "keep": f"keep, age {found.claimed}", "age": f"keep, age {now['age']}"}[now["answer"]]
    return f"{did}; decision: {what} (by {now['by'].replace(';', ', ')}). {folds}"
