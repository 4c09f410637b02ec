"""status: what exists, what is stale, which command comes next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from agebench import recipes, resources
from agebench.bench.evaluations import stored_evaluations
from agebench.curation.observing.parts import curating, has_parts
from agebench.errors import AgebenchError
from agebench.manifest import summary
from agebench.manifest.places import MANIFESTS, balance_command, curate_command, manifest_of
from agebench.manifest.plans import curated_fingerprint, plans
from agebench.manifest.records import count_records
from agebench.manifest.renewal import is_judged, state_of
from agebench.manifest.store import open_manifest
from agebench.recipes import load_card, load_curation_recipe
from agebench.review import folding
from agebench.review.deciding import listing
from agebench.training.run_cards import RUNS, TrainingProgress, resume_command, training_now
from agebench.training.run_lock import Underway, trainings
from agebench.training.runs import Listed, list_evaluated


@dataclass(frozen=True)
class ManifestStatus:
    """One manifest, and what is wrong or stale about it.

    Attributes:
        review: Records that wait for an answer: those in review without an answer since they were judged.
        plans: Balance plans, the newest first.
        problems: Sentences that the user should see.
        curate: The command that repeats its curation; "" if it cannot be read.
        outdated: Whether that command is due.
        balance: The command that makes a missing or outdated plan; None if the newest plan fits.
        curated: Fingerprint of its curated records.
        trains, tests: Whether its card has the role *train*, *test*.
        curating: The process that is curating it.
    """

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
    curate: str = ""
    outdated: bool = False
    balance: str | None = None
    curated: str | None = None
    trains: bool = False
    tests: bool = False
    curating: int | None = None


@dataclass(frozen=True)
class RunStatus:
    """One run or other estimator, finished or not; training: its progress, if a process is training it."""

    id: str
    path: Path
    model: str
    complete: bool
    evaluated: list[str]
    training: TrainingProgress | None


@dataclass(frozen=True)
class Status:
    """Everything found, and the next command with its reason. estimators: those that were measured but not trained to
    a run; trainings: those under way, from before their first crop to their last measurement."""

    releases: dict[str, bool]
    manifests: list[ManifestStatus]
    runs: list[RunStatus]
    estimators: list[RunStatus]
    trainings: list[Underway]
    next_command: str
    why: str


def status(runs_dir: Path) -> Status:
    """Examine the working directory; nothing is written."""
    releases = {}
    for name in sorted(resources.available("manifests")):
        try:
            root = Path(load_card(name).root)
            releases[name] = root.is_dir() and any(not p.name.startswith(".") for p in root.iterdir())
        except (AgebenchError, OSError):
            continue
    manifests = [_manifest(path) for path in sorted(MANIFESTS.glob("*.duckdb"))]
    everything = list_evaluated(runs_dir)
    listed = [one for one in everything if one.trained]
    runs, estimators = ([_run_status(one) for one in everything if one.trained is trained] for trained in (True, False))
    under_way = trainings(runs_dir)
    command, why = _next(releases, manifests, runs, under_way, {run.id: run for run in listed}, runs_dir)
    return Status(releases, manifests, runs, estimators, under_way, command, why)


def _run_status(run: Listed) -> RunStatus:
    return RunStatus(
        run.id,
        run.path,
        str(run.card.get("model", "?")),
        run.complete,
        _evaluated(run.path) if run.complete else [],
        training_now(run) if run.trained and run.card and not run.complete else None,
    )


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
        waiting = listing(path, limit=0).left if answers_wait else counts["review"]
    except AgebenchError as error:
        return ManifestStatus(path, path.stem, problems=[error.message], curating=process)
    due = []
    if process is None:
        if not judged:
            due.append("its curation is not finished")
        if has_parts(path):
            due.append("observations wait to be folded in")
    if answers_wait:
        due.append("people's answers wait to be folded in")
    trains = tests = False
    meta = state.meta
    dataset, recipe = meta.get("dataset", "?"), meta.get("recipe")
    try:
        judged_by = load_curation_recipe(meta.get("recipe_place", recipe)) if recipe else None
        if judged_by and recipes.digest(judged_by) != meta.get("recipe_digest"):
            due.append(f"the recipe {recipe} has changed")
        card = load_card(dataset)
        trains, tests = "train" in card.roles, "test" in card.roles
        if recipes.digest(card) != meta.get("card_digest"):
            due.append(f"the card {dataset} has changed")
    except AgebenchError as error:
        due.append(error.message.splitlines()[0])
    stale = [facts for facts in found if facts.curated != fingerprint]
    problems = [f"the plan '{facts.plan}' is older than the curated rows" for facts in stale]
    problems += [f"process {process} is curating it"] if process is not None else []
    balance = "" if not found else balance_command(path, found[0]) if found[0] in stale else None
    return ManifestStatus(
        path, dataset, records, counts["keep"], waiting, counts["reject"], recipe, meta.get("detector"),
        [facts.plan for facts in found], problems + due, again, bool(due), balance, fingerprint, trains, tests, process,
    )  # fmt: skip


def _next(
    releases: dict[str, bool],
    manifests: list[ManifestStatus],
    runs: list[RunStatus],
    under_way: list[Underway],
    listed: dict[str, Listed],
    runs_dir: Path,
) -> tuple[str, str]:
    """The next step of the main job: a training set, its plan, a run, the test sets, the report."""
    training = sorted((m for m in manifests if m.trains), key=lambda m: m.path != manifest_of("imdb-wiki"))
    uncurated = [name for name, there in releases.items() if there and name not in {m.dataset for m in manifests}]
    to_train = [name for name in uncurated if "train" in load_card(name).roles]
    where = "" if runs_dir == RUNS else f" --runs {shlex.quote(str(runs_dir))}"
    if due := next((m for m in training if m.outdated and m.curating is None), None):
        return due.curate, f"{due.path}: " + "; ".join(due.problems)
    if not training and to_train:
        return _curate("imdb-wiki" if "imdb-wiki" in to_train else to_train[0])
    if not manifests and not uncurated:
        return "agebench demo --small", "there is no release here; the demo draws its own"
    if training and (step := _run(training, runs, bool(under_way), listed, where)):
        return step
    if not training and not runs and not uncurated:
        return "agebench curate imdb-wiki", "there are only test sets, and nothing to train on"
    if due := next((m for m in manifests if m.outdated and m.curate and m.curating is None), None):
        return due.curate, f"{due.path}: " + "; ".join(due.problems)
    if uncurated:
        return _curate(min(uncurated, key=lambda name: name in to_train))
    if at_work := next((m for m in manifests if m.curating is not None), None):
        return _look_again(at_work)
    if busy := next((run for run in runs if run.training), None):
        return "agebench status", f"the run {busy.id} is training: look again when it is done"
    if under_way:
        first = under_way[0]
        return "agebench status", f"process {first.process} is {first.stage}: look again when it is done"
    if not any(run.complete for run in runs):
        return "agebench curate imdb-wiki", "there are only test sets, and nothing to train on"
    newest = [run for run in runs if run.complete][-1]
    known = listed[newest.id].card.get("provenance", {}).get("dataset")
    sets = [m for m in manifests if m.tests and m.kept and m.dataset != known and m.path == manifest_of(m.dataset)]
    if missing := [m.dataset for m in sets if m.dataset not in newest.evaluated]:
        command = f"agebench evaluate {newest.id}{''.join(f' --on {name}' for name in missing)}{where}"
        return command, f"the newest run is not measured on {', '.join(missing)}"
    return f"agebench report --tables 2,3{where}", "runs and test sets are complete"


def _curate(name: str) -> tuple[str, str]:
    return f"agebench curate {name}", f"{load_card(name).root} is not curated yet"


def _look_again(manifest: ManifestStatus) -> tuple[str, str]:
    return "agebench status", f"process {manifest.curating} is curating {manifest.path}: look again when it is done"


def _run(
    training: list[ManifestStatus], runs: list[RunStatus], under_way: bool, listed: dict[str, Listed], where: str
) -> tuple[str, str] | None:
    """The next step until a run is finished or training; None if there is one."""
    chosen = training[0]
    name = "" if len(training) == 1 or chosen.path == manifest_of("imdb-wiki") else f" --manifest {_quoted(chosen)}"
    if chosen.curating is not None:
        return _look_again(chosen)
    if not chosen.kept:
        return chosen.curate or "agebench ls pipelines", (
            f"{chosen.path} keeps no record: try another `--root` or `--recipe`"
        )
    if chosen.balance is not None:
        return chosen.balance or f"agebench balance{name}", f"{chosen.path} has no plan that fits its curated rows"
    if under_way:  # it may be about to resume a stopped run
        return None
    kept = {m.curated for m in training}
    stopped = [
        run
        for run in runs
        if not run.complete and run.training is None
        and listed[run.id].card.get("provenance", {}).get("curated_fingerprint") in kept
    ]  # fmt: skip
    if stopped:
        return resume_command(listed[stopped[-1].id]) + where, f"the run {stopped[-1].id} is unfinished"
    if not any(run.complete or run.training for run in runs):
        return f"agebench train{name}{where}", "there is no run yet"
    return None


def _quoted(manifest: ManifestStatus) -> str:
    return shlex.quote(str(manifest.path))
