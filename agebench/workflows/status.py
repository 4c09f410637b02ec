"""status: what is here, what is stale, which command comes next."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agebench import recipes, resources
from agebench.errors import AgebenchError
from agebench.manifest import open_manifest, verdicts
from agebench.manifest.observations import parts_folder
from agebench.manifest.plans import curated_fingerprint, plans
from agebench.manifest.store import get_meta
from agebench.recipes import load_card, load_curation_recipe
from agebench.train.runs import list_runs
from agebench.workflows.evaluate import kept_evaluations
from agebench.workflows.places import MANIFESTS


@dataclass(frozen=True)
class ManifestStatus:
    """One manifest, and what is wrong or stale about it."""

    path: Path
    dataset: str
    records: int = 0
    kept: int = 0
    review: int = 0
    rejected: int = 0
    recipe: str | None = None
    detector: str | None = None
    plans: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RunStatus:
    """One run, finished or not."""

    id: str
    path: Path
    model: str
    complete: bool
    evaluated: list[str]


@dataclass(frozen=True)
class Status:
    """Everything that lies here, and the command that comes next with its reason."""

    releases: dict[str, bool]
    manifests: list[ManifestStatus]
    runs: list[RunStatus]
    next_command: str
    why: str


def status(runs_dir: Path) -> Status:
    """Look around in the working directory; nothing is written."""
    releases = {}
    for name in sorted(resources.available("manifests")):
        try:
            root = Path(load_card(name).root)
            releases[name] = root.is_dir() and any(not p.name.startswith(".") for p in root.iterdir())
        except (AgebenchError, OSError):
            continue
    manifests = [_manifest(path) for path in sorted(MANIFESTS.glob("*.duckdb"))]
    runs = [
        RunStatus(
            listed.id,
            listed.path,
            str(listed.card.get("model", "?")),
            listed.complete,
            _evaluated(listed.path) if listed.complete else [],
        )
        for listed in list_runs(runs_dir)
    ]
    command, why = _next(releases, manifests, runs)
    return Status(releases, manifests, runs, command, why)


def _evaluated(run: Path) -> list[str]:
    try:
        return [evaluation.name for evaluation in kept_evaluations(run)]
    except AgebenchError:
        return ["(an evaluation file is damaged)"]


def _manifest(path: Path) -> ManifestStatus:
    try:
        with open_manifest(path) as con:
            dataset = get_meta(con, "dataset") or "?"
            counts = verdicts.counts(con)
            records = int(con.execute("SELECT count(*) FROM record").fetchall()[0][0])
            fingerprint, found = curated_fingerprint(con), plans(con)
            recipe, digest = get_meta(con, "recipe"), get_meta(con, "recipe_digest")
            card_digest, detector = get_meta(con, "card_digest"), get_meta(con, "detector")
            judged = get_meta(con, "judged_at") is not None
    except AgebenchError as error:
        return ManifestStatus(path, path.stem, problems=[error.message])
    problems = [
        f"the plan '{facts.plan}' is older than the curated rows" for facts in found if facts.curated != fingerprint
    ]
    if not judged:
        problems.append("its curation was not finished")
    if parts_folder(path).is_dir():
        problems.append("observations wait to be folded in")
    try:
        if recipe and recipes.digest(load_curation_recipe(recipe)) != digest:
            problems.append(f"the recipe {recipe} has changed since")
        if recipes.digest(load_card(dataset)) != card_digest:
            problems.append(f"the card {dataset} has changed since")
    except AgebenchError as error:
        problems.append(error.message.splitlines()[0])
    return ManifestStatus(
        path, dataset, records, counts["keep"], counts["review"], counts["reject"], recipe, detector,
        [facts.plan for facts in found], problems,
    )  # fmt: skip


def _next(releases: dict[str, bool], manifests: list[ManifestStatus], runs: list[RunStatus]) -> tuple[str, str]:
    for m in manifests:
        if m.problems and m.records and any("plan" not in p for p in m.problems):
            return f"agebench curate {m.dataset}", "; ".join(m.problems)
    training = [m for m in manifests if m.dataset == "imdb-wiki"] or manifests
    if not manifests:
        here = [name for name, there in releases.items() if there]
        if here:
            return f"agebench curate {here[0]}", f"data/{here[0]} is here and not curated yet"
        return "agebench demo --small", "there is no release here; the demo draws one of its own"
    for name, there in releases.items():
        if there and name not in {m.dataset for m in manifests}:
            return f"agebench curate {name}", "its release is here and not curated yet"
    if training and (not training[0].plans or any("plan" in p for p in training[0].problems)):
        return "agebench balance", f"{training[0].path} has no plan that fits its curated rows"
    if any(not r.complete for r in runs):
        return "agebench train --resume", "a run is unfinished"
    if not runs:
        return "agebench train", "there is no run yet"
    return "agebench report --tables 2,3", "runs and test sets are here"
