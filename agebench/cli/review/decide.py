"""agebench review decide"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import Json, ManifestName, console, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.review.deciding import Answered


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review decide PART PATH --reject --note 'a wax figure'")(decide)


def decide(
    part: Annotated[str, typer.Argument(help="Part of the release: imdb or wiki; else the dataset's name.")],
    path: Annotated[str, typer.Argument(help="Path as the release spells it.")],
    keep: Annotated[bool, typer.Option("--keep", help="The record is right as it is.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="The record is of no use.")] = False,
    age: Annotated[int | None, typer.Option(help="The right age, 0 to 99; the record is kept with it.")] = None,
    face: Annotated[
        str | None, typer.Option(metavar="X,Y,W,H", help="The face that is meant, in pixels; the record is kept.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take your latest answer about the record back.")] = False,
    audit: Annotated[bool, typer.Option("--audit", help="A reading of an audit: it changes no verdict.")] = False,
    reading: Annotated[
        int | None, typer.Option(min=1, max=2, help="With --audit: which of your readings of the record it is [1].")
    ] = None,
    settle: Annotated[
        bool, typer.Option("--settle", help="Decide against the other answers that stand now; a later one reopens it.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Whose answer it is [the user's name].")] = None,
    note: Annotated[str | None, typer.Option(help="Why, in words.")] = None,
    manifest: ManifestName = None,
    json: Json = False,
) -> None:
    """Answer what is to become of a record. The answer is on disk when this ends; --face goes with --keep or --age
    too."""
    from agebench.cli.review import reviewer

    chosen = [name for name, given in (("--keep", keep), ("--reject", reject), ("--age", age is not None)) if given]
    if undo and (chosen or face):
        raise typer.BadParameter("--undo takes no answer beside it.")
    if len(chosen) > 1:
        raise typer.BadParameter(f"{' and '.join(chosen)} contradict each other.")
    if reject and face:
        raise typer.BadParameter("--reject and --face contradict each other.")
    if not (undo or chosen or face):
        raise typer.BadParameter("expected one of --keep, --reject, --age N, --face X,Y,W,H, --undo.")
    if reading is not None and (not audit or undo):
        raise typer.BadParameter("it goes with --audit and an answer.", param_hint="--reading")
    if settle and (audit or undo):
        raise typer.BadParameter("it goes with --keep, --reject, --age or --face.", param_hint="--settle")
    who = reviewer(by)
    box = _box(face) if face else None
    answer = "reject" if reject else "age" if age is not None else "keep" if keep else "face"
    from agebench.manifest.places import find_manifest
    from agebench.review.deciding import decide as decided

    found = decided(
        find_manifest(manifest, training=False), part, path, by=who, answer=None if undo else answer,  # type: ignore[arg-type]
        age=age, box=box, note=note, audit=audit, reading=reading or 1, undo=undo, settle=settle,
    )  # fmt: skip
    out = console(json)
    out.print(f"{plain(part)} {plain(path)}: {plain(_counts(found))}")
    notes(found.notes, out)
    if json:
        print_json(
            {
                "command": "review decide",
                "file": found.file,
                "line": found.decision.model_dump(),
                "counts": found.counts,
            }
        )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(number) for number in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is no X,Y,W,H.", param_hint="--face") from error
    if not (w > 0 and h > 0 and all(abs(v) < 1e6 for v in (x, y, w, h))):
        raise typer.BadParameter(f"'{text}' is no box: W and H are above 0.", param_hint="--face")
    return x, y, w, h


def _counts(found: Answered) -> str:
    """What counts now, as a sentence."""
    line, now = found.decision, found.counts
    did = "taken back" if line.kind == "undo" else "recorded"
    if line.kind == "audit":
        return "reading recorded; it changes no verdict. `agebench review audit` counts it."
    folds = f"`{found.curate}` folds it in."
    if now is None:
        return f"{did}; no answer counts now. {folds}"
    if now["status"] == "conflict":
        return (
            f"{did}; {now['by'].replace(';', ' and ')} disagree, so it stays in review (--settle decides it). {folds}"
        )
    if now["status"] == "unfit":
        return f"{did}; no answer can be meant so, so it stays in review. {folds}"
    if now["status"] == "claim_changed":
        return f"{did}; the answers keep another age than the one that is claimed now, so it stays in review. {folds}"
    if now["status"] == "changed":
        return f"{did}; the answers are about another picture than the present one, so it stays in review. {folds}"
    what = {"reject": "reject", "keep": f"keep, age {found.claimed}", "age": f"keep, age {now['age']}"}[now["answer"]]
    return f"{did}; what counts now: {what} (by {now['by'].replace(';', ', ')}). {folds}"
