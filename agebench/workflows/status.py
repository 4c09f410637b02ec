"""status: what is here, what is stale, which command comes next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from agebench import recipes, resources
from agebench.bench.evaluations import stored_evaluations
from agebench.curation.observing.parts import curating, has_parts
from agebench.errors import AgebenchError
from agebench.manifest import summary
from agebench.manifest.places import MANIFESTS, curate_command, manifest_of
from agebench.manifest.plans import curated_fingerprint, plans
from agebench.manifest.records import count_records
from agebench.manifest.renewal import is_judged, state_of
from agebench.manifest.store import open_manifest
from agebench.recipes import load_card, load_curation_recipe
from agebench.review import folding
from agebench.training.run_cards import RUNS, resume_command
from agebench.training.runs import Listed, list_runs


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
    stale_plans: list[str] = field(default_factory=list)  # those of them that are older than the curated rows
    problems: list[str] = field(default_factory=list)
    outdated: bool = False  # something other than a plan is to be made again
    curate: str = ""  # the command that curates it again as it was
    trains: bool = False  # its card has the role *train*
    curating: int | None = None  # the process that curates it at the moment


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
    listed = list_runs(runs_dir)
    runs = [
        RunStatus(
            run.id,
            run.path,
            str(run.card.get("model", "?")),
            run.complete,
            _evaluated(run.path) if run.complete else [],
        )
        for run in listed
    ]
    command, why = _next(releases, manifests, listed, runs_dir)
    return Status(releases, manifests, runs, command, why)


def _evaluated(run: Path) -> list[str]:
    try:
        return [evaluation.name for evaluation in stored_evaluations(run)]
    except AgebenchError:
        return ["(an evaluation file is damaged)"]


def _manifest(path: Path) -> ManifestStatus:
    process = curating(path)
    try:
        with open_manifest(path) as con:
            state, judged = state_of(con), is_judged(con)
            records, counts = count_records(con), summary.counts(con)
            fingerprint, found = curated_fingerprint(con), plans(con)
            again = curate_command(con, path)
        answers_wait = judged and folding.answers_wait(path, state)
    except AgebenchError as error:
        return ManifestStatus(path, path.stem, problems=[error.message], curating=process)
    stale = [facts.plan for facts in found if facts.curated != fingerprint]
    problems: list[str] = []
    trains = False
    if process is not None:
        problems.append(f"process {process} is curating it")
    else:
        if not judged:
            problems.append("its curation was not finished")
        if has_parts(path):
            problems.append("observations wait to be folded in")
    if answers_wait:
        problems.append("people's answers wait to be folded in")
    meta = state.meta
    dataset, recipe = meta.get("dataset", "?"), meta.get("recipe")
    try:
        judged_by = load_curation_recipe(meta.get("recipe_place", recipe)) if recipe else None
        if judged_by and recipes.digest(judged_by) != meta.get("recipe_digest"):
            problems.append(f"the recipe {recipe} has changed since")
        card = load_card(dataset)
        trains = "train" in card.roles
        if recipes.digest(card) != meta.get("card_digest"):
            problems.append(f"the card {dataset} has changed since")
    except AgebenchError as error:
        problems.append(error.message.splitlines()[0])
    told = [f"the plan '{plan}' is older than the curated rows" for plan in stale]
    return ManifestStatus(
        path, dataset, records, counts["keep"], counts["review"], counts["reject"], recipe, meta.get("detector"),
        [facts.plan for facts in found], stale, told + problems, bool(problems), again, trains, process,
    )  # fmt: skip


def _next(
    releases: dict[str, bool], manifests: list[ManifestStatus], runs: list[Listed], runs_dir: Path
) -> tuple[str, str]:
    for m in manifests:
        if m.curate and m.curating is None and m.outdated:
            return m.curate, f"{m.path}: " + "; ".join(m.problems)
    waiting = [name for name, there in releases.items() if there and name not in {m.dataset for m in manifests}]
    if waiting:
        return f"agebench curate {waiting[0]}", f"{load_card(waiting[0]).root} is here and not curated yet"
    if not manifests:
        return "agebench demo --small", "there is no release here; the demo draws one of its own"
    where = "" if runs_dir == RUNS else f" --runs {shlex.quote(str(runs_dir))}"
    unfinished = [run for run in runs if not run.complete and run.card]
    if unfinished:
        return resume_command(unfinished[-1]) + where, f"the run {unfinished[-1].id} is unfinished"
    training = [m for m in manifests if m.trains]
    chosen = next((m for m in training if m.path == manifest_of("imdb-wiki")), training[0] if training else None)
    if chosen is None and not runs:
        return "agebench curate imdb-wiki", "there are test sets only, and nothing to train on"
    if chosen is not None:
        if chosen.curating is not None:
            return "agebench status", f"process {chosen.curating} is curating {chosen.path}: look again when it is done"
        name = (
            ""
            if len(training) == 1 or chosen.dataset == "imdb-wiki"
            else f" --manifest {shlex.quote(str(chosen.path))}"
        )
        if not chosen.kept:
            return chosen.curate or "agebench ls pipelines", (
                f"{chosen.path} keeps no record: another `--root` or `--recipe` may keep some"
            )
        if not chosen.plans or chosen.stale_plans:
            return f"agebench balance{name}", f"{chosen.path} has no plan that fits its curated rows"
        if not runs:
            return f"agebench train{name}", "there is no run yet"
    return f"agebench report --tables 2,3{where}", "runs and test sets are here"
