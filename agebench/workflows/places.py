"""Where things lie by default: manifests, and which one a command means."""

from __future__ import annotations

from pathlib import Path

from agebench import resources
from agebench.errors import AgebenchError, ManifestBusy, ManifestNotFound, UsageError, nearest
from agebench.manifest import peek
from agebench.recipes import Card, load_card

MANIFESTS = Path("manifests")


def manifest_of(dataset: str) -> Path:
    return MANIFESTS / f"{dataset}.duckdb"


def find_manifest(given: str | None) -> Path:
    """The manifest behind `--manifest`: a file, a dataset's name, or, where nothing is given, the training set's.

    Raises ManifestNotFound (exit 3) and, where there are several candidates, UsageError (exit 2).
    """
    if given is not None:
        path = Path(given)
        if path.is_file():
            return path
        if path.suffix or "/" in given:
            raise ManifestNotFound(
                f"There is no manifest {given}.", "`agebench curate DATASET --manifest FILE` makes it."
            )
        if given not in resources.available("manifests"):
            raise UsageError(f"Unknown dataset '{given}'. {nearest(given, resources.available('manifests'))}")
        path = manifest_of(given)
        if path.is_file():
            return path
        raise ManifestNotFound(f"There is no manifest {path}.", f"`agebench curate {given}` makes it.")
    default = manifest_of("imdb-wiki")
    if default.is_file():
        return default
    training = [path for path, card in existing_manifests() if "train" in card.roles]
    if len(training) == 1:
        return training[0]
    if training:
        raise UsageError(
            "Several manifests could be meant: " + ", ".join(map(str, training)) + ".", "Name one with `--manifest`."
        )
    raise ManifestNotFound(
        f"There is no manifest to train on (looked for {default} and any whose card has the role 'train').",
        "`agebench curate imdb-wiki` makes it; `agebench demo` shows the whole way without any data.",
    )


def existing_manifests() -> list[tuple[Path, Card]]:
    """Manifests in `manifests/` with their cards, by name; files that are none, or of no known card, are left out.

    Raises ManifestBusy: a set that somebody is writing must not be taken for one that is not there.
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
