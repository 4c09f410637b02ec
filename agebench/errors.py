"""Every error that a user can meet: what is wrong and where, what to do next, and an exit status.

A fault of one record (a broken picture) is data and never raised; these errors stop a whole command.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AgebenchError(Exception):
    """Base of all errors that agebench raises on purpose.

    message: what is wrong, where, and what was expected. next_step: what to do about it.
    """

    exit_status = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class ReleaseError(AgebenchError, ValueError):
    """The release exists but cannot be read: a truncated or unknown `.mat`, a folder of something else."""


class ReleaseNotFound(AgebenchError, FileNotFoundError):
    """There is no release in the given place."""

    exit_status = 3


class ManifestError(AgebenchError, ValueError):
    """The file is not a manifest, is of another dataset, or has a newer schema."""


class ManifestNotFound(AgebenchError, FileNotFoundError):
    """There is no manifest in the given place."""

    exit_status = 3


class ManifestBusy(AgebenchError, TimeoutError):
    """Another process is using the manifest."""


class RecipeError(AgebenchError, ValueError):
    """A card or recipe is wrong; the message lists every mistake."""

    exit_status = 2


class UsageError(AgebenchError, ValueError):
    """Invalid arguments: an unknown or ambiguous name, a value out of range, a contradiction."""

    exit_status = 2


class Missing(AgebenchError, FileNotFoundError):
    """Something required is not available: a detector, weights, a run, an extra."""

    exit_status = 3


class RunError(AgebenchError, ValueError):
    """A run folder is damaged, unfinished, or contradicts its card."""


class EstimatorError(AgebenchError, ValueError):
    """An estimator fails, or gives something else than an age in years for every face."""


class StalePlan(AgebenchError, ValueError):
    """The curated rows have changed since the balance plan was made."""


class NothingCurated(AgebenchError, ValueError):
    """There are no curated records to work on."""


class StorageError(AgebenchError, OSError):
    """The disk is full or the folder cannot be written."""


class DecisionError(AgebenchError, ValueError):
    """A file of decisions is damaged, or two files contradict each other; nothing was changed."""


class FetchError(AgebenchError, ConnectionError):
    """A file cannot be downloaded, or does not match its card."""


class RemoteError(AgebenchError, RuntimeError):
    """The store behind a URL does not answer. Not an OSError: OSErrors of single files are data."""


class ArchiveError(AgebenchError, ValueError):
    """An archive is damaged or unsafe to unpack: paths that lead outside, links, or too much data."""


class WorkersFailed(AgebenchError, RuntimeError):
    """The worker processes cannot be started."""


class Interrupted(AgebenchError, KeyboardInterrupt):
    """The user stopped the run; the message says what was kept."""

    exit_status = 130


def described(error: BaseException) -> str:
    """An error's type and the first line of its text, without the period: what somebody else's code says of itself."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0].rstrip('. ')}".rstrip(": ")


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """The names most similar to `word`, as a sentence: `Did you mean 'fg-net'?`, or all names if none is similar."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=n, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    return "Known: " + ", ".join(names) + "."
