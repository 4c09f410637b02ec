"""Every error that a user can meet: one sentence of what and where, one of what to do next, and an exit status.

A record's own fault (a broken picture) is data and never raised; these are faults of a whole run.
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
    """The release is there but cannot be read: a cut-off or foreign `.mat`, a folder of something else."""


class ReleaseNotFound(AgebenchError, FileNotFoundError):
    """No release where one was looked for."""

    exit_status = 3


class ManifestError(AgebenchError, ValueError):
    """The file is no manifest, is of another dataset, or has a newer schema."""


class ManifestNotFound(AgebenchError, FileNotFoundError):
    """No manifest where one was looked for."""

    exit_status = 3


class ManifestBusy(AgebenchError, TimeoutError):
    """Another process holds the manifest."""


class RecipeError(AgebenchError, ValueError):
    """A card or recipe is wrong; the message lists every mistake."""

    exit_status = 2


class UsageError(AgebenchError, ValueError):
    """The command line asks for something that cannot be: an unknown name, candidates that must be chosen from."""

    exit_status = 2


class Missing(AgebenchError, FileNotFoundError):
    """Something that the work needs is not here: a detector, weights, a run, an extra."""

    exit_status = 3


class RunError(AgebenchError, ValueError):
    """A run folder is damaged, unfinished, or contradicts its card."""


class StalePlan(AgebenchError, ValueError):
    """The balance plan was made from curated rows that have changed since."""


class NothingCurated(AgebenchError, ValueError):
    """The work needs curated records and there are none."""


class StorageError(AgebenchError, OSError):
    """The disk is full or the folder cannot be written."""


class DecisionError(AgebenchError, ValueError):
    """A file of decisions is damaged, or two files contradict each other; nothing was changed."""


class FetchError(AgebenchError, ConnectionError):
    """A file cannot be downloaded, or is not what its card says."""


class RemoteError(AgebenchError, RuntimeError):
    """The store behind a URL does not answer. No OSError: those of single files are data."""


class ArchiveError(AgebenchError, ValueError):
    """An archive is damaged, or holds what must not be unpacked: paths that lead elsewhere, links, too much."""


class WorkersFailed(AgebenchError, RuntimeError):
    """The worker processes cannot be started."""


class Interrupted(AgebenchError, KeyboardInterrupt):
    """The user stopped the run; the message says what was kept."""

    exit_status = 130


def nearest(word: str, known: Iterable[str], n: int = 3) -> str:
    """Names near to `word`, as the tail of a sentence: `did you mean 'fg-net'?`, or all of them where none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word.lower(), names, n=n, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    return "Known: " + ", ".join(names) + "."
