"""Everything that a curation resolves before it writes: release, recipe, detector, estimators."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agebench import recipes, registry, resources
from agebench.curation.checks import compile_recipe, load_recipe, must_judge
from agebench.curation.compiled import CompiledCheck
from agebench.curation.observing import measures
from agebench.curation.observing.observers import Observers
from agebench.datasets.records import Release
from agebench.datasets.release import read_release
from agebench.errors import Missing, ReleaseNotFound, UsageError
from agebench.estimators import Estimator
from agebench.faces.detectors import DetectorChoice, choose_detector, load_detector
from agebench.faces.embedders import EmbedderChoice, choose_embedder
from agebench.faces.estimators import EstimatorChoice, age_and_gender, choose_estimator
from agebench.manifest.evidence import COLUMNS, Observer
from agebench.manifest.places import manifest_of
from agebench.manifest.renewal import ManifestState, read_state
from agebench.manifest.store import must_be_of
from agebench.pictures import Locator
from agebench.remote import Folder, as_folder
from agebench.training.backbones import has_imagenet_weights
from agebench.training.run_cards import RUNS

CROSS_FIT = "cross-fit"  # estimator, recipe, and how the names of such recipes begin
COLUMN_OBSERVERS: set[Observer] = {column.observer for column in COLUMNS.values()}
Stage = Callable[[str, int, int], None]  # name of a stage, done, total


def cross_fit_recipe(name: str = CROSS_FIT) -> recipes.ModelRecipe:
    """The recipe that `--estimator cross-fit`, or another model recipe whose name begins so, trains on a release.

    For `cross-fit` itself your own `models/cross-fit.toml`; else what finds most wrong ages of those whose extras are
    installed: `cross-fit-ready`, `cross-fit-lite`, the small `cross-fit`. Raises RecipeError, UsageError."""
    if name == CROSS_FIT and not resources.is_yours("models", CROSS_FIT, resources.find("models", CROSS_FIT)):
        if age_and_gender.available(None):
            name = "cross-fit-ready"
        elif has_imagenet_weights():
            name = "cross-fit-lite"
    return recipes.load_model_recipe(name)


@dataclass(frozen=True)
class CurateSettings:
    """Everything that is resolved before anything is written."""

    card: recipes.Card
    recipe: recipes.CurationRecipe
    recipe_file: Path
    recipe_place: str  # how the recipe is named: by name or by file
    root: Folder
    release: Release
    manifest: Path
    before: ManifestState | None  # of the manifest, if there is one
    observers: Observers | None  # None: the recipe needs no pictures and there are none
    estimators_asked: str | None  # in place of the recipe's: a JSON list of names and folders
    other_estimators: list[Estimator]  # besides the ready models, which observers run
    cross_fitted: tuple[str, ...]  # names of the recipes that are trained on the release itself
    notes: list[str]

    @property
    def detector(self) -> str | None:
        return self.observers.detector.name if self.observers and self.observers.detector else None

    @property
    def estimators(self) -> list[str]:
        """The estimators whose estimates are compared with the claimed ages."""
        ready = [e.name for e in self.observers.estimators] if self.observers and self.observers.detector else []
        return [*ready, *(one.id for one in self.other_estimators), *self.cross_fitted]

    def request(self, workers: int, on_stage: Stage | None) -> Request:
        """The argument of the derivations' functions."""
        observers = self.observers or Observers()
        return Request(
            observers,
            tuple(self.other_estimators),
            self.cross_fitted,
            self.recipe,
            self.recipe_file,
            workers,
            on_stage,
            self.notes,
        )

    def facts(self) -> dict[str, str | None]:
        """The keys of the derivations' inputs outside the manifest (see `manifest.renewal.renew`)."""
        facts: dict[str, str | None] = {"measures": measures.VERSION, "recipe": recipes.digest(self.recipe)}
        if self.observers is None:
            known = self.before.meta if self.before else {}
            return facts | {"detector": known.get("detector"), "embedder": known.get("embedder"), "estimators": None}
        embedder, versions = self.observers.embedder, self.observers.versions
        estimators = [(e.name, versions[f"age:{e.name}"]) for e in self.observers.estimators if self.observers.detector]
        estimators += [(one.id, "") for one in self.other_estimators]
        estimators += [(name, recipes.digest(cross_fit_recipe(name))) for name in self.cross_fitted]
        return facts | {
            "detector": self.detector,
            "embedder": f"{embedder.name}:{embedder.version}" if embedder else None,
            "estimators": repr(estimators) if estimators else None,
        }


@dataclass(frozen=True)
class Request:
    """The argument of the derivations' functions. workers: processes for cropping; notes: sentences for people, which
    the functions may extend."""

    observers: Observers
    other_estimators: tuple[Estimator, ...]
    cross_fitted: tuple[str, ...]
    recipe: recipes.CurationRecipe
    recipe_file: Path
    workers: int
    on_stage: Stage | None
    notes: list[str]

    @property
    def estimator_names(self) -> list[str]:
        """The sorted names under which the manifest stores their estimates."""
        ready = [e.name for e in self.observers.estimators] if self.observers.detector else []
        return sorted([*ready, *map(stored_name, self.other_estimators), *self.cross_fitted])


def stored_name(estimator: Estimator) -> str:
    """The name under which the manifest stores an estimator's estimates, which a ready model cannot have."""
    from agebench.estimators.run import RunEstimator  # takes 0.1 s; few curations need it

    return f"{'run' if isinstance(estimator, RunEstimator) else 'estimator'}:{estimator.id}"


def resolve_settings(
    dataset: str,
    *,
    root: str | Folder | None = None,
    manifest: str | Path | None = None,
    recipe: str | Path | None = None,
    detector: str | None = None,
    detector_model: str | Path | None = None,
    estimators: Sequence[str | Path] | None = None,
) -> CurateSettings:
    """Find and check everything that `curate` needs; nothing is written. The arguments are those of `curate`.

    Raises UsageError, RecipeError, ReleaseNotFound, ReleaseError, ManifestError, Missing.
    """
    card = recipes.load_card(dataset)
    loaded, recipe_file = load_recipe(str(recipe or card.recipe))
    must_judge(loaded, recipe_file, card.name)
    compiled = compile_recipe(loaded, str(recipe_file), set(COLUMN_OBSERVERS))
    manifest = Path(manifest) if manifest else manifest_of(card.name)
    before = read_state(manifest) if manifest.exists() else None
    if before is not None:
        must_be_of(manifest, before.meta.get("dataset"), card.name)
    named = None if estimators is None else [str(name) for name in estimators]
    notes: list[str] = []
    folder = _root(root, card, before, notes)
    release = read_release(card, folder)
    notes += release.notes
    place = loaded.name
    last = before.meta.get("recipe_place") if before else None
    if recipe is None and last is not None and last != loaded.name:
        notes.append(f"Judged by {loaded.name}; last time it was {last} (`--recipe {shlex.quote(last)}`).")
    shipped = resources.shipped_folder("pipelines") / f"{loaded.name}.toml"
    if resources.available("pipelines").get(loaded.name, Path()).resolve() != recipe_file.resolve():
        place = str(recipe_file.resolve())
    elif shipped.is_file() and resources.is_yours("pipelines", loaded.name, recipe_file):
        notes.append(f"{loaded.name} is your {recipe_file.relative_to(Path.cwd())}, not the shipped one.")
    needs_pictures = any(observer != "release" for check in compiled for observer in check.observers)
    observers: Observers | None = None
    others: list[Estimator] = []
    cross_fitted: tuple[str, ...] = ()
    if needs_pictures or _any_picture(release):
        if before is not None and before.pictures:
            _must_not_lose_pictures(release, manifest)
        model = Path(detector_model) if detector_model else None
        chosen = _detector(manifest, before, detector, model, loaded.observe.second_detector, notes)
        wanted = loaded.observe.estimators if named is None else named
        if chosen is None and (wanted or loaded.observe.identities != "none"):
            notes.append("Without a face detector, no ages are estimated and no identities are compared.")
            observers = Observers()
        else:
            ready, others, cross_fitted = _estimators(wanted, notes)
            notes += _not_asked_for(loaded, compiled, named)
            observers = Observers(chosen, ready, _embedder(loaded))
    else:
        notes.append("There are no pictures here and the recipe needs none: only the labels were judged.")
    asked = None if named is None else json.dumps(named)
    return CurateSettings(
        card,
        loaded,
        recipe_file,
        place,
        folder,
        release,
        manifest,
        before,
        observers,
        asked,
        others,
        cross_fitted,
        notes,
    )


def _not_asked_for(
    recipe: recipes.CurationRecipe, compiled: list[CompiledCheck], estimators: Sequence[str] | None
) -> list[str]:
    """Notes about checks that will not run, because the recipe asks for no observer of what they read."""
    needed = {observer for check in compiled for observer in check.observers}
    notes = []
    if "ages" in needed and estimators is None and not recipe.observe.estimators:
        notes.append(
            f"{recipe.name} checks claimed ages but names no age estimator, so wrong ages are not found: use "
            '`--estimator ready`, or set estimators = ["ready"] under [observe].'
        )
    if "identities" in needed and recipe.observe.identities == "none":
        notes.append(
            f'{recipe.name} reads identities but does not observe them: set identities = "auto" under [observe].'
        )
    return notes


def _any_picture(release: Release) -> bool:
    """Whether any of a few hundred records, spread over the release, has a file."""
    sample = release.records.select("part", "path").gather_every(max(1, len(release.records) // 300))
    locator = Locator(release.folders)
    return any(locator.stat(part, path)[2] is None for part, path in sample.iter_rows())


def _must_not_lose_pictures(release: Release, manifest: Path) -> None:
    """Raises ReleaseNotFound if none of the records' pictures exist although the manifest knows some: the folder is a
    different one, or its disk is not mounted, and going on would reject everything."""
    if _any_picture(release):
        return
    names = release.records.select("part", "path").iter_rows()
    locator = Locator(release.folders)
    if any(locator.stat(part, path)[2] is None for part, path in names):
        return
    looked = ", ".join(map(str, release.folders.values()))
    raise ReleaseNotFound(
        f"None of the {len(release.records):,} pictures of the records are in {looked}; {manifest} knows some.",
        "Name the right folder with `--root`, or another manifest with `--manifest`. Nothing was changed.",
    )


def _root(root: str | Folder | None, card: recipes.Card, before: ManifestState | None, notes: list[str]) -> Folder:
    """The release's folder: the one asked for, else the card's, else (if that does not exist) the manifest's own."""
    if root == "":  # an unset shell variable
        raise UsageError("`--root` is empty.", f"Name the release's folder, or omit the option to use {card.root}.")
    if root is None and before is not None and not Path(card.root).exists():
        last = before.meta.get("root")
        if last is not None:
            notes.append(f"The release is in {last}, as last time.")
            return as_folder(last)
    return as_folder(root or card.root)


def _detector(
    manifest: Path, before: ManifestState | None, kind: str | None, model: Path | None, second: str, notes: list[str]
) -> DetectorChoice | None:
    """The detector asked for, else the one that this manifest remembers, else `auto`. It is checked to work.

    second: the recipe's `second_detector`, which is added to a detector that is not remembered.
    """
    if kind == "none":
        if model is not None:
            raise UsageError("`--detector none` and `--detector-model` contradict each other.", "Give one of them.")
        return None
    behind = choose_detector(second) if second != "none" else None
    if kind is None and model is None and before is not None:
        remembered = before.meta.get("detector_choice")
        if remembered is not None:
            facts = json.loads(remembered)
            choice = _remembered(manifest, DetectorChoice.from_facts(facts)) if facts is not None else None
            if behind is not None and choice is not None and choice.second is None:
                notes.append(
                    f"{manifest} was observed with {choice.name} alone; the recipe adds {behind.name}. "
                    "`--detector` observes all pictures again."
                )
            elif (auto := _auto()) != (choice.kind if choice else None):
                notes.append(f"Faces by {choice or 'no detector'}, as last time; `--detector auto` would use {auto}.")
            return choice
    choice = choose_detector(kind or ("insightface" if model else "auto"), model)
    if behind is not None and behind.name != choice.name:
        choice = choice.backed_by(behind)
    load_detector(choice)
    return choice


def _auto() -> str | None:
    """The kind of detector that `auto` chooses here; None if there is none."""
    with suppress(Missing):
        return choose_detector("auto").kind
    return None


def _remembered(manifest: Path, choice: DetectorChoice) -> DetectorChoice:
    """The detector that a manifest remembers, as installed here. Raises Missing if it is gone or has another
    version."""
    try:
        current = choose_detector(choice.kind, Path(choice.weights) if choice.weights else None)
        if choice.second is not None:
            second = choice.second
            current = current.backed_by(choose_detector(second.kind, Path(second.weights) if second.weights else None))
        load_detector(choice)
    except Missing as error:
        raise Missing(
            f"{manifest} was observed with {choice.name}, which does not work here: {error.message}",
            "Install it again, or name another with `--detector` (which observes all pictures again).",
        ) from error
    if (current.name, current.version) != (choice.name, choice.version):
        raise Missing(
            f"{manifest} was observed with {choice.name} (version {choice.version}); "
            f"here is {current.name} (version {current.version}).",
            "Install that version, or name the detector with `--detector` (which observes all pictures again).",
        )
    return current


def _estimators(
    wanted: Sequence[str], notes: list[str]
) -> tuple[tuple[EstimatorChoice, ...], list[Estimator], tuple[str, ...]]:
    """(ready models, other estimators, recipes to cross-fit) for the names in a recipe. Raises Missing, UsageError."""
    ready: list[EstimatorChoice] = []
    others: list[Estimator] = []
    cross_fitted = []
    for name in wanted:
        if name.startswith(CROSS_FIT) and name in resources.available("models"):
            cross_fit_recipe(name)  # its mistakes are told now
            cross_fitted.append(name)
        elif name == "ready":
            try:
                ready.append(choose_estimator("auto"))
            except Missing as error:
                notes.append(f"{error.message} Claimed ages are not checked by this estimator. {error.next_step}")
        elif name in registry.names("estimators"):
            ready.append(choose_estimator(name))
        else:
            from agebench.estimators.finding import find_estimator  # takes 0.1 s; few curations need it

            others.append(find_estimator(name, RUNS, also=[CROSS_FIT]))
    return tuple(dict.fromkeys(ready)), others, tuple(dict.fromkeys(cross_fitted))


def _embedder(recipe: recipes.CurationRecipe) -> EmbedderChoice | None:
    return None if recipe.observe.identities == "none" else choose_embedder(recipe.observe.identities)
