"""Fetching a public release: download it as its card says, check it, unpack it, and check that it can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from rich.filesize import decimal

from agebench.datasets.fetch.archives import WORK, merge, unpack
from agebench.datasets.fetch.downloads import FetchedFile, download, fault, kept_bytes, need_space
from agebench.datasets.records import Release
from agebench.datasets.release import read_release
from agebench.errors import (
    FetchError,
    Interrupted,
    ReleaseError,
    ReleaseNotFound,
    UsageError,
    nearest,
)
from agebench.recipes import Card, Download, load_card

OnProgress = Callable[[str, int, int | None], None]  # `downloading FILE`, bytes done of this run, in all where known


@dataclass(frozen=True)
class Step:
    """One file of a release. there: its part can already be read. kept: bytes on this machine. needs: bytes of disk, if
    known."""

    item: Download
    part: str
    there: bool
    kept: int
    needs: int


@dataclass(frozen=True)
class FetchPlan:
    """The steps of a fetch."""

    card: Card
    root: Path
    steps: list[Step]

    @property
    def todo(self) -> list[Step]:
        return [step for step in self.steps if not step.there]

    @property
    def needs(self) -> int:
        return sum(step.needs for step in self.todo)


@dataclass(frozen=True)
class FetchReport:
    """The result. unpacked: files in place now; records: of the parts that exist, as counted by the reader."""

    plan: FetchPlan
    downloads: list[FetchedFile]
    unpacked: int
    records: int
    notes: list[str]


def plan_fetch(dataset: str, *, root: Path | None = None, parts: Sequence[str] = ()) -> FetchPlan:
    """Look at the card and at the files here; no request is sent and nothing is written.

    Raises UsageError or RecipeError (exit 2), ReleaseNotFound (exit 3) for a release that no program can download, and
    ReleaseError if the files here cannot be read.
    """
    card = load_card(dataset)
    root = root or Path(card.root)
    known = {item.part or card.name for item in card.download}
    for part in parts:
        if part not in known:
            raise UsageError(f"{card.title} has no part '{part}' to download. {nearest(part, known)}")
    release = _read(card, root)
    steps = [_step(item, item.part or card.name, root, release) for item in card.download]
    return FetchPlan(card, root, [step for step in steps if step.part in (parts or known)])


def fetch(
    dataset: str,
    *,
    accept_licence: bool,
    root: Path | None = None,
    parts: Sequence[str] = (),
    keep_archives: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> FetchReport:
    """Download, check and unpack the missing parts of a release into `root`; existing files are never overwritten.

    An archive that people put into `root` is used instead of a download. A stopped or failed fetch resumes.
    Raises what `plan_fetch` raises, UsageError if the licence is not accepted, FetchError, ArchiveError,
    StorageError if the disk is too small, OSError for other faults of the disk, and Interrupted.
    """
    plan = plan_fetch(dataset, root=root, parts=parts)
    card, root = plan.card, plan.root
    downloads: list[FetchedFile] = []
    unpacked = 0
    if plan.todo:
        if not accept_licence:
            raise UsageError(
                f"The licence of {card.title} was not accepted, so nothing was downloaded: {card.licence}.",
                "Run it again with `accept_licence` (`--accept-licence`) to accept it and download the release.",
            )
        need_space(root, plan.needs, f"Downloading and unpacking {card.title}")
        with _alone(root) as work:
            for step in plan.todo:
                try:
                    fetched, files = _fetch_one(step.item, root, work, keep_archives, on_progress)
                except KeyboardInterrupt:
                    raise Interrupted(
                        f"Stopped at {step.item.file}: {decimal(_kept(step.item, root))} are kept in {work}.",
                        "The same command resumes.",
                    ) from None
                unpacked += files
                downloads += [fetched] if fetched else []
    release = _read(card, root)
    if release is None or not {step.part for step in plan.steps} <= release.folders.keys():
        raise ReleaseError(
            f"{card.title} is unpacked in {root}, but not as the card says: {card.files}",
            "The authors may have changed the layout: look at their page.",
        )
    return FetchReport(plan, downloads, unpacked, len(release.records), [*_counts(card, release)])


def _fetch_one(
    item: Download, root: Path, work: Path, keep: bool, on_progress: OnProgress
) -> tuple[FetchedFile | None, int]:
    """Put one file in place: returns the download, or None if the file was here, and the number of files in place."""
    own, archive, unpacked = root / item.file, work / item.file, _unpacked(item, root)
    fetched, files = None, 1
    if own.exists():
        if wrong := fault(own, item):
            raise FetchError(wrong, f"Move {own} away; the same command then downloads the file.")
        archive = own
    elif not unpacked.exists():
        fetched = download(item, work, partial(on_progress, f"downloading {item.file}"))
    if item.unpack:
        if not unpacked.exists():
            show = partial(on_progress, f"unpacking {item.file}")
            unpack(archive, unpacked, below=item.below, most=item.unpacked_bytes, on_bytes=show)
        files = merge(unpacked, root)
    if archive != own and archive.exists() and (keep or not item.unpack):
        archive.rename(own)
    for left in (work / item.file, work / f"{item.file}.json"):
        left.unlink(missing_ok=True)
    return fetched, files


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """The folder for unfinished work, for one process at a time; it is removed when it is empty."""
    work = root / WORK
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            try:
                yield work
            finally:
                with suppress(OSError):  # it stays if it still contains something
                    (work / "lock").unlink()
                    work.rmdir()
    except Timeout as error:
        raise FetchError(f"Another fetch is running in {root}.", "Wait for it, or use another folder.") from error


def _step(item: Download, part: str, root: Path, release: Release | None) -> Step:
    size, kept, is_unpacked = item.bytes or item.about_bytes or 0, _kept(item, root), _unpacked(item, root).exists()
    out = (item.unpacked_bytes or size) if item.unpack else 0
    there = release is not None and part in release.folders and not is_unpacked
    return Step(item, part, there, kept, 0 if is_unpacked else max(size - kept, 0) + out)


def _unpacked(item: Download, root: Path) -> Path:
    return root / WORK / f"{item.file}.unpacked"


def _kept(item: Download, root: Path) -> int:
    return kept_bytes(item, root) or kept_bytes(item, root / WORK)


def _read(card: Card, root: Path) -> Release | None:
    try:
        return read_release(card, root)
    except ReleaseNotFound:
        if not card.download:
            raise
        return None


def _counts(card: Card, release: Release) -> Iterator[str]:
    """Notes about parts whose number of records differs from the card."""
    found = dict(release.records.group_by("part").len().iter_rows())
    for part in release.folders:
        expected = card.expected.parts.get(part, None if card.expected.parts else card.expected.records)
        if expected is not None and found.get(part, 0) != expected:
            yield f"{part} has {found.get(part, 0):,} records; the card expects {expected:,}."
