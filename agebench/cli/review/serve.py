"""agebench review serve"""

from __future__ import annotations

from typing import Annotated

import typer

from agebench.cli.render import ManifestName, console, plain, waiting


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review serve --reviewer ann")(serve)


def serve(
    manifest: ManifestName = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    token: Annotated[
        str | None, typer.Option(help="Secret token in the address, 16 characters or more [a new random one].")
    ] = None,
    reviewer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Reviewer's name that the page proposes [the user's].")
    ] = None,
    reviewers: Annotated[
        str | None, typer.Option(help="All reviewers, as A,B; each one gets a share of the records.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of records that two of --reviewers answer.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the assignment to --reviewers.")] = 0,
    exposed: Annotated[
        bool,
        typer.Option("--exposed", help="Allow a --host that other machines can reach; they can see people's faces."),
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option(help="NAME:PORT under which other machines reach this one, with --exposed.")
    ] = None,
) -> None:
    """Serve the review page on this machine until Ctrl-C. Every answer is on disk before the next record is shown."""
    from agebench.cli.review import reviewer as named
    from agebench.cli.review import sharing

    names = sharing(reviewers, overlap)
    if name and not exposed:
        raise typer.BadParameter("it needs --exposed.", param_hint="--name")
    who = named(reviewer) if reviewer is not None or not names else None
    if names and who is not None and who not in names:
        raise typer.BadParameter(f"'{who}' is not among --reviewers {', '.join(names)}.", param_hint="--reviewer")
    from agebench.manifest.places import find_manifest
    from agebench.review.server.serve import is_loopback, serve

    out = console()

    def ready(address: str, left: int) -> None:
        if not is_loopback(host):
            out.print(
                f"[bold red]warning:[/] {plain(host)} can be reached from other machines, without encryption: whoever "
                "has the token sees people's faces and can answer. Put an authenticating proxy with TLS in front of it."
            )
            if host in ("0.0.0.0", "::") and not name:
                out.print(
                    "Other machines are refused unless --name NAME:PORT gives the name under which they reach this one."
                )
            if name:
                out.print(f"On other machines, the page is at the same path under {plain(', '.join(name))}.")
        out.print(f"{waiting(left)} for an answer. Open this address; Ctrl-C stops the server:")
        print(address, flush=True)

    serve(
        find_manifest(manifest, training=False), host=host, port=port, token=token, reviewer=who, reviewers=names,
        overlap=overlap, seed=seed, exposed=exposed, names=name or (), on_ready=ready,
    )  # fmt: skip
