"""agebench balance"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import Json, ManifestName, age_range, console, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.balancing import BalanceReport


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench balance --per-class 5000 --dry-run")(balance)


def balance(
    manifest: ManifestName = None,
    per_class: Annotated[int, typer.Option(help="Pictures per age class in an epoch.")] = 5000,
    thin_ages: Annotated[str, typer.Option(help="Ages whose classes are thinned if they have more.")] = "20-60",
    plan: Annotated[str | None, typer.Option(help="Name of the plan [per-class-N].")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; store nothing.")] = False,
    json: Json = False,
) -> None:
    """Plan how often each curated record is drawn in training.

    Rare ages are drawn several times, with augmentation, and frequent ones are thinned.
    """
    ages = age_range(thin_ages)
    import agebench

    report = agebench.balance(manifest, per_class=per_class, thin_ages=ages, plan=plan, seed=seed, dry_run=dry_run)
    _render(report, json, dry_run)


def _render(report: BalanceReport, as_json: bool, dry_run: bool) -> None:
    out = console(as_json)
    classes = report.classes
    out.print(histogram(classes["curated"].to_list(), classes["copies"].to_list(), out.width))
    stored = "not stored" if dry_run else f"stored in {plain(report.manifest)}"
    thinned = int((classes["curated"] - classes["drawn"]).sum())
    out.print(
        f"Plan {plain(report.facts.plan)}: {int(classes['curated'].sum()):,} curated records become "
        f"{report.total:,} pictures an epoch ({thinned:,} records thinned away, seed {report.facts.seed}); {stored}"
    )
    notes(report.notes, out)
    if as_json:
        rows = classes.select("age", "curated", "drawn", "copies").to_dicts()
        document = {"command": "balance", "plan": report.facts.plan, "per_class": report.facts.per_class}
        print_json(document | {"classes": rows, "total": report.total, "notes": report.notes})


def histogram(before: list[int], after: list[int], columns: int) -> str:
    """Bars for each five years of age, before and after, as text for a terminal `columns` characters wide."""
    width = max(4, min(36, (columns - 31) // 2))
    groups = [(f"{a:>2}-{a + 4}", sum(before[a : a + 5]), sum(after[a : a + 5])) for a in range(0, len(before), 5)]
    while len(groups) > 1 and groups[-1][1] == groups[-1][2] == 0:
        groups.pop()
    most = max(max(b, a) for _, b, a in groups) or 1
    lines = [f"{'ages':>5}  {'curated':>9}  {'':<{width}}  {'per epoch':>9}"]
    for name, was, now in groups:
        bars = f"{_bar(was, most, width):<{width}}"
        lines.append(f"{name:>5}  {was:>9,}  [dim]{bars}[/]  {now:>9,}  [green]{_bar(now, most, width)}[/]")
    return "\n".join(lines)


def _bar(value: int, most: int, width: int) -> str:
    """A bar in eighths of a character; a value above 0 is always visible."""
    eighths = max(round(8 * width * value / most), 1 if value else 0)
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
