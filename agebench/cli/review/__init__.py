"""agebench review: reviewers' answers about records; one module per command."""

from __future__ import annotations

import getpass
import unicodedata

import typer


def register(app: typer.Typer) -> None:
    from agebench.cli.review import agreement, audit, decide, export, list_, load, serve

    review = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None,
        help="Answer what curation left open, and audit what it keeps.",
    )  # fmt: skip
    for module in (serve, list_, decide, export, load, agreement, audit):
        module.register(review)
    app.add_typer(review, name="review")


def sharing(reviewers: str | None, overlap: float) -> list[str]:
    """The names of `--reviewers`, none where it is not given. Raises typer.BadParameter."""
    names = [reviewer(name.strip()) for name in reviewers.split(",") if name.strip()] if reviewers else []
    if reviewers is not None and len(names) < 2:
        raise typer.BadParameter("expected at least two names, as in A,B.", param_hint="--reviewers")
    if overlap and not names:
        raise typer.BadParameter("it needs --reviewers.", param_hint="--overlap")
    return names


def reviewer(name: str | None) -> str:
    """The reviewer's name: `--by`, else the user's, with composed accents (NFC). Raises typer.BadParameter if there is
    none, or if it is not allowed (`;` joins names)."""
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError) as error:
            raise typer.BadParameter("the current user has no name; give one.", param_hint="--by") from error
    name = unicodedata.normalize("NFC", name)
    if not name.strip() or name != name.strip() or len(name) > 100 or ";" in name or not name.isprintable():
        raise typer.BadParameter(
            f"{repr(name) if name.isprintable() else ascii(name)} is not a valid name.", param_hint="--by"
        )
    return name
