"""Where manifests are by default, and which one a command uses."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path

import duckdb

from agebench import resources
from agebench.errors import (
    AgebenchError,
    ManifestBusy,
    ManifestNotFound,
    NothingCurated,
    StalePlan,
    UsageError,
    nearest,
)
from agebench.manifest.plans import PlanFacts, curated_fingerprint, plans
from agebench.manifest.renewal import is_judged
from agebench.manifest.store import get_meta, peek
from agebench.recipes import Card, load_card

MANIFESTS = Path("manifests")


def manifest_of(dataset: str) -> Path:
    return MANIFESTS / f"{dataset}.duckdb"


def find_manifest(given: str | Path | None, *, training: bool = True) -> Path:
    """The manifest that `--manifest` names: a file, or its name in `manifests/`, such as a dataset's. If nothing is
    given, that of imdb-wiki, or the only one that may be used for training (`training=False`: the only one of
    any role).

    Raises ManifestNotFound (exit 3), or UsageError (exit 2) for an unknown name or if there are several candidates.
    """
    if given is not None:
        path, given = Path(given), str(given)
        if path.is_file():
            return path
        if path.suffix or "/" in given:
            raise ManifestNotFound(
                f"There is no manifest {given}.", "`agebench curate DATASET --manifest FILE` makes it."
            )
        path = manifest_of(given)
        if path.is_file():
            return path
        known = resources.available("manifests")
        if given not in known:
            own = [found.stem for found in MANIFESTS.glob("*.duckdb")]
            raise UsageError(f"Unknown manifest or dataset '{given}'. {nearest(given, {*known, *own})}")
        raise ManifestNotFound(f"There is no manifest {path}.", f"`agebench curate {given}` makes it.")
    default = manifest_of("imdb-wiki")
    if default.is_file():
        return default
    candidates = [path for path, card in existing_manifests() if "train" in card.roles or not training]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise UsageError(
            "There are several manifests to choose from: " + ", ".join(map(str, candidates)) + ".",
            "Name one with `--manifest`.",
        )
    looked = f"looked for {default} and any whose card has the role 'train'" if training else f"in {MANIFESTS}/"
    raise ManifestNotFound(
        f"There is no manifest{' to train on' if training else ''} ({looked}).",
        "`agebench curate imdb-wiki` makes it; `agebench demo` needs no data.",
    )


def must_be_judged(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Raises NothingCurated if a manifest's curation was stopped before its records had verdicts."""
    if not is_judged(con):
        raise NothingCurated(f"The curation of {path} was not finished.", f"`{curate_command(con, path)}` finishes it.")


def curate_command(con: duckdb.DuckDBPyConnection, path: Path) -> str:
    """The command that curates a manifest again as it was curated last: its file, release and recipe."""
    dataset = get_meta(con, "dataset") or "?"
    command = f"agebench curate {dataset}"
    if path.resolve() != manifest_of(dataset).resolve():
        command += f" --manifest {shlex.quote(str(path))}"
    root, recipe = get_meta(con, "root"), get_meta(con, "recipe_place")
    with suppress(AgebenchError):
        card = load_card(dataset)
        if root and Path(root) != Path(card.root).resolve():
            command += f" --root {shlex.quote(root)}"
        if recipe and recipe != card.recipe:
            command += f" --recipe {shlex.quote(recipe)}"
    asked = get_meta(con, "estimators_asked")
    if asked is not None:
        command += "".join(f" --estimator {shlex.quote(name)}" for name in json.loads(asked) or ["none"])
    return command


def existing_manifests() -> list[tuple[Path, Card]]:
    """Manifests in `manifests/` with their cards, by name. Other files, and manifests without a card, are left out.

    Raises ManifestBusy, so that a manifest that is being written is not treated as missing.
    """
    found = []
    for path in sorted(MANIFESTS.glob("*.duckdb")):
        try:
            found.append((path, load_card(peek(path)["dataset"])))
        except ManifestBusy:
            raise
        except (AgebenchError, KeyError):
            continue
    return found


def choose_plan(con: duckdb.DuckDBPyConnection, manifest: Path, wanted: str | None) -> PlanFacts | None:
    """The balance plan with that name, or the newest; None if no name is given and there is no plan.

    Raises UsageError for an unknown name, StalePlan for a plan older than the curated rows.
    """
    found = {facts.plan: facts for facts in plans(con)}
    if wanted is None and not found:
        return None
    if wanted is not None and wanted not in found:
        raise UsageError(
            f"{manifest} has no plan '{wanted}'. {nearest(wanted, found)}", "`agebench balance` makes a plan."
        )
    facts = next(iter(found.values())) if wanted is None else found[wanted]
    if facts.curated != curated_fingerprint(con):
        raise StalePlan(
            f"The plan '{facts.plan}' of {manifest} is out of date: the curated records have changed since.",
            f"`{balance_command(manifest, facts)}` renews it.",
        )
    return facts


def balance_command(manifest: Path, facts: PlanFacts) -> str:
    """The command that makes a plan again as it was."""
    low, high = facts.thin_ages
    words = ["agebench", "balance", "--manifest", str(manifest), "--per-class", str(facts.per_class)]
    words += ["--thin-ages", f"{low}-{high}", "--seed", str(facts.seed), "--plan", facts.plan]
    return shlex.join(words)
