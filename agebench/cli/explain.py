"""agebench explain"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.render import Json, ManifestName, console, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from agebench.workflows.explain import Explanation

PICTURE_WIDTH = 48  # characters


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench explain fg-net 001A02.JPG --manifest fg-net")(explain)


def explain(
    record: Annotated[
        list[str],
        typer.Argument(
            metavar="[PART] PATH",
            help="Path as in the release, and its part, such as imdb, if several parts have that path.",
        ),
    ],
    manifest: ManifestName = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show also what each value means, and checks that did not fire.")
    ] = False,
    json: Json = False,
) -> None:
    """Show everything that is known about one record.

    This is its picture, evidence, checks, faces, estimated ages and copies.
    """
    if len(record) > 2:
        raise typer.BadParameter(f"expected [PART] PATH, found {len(record)} words.", param_hint="[PART] PATH")
    from agebench.manifest.places import find_manifest
    from agebench.workflows.explain import copies_of
    from agebench.workflows.explain import explain as explained

    *part, path = record
    found = explained(find_manifest(manifest, training=False), part[0] if part else None, path)
    _render(found, everything, console(json))
    if json:
        view = found.record
        faces = [{k: v for k, v in face.items() if k != "landmarks"} for face in view.faces]
        estimates = [{k: v for k, v in one.items() if k != "probabilities"} for one in view.estimates]
        print_json(
            {
                "command": "explain", "dataset": found.dataset, "recipe": found.recipe,
                "part": found.part, "path": found.path,
                "verdict": found.verdict, "evidence": found.evidence,
                "checks": [dataclasses.asdict(check) for check in found.checks],
                "decision": found.decision, "answers": found.answers,
                "faces": faces, "estimates": estimates, "copies": copies_of(view), "observed": view.observed,
            }
        )  # fmt: skip


def _render(found: Explanation, everything: bool, out: Console) -> None:
    from agebench.manifest.evidence import COLUMNS
    from agebench.workflows.explain import copies_of

    colours = {"keep": "bold green", "review": "bold yellow", "reject": "bold red"}
    verdict = found.verdict or "not judged yet"
    judge = f" by {found.recipe}" if found.recipe else ""
    out.print(f"[bold]{plain(found.part)} {plain(found.path)}[/]: [{colours.get(verdict, 'bold')}]{verdict}[/]{judge}")
    for check in found.checks:
        if check.said == "fired":
            out.print(f"  {check.name} ({check.verdict}): {plain(check.reason)}")
    for line in found.answers:
        what = f"undo of {line['undoes']}" if line["kind"] == "undo" else " ".join(
            str(v) for v in (line["kind"], line["answer"], line["age"], line["box"]) if v is not None
        )  # fmt: skip
        what += " (settles the others)" if line["settles"] else ""
        rest = f": {line['note']}" if line["note"] else ""
        out.print(
            f"  {plain(line['by'])}, {line['at']}: {plain(what + rest)}"
            f"{' [dim](undone)[/]' if line['taken_back'] else ''}"
        )
    if found.decision:
        d = found.decision
        age = "" if d["age"] is None else f" {d['age']}"
        said = {
            "decided": f"decided: {d['answer']}",
            "conflict": "reviewers disagree",
            "changed": "the picture has changed since the answer",
            "claim_changed": "the claimed age has changed since the answer",
            "unfit": "the answer does not fit the record",
        }
        out.print(f"  when last judged: {said[d['status']]}{age}")
    if found.picture is not None and sys.stdout.isatty():
        out.print(half_blocks(found.picture.rgb, PICTURE_WIDTH))
    evidence = [
        (name, _shown(value), COLUMNS[name].unit, COLUMNS[name].meaning) for name, value in found.evidence.items()
    ]
    columns = ("column", "value", "unit", "meaning") if everything else ("column", "value", "unit")
    out.print(_table("Evidence", columns, [row[: len(columns)] for row in evidence]))
    checks = [
        (
            c.name,
            c.verdict,
            c.said,
            c.reason or c.predicate,
            ", ".join(f"{k} = {_shown(v)}" for k, v in c.values.items()),
        )
        for c in found.checks
        if everything or c.said == "fired"
    ]
    if checks:
        out.print(_table("Checks", ("check", "verdict", "outcome", "reason or predicate", "values"), checks, mark=2))
    if others := len(found.checks) - len(checks):
        not_run = sum(c.said == "not run" for c in found.checks)
        rest = f" ({not_run} of them were not run)" if not_run else ""
        out.print(f"{others} checks did not fire{rest}: `--all` lists them.")
    record = found.record
    if record.faces:
        by = "decision" if found.decision and found.decision["box_w"] else found.evidence.get("face_chosen_by")
        faces = [
            (
                str(f["face_no"]), f"{f['x']:.0f},{f['y']:.0f} {f['w']:.0f}x{f['h']:.0f}", f"{f['score']:.2f}",
                _shown(f["sharpness"]), f"by {by}" if f["meant"] else "",
            )
            for f in record.faces
        ]  # fmt: skip
        out.print(_table("Faces", ("face", "box, pixels", "score", "sharpness", "meant"), faces))
    if record.estimates:
        ages = [(str(e["face_no"]), e["estimator"], _shown(e["age"]), _shown(e["spread"])) for e in record.estimates]
        out.print(_table("Estimated ages", ("face", "estimator", "age, years", "spread, years"), ages))
    if copies := copies_of(record):
        rows = [(f"{c['part']} {c['path']}", _shown(c["age"]), c["what"]) for c in copies]
        out.print(_table("Copies", ("record", "claimed age", "what"), rows))
    failed = [(o["observer"], o["version"], o["error"]) for o in record.observed if o["error"]]
    if failed:
        out.print(_table("Observers that failed", ("observer", "version", "why"), failed))


def _table(
    title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]], mark: int | None = None
) -> RenderableType:
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        fired = mark is not None and row[mark] == "fired"
        table.add_row(*(plain(cell) for cell in row), style="bold yellow" if fired else None)
    return table


def half_blocks(rgb: Any, width: int) -> RenderableType:
    """A picture (H, W, 3) uint8 as text: each character shows two pixels, one above the other."""
    import cv2
    from rich.style import Style
    from rich.text import Text

    height = max(1, round(width * rgb.shape[0] / rgb.shape[1] / 2)) * 2
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    text = Text()
    for upper, lower in zip(small[::2], small[1::2], strict=True):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color="rgb({},{},{})".format(*top), bgcolor="rgb({},{},{})".format(*bottom)))
        text.append("\n")
    return text


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
