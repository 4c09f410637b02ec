"""fetch: download a release as its card says, check it, unpack it, and see that it is read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from agebench.datasets.fetch.disk import need_space, storing
from agebench.datasets.fetch.download import Verified, download, kept_bytes, verify
from agebench.datasets.fetch.unpack import merge, unpack
from agebench.datasets.records import Release
from agebench.datasets.release import read_release
from agebench.errors import FetchError, Interrupted, ReleaseError, ReleaseNotFound, UsageError, nearest
from agebench.recipes import Card, Download, load_card

WORK = ".fetch"  # in the release's folder; readers skip hidden folders


@dataclass(frozen=True)
class Step:
    """One file of a release. there: its part can be read already. kept: bytes of the file that are here."""

    item: Download
    part: str
    there: bool
    kept: int


@dataclass(frozen=True)
class FetchPlan:
    """What a fetch would do. needs: bytes of disk at the most, where the card knows."""

    card: Card
    root: Path
    steps: list[Step]
    parts_there: list[str]
    needs: int

    @property
    def todo(self) -> list[Step]:
        return [step for step in self.steps if not step.there]


@dataclass(frozen=True)
class FetchedFile:
    """One file as it came. resumed: bytes of it that were here before."""

    file: str
    url: str
    bytes: int
    resumed: int
    verified: Verified


@dataclass(frozen=True)
class FetchReport:
    """What came. unpacked: files in place now; records: of the parts that are there, as the reader counts them."""

    dataset: str
    root: Path
    licence: str
    downloads: list[FetchedFile]
    unpacked: int
    there: list[str]
    records: int
    seconds: float
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FetchProgress:
    """Bytes done of one phase, such as `downloading wiki_crop.tar`; total is None where the server does not say it."""

    what: str
    done: int
    total: int | None


def plan_fetch(
    dataset: str, *, root: Path | None = None, parts: Sequence[str] = (), keep_archives: bool = False
) -> FetchPlan:
    """Look at the card and at what is here; nothing is asked and nothing is written.

    Raises UsageError or RecipeError (exit 2), ReleaseNotFound (exit 3) for a release that no program can download, and
    ReleaseError where what is here cannot be read.
    """
    card = load_card(dataset)
    root = root or Path(card.root)
    known = sorted({item.part or card.name for item in card.download})
    for part in parts:
        if part not in known:
            raise UsageError(f"{card.title} has no part '{part}' to download. {nearest(part, known)}")
    there = _parts_there(card, root)
    if not card.download and not there:
        raise ReleaseNotFound(
            f"{card.title} cannot be downloaded by a program, and it is not in {root}. {card.by_hand or ''}".strip(),
            f"It is to be had from {card.source} ({card.licence}). Put it into {root}: {card.files} "
            f"`agebench curate {card.name}` comes next.",
        )
    work = root / WORK
    steps = []
    for item in card.download:
        part = item.part or card.name
        if not parts or part in parts:
            there_whole = part in there and not _unpacked(item, work).exists()
            steps.append(Step(item, part, there_whole, _kept(item, root)))
    unpacking = [s for s in steps if not s.there and not _unpacked(s.item, work).exists()]
    return FetchPlan(card, root, steps, there, _needs(unpacking, keep_archives))


def fetch(
    dataset: str,
    *,
    accept_licence: bool,
    root: Path | None = None,
    parts: Sequence[str] = (),
    keep_archives: bool = False,
    on_progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Download, check and unpack what is missing of a release into `root`; nothing that lies there is overwritten.

    An archive that people put into `root` themselves is taken instead of a download. A stopped or failed fetch goes on
    from where it was. Raises what `plan_fetch` raises, UsageError where the licence is not accepted, FetchError,
    ArchiveError, StorageError, Interrupted.
    """
    began = time.monotonic()
    plan = plan_fetch(dataset, root=root, parts=parts, keep_archives=keep_archives)
    if plan.todo and not accept_licence:
        raise UsageError(
            f"{plan.card.title} may be used {plan.card.licence}. That was not accepted, so nothing was downloaded."
        )
    report = on_progress or (lambda progress: None)
    downloads: list[FetchedFile] = []
    unpacked = 0
    if plan.todo:
        need_space(plan.root, plan.needs, f"Downloading and unpacking {plan.card.title}")
        with _alone(plan.root) as work:
            for step in plan.todo:
                fetched, files = _fetch_one(step.item, plan.root, work, keep_archives, report)
                unpacked += files
                downloads += [fetched] if fetched else []
    release = _read(plan.card, plan.root)
    missing = sorted({step.part for step in plan.steps} - set(release.folders))
    if missing:
        raise ReleaseError(
            f"The downloads are unpacked in {plan.root}, but {', '.join(missing)} is not there as the card says: "
            f"{plan.card.files}",
            "The authors may have another layout now: look at their page.",
        )
    return FetchReport(
        dataset=plan.card.name,
        root=plan.root,
        licence=plan.card.licence,
        downloads=downloads,
        unpacked=unpacked,
        there=plan.parts_there,
        records=len(release.records),
        seconds=round(time.monotonic() - began, 3),
        notes=[*_unchecked(downloads), *_counts(plan.card, release)],
    )


def _fetch_one(
    item: Download, root: Path, work: Path, keep: bool, report: Callable[[FetchProgress], None]
) -> tuple[FetchedFile | None, int]:
    """Bring one file to where it belongs: what came, or None where it was here, and the number of files in place."""
    own = root / item.file
    fetched = None
    unpacked = _unpacked(item, work)
    if not unpacked.exists():
        if own.exists():
            archive = own
            verify(own, item)
        else:
            came = download(item, work, lambda d, t: report(FetchProgress(f"downloading {item.file}", d, t)))
            archive = came.path
            fetched = FetchedFile(item.file, item.url, came.bytes, came.resumed, came.verified)
        if item.unpack:
            _unpack(item, archive, work, report)
    try:
        files = merge(unpacked, root).files if item.unpack else 1
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped while moving {item.file}'s files to {root}.", "The same command goes on from here."
        ) from None
    with storing(work):
        whole = work / item.file
        if whole.exists() and (keep or not item.unpack):
            whole.replace(own)
        whole.unlink(missing_ok=True)
        (work / f"{item.file}.json").unlink(missing_ok=True)
    return fetched, files


def _unpack(item: Download, archive: Path, work: Path, report: Callable[[FetchProgress], None]) -> None:
    """Unpack beside, and give the folder its last name when it is whole."""
    beside = work / f"{item.file}.unpacking"
    shutil.rmtree(beside, ignore_errors=True)  # of a fetch that was killed
    try:
        unpack(
            archive,
            beside,
            below=item.below,
            unpacked_bytes=item.unpacked_bytes,
            on_bytes=lambda d, t: report(FetchProgress(f"unpacking {item.file}", d, t)),
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped while unpacking {item.file}; the archive is kept in {archive.parent}.",
            "The same command goes on from here.",
        ) from None
    with storing(work):
        beside.replace(_unpacked(item, work))


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """The folder for downloads, for one process at a time; it goes when it is empty."""
    work = root / WORK
    with storing(work):
        work.mkdir(parents=True, exist_ok=True)
    lock = work / "lock"
    try:
        with FileLock(lock, timeout=0):
            try:
                yield work
            finally:
                with suppress(OSError):
                    lock.unlink()
    except Timeout as error:
        raise FetchError(
            f"Another `agebench fetch` is at work in {root}.", "Wait for it, or use another `--root DIR`."
        ) from error
    finally:
        with suppress(OSError):  # it stays where something is kept in it
            work.rmdir()


def _unpacked(item: Download, work: Path) -> Path:
    return work / f"{item.file}.unpacked"


def _kept(item: Download, root: Path) -> int:
    own = root / item.file
    return own.stat().st_size if own.is_file() else kept_bytes(item, root / WORK)


def _parts_there(card: Card, root: Path) -> list[str]:
    try:
        return sorted(read_release(card, root).folders)
    except ReleaseNotFound:
        return []


def _read(card: Card, root: Path) -> Release:
    try:
        return read_release(card, root)
    except ReleaseNotFound as error:
        raise ReleaseError(
            f"The downloads are unpacked in {root}, but not as the card says: {card.files}",
            "The authors may have another layout now: look at their page.",
        ) from error


def _needs(steps: list[Step], keep_archives: bool) -> int:
    """The most bytes that are on the disk at once: an archive goes before the next one comes."""
    peak = lasting = 0
    for step in steps:
        size = step.item.bytes or step.item.about_bytes or 0
        out = (step.item.unpacked_bytes or size) if step.item.unpack else 0
        peak = max(peak, lasting + max(size - step.kept, 0) + out)
        lasting += out + (size if keep_archives or not step.item.unpack else 0)
    return peak


def _unchecked(downloads: list[FetchedFile]) -> Iterator[str]:
    for file in downloads:
        if file.verified == "size":
            yield f"No hash of {file.file} is published: its length and the archive's own structure were checked."
        elif file.verified == "none":
            yield f"Neither hash nor length of {file.file} is known: only the archive's own structure was checked."


def _counts(card: Card, release: Release) -> Iterator[str]:
    """Where the records are not as many as the card expects."""
    found = dict(release.records.group_by("part").len().iter_rows())
    for part in release.folders:
        expected = card.expected.parts.get(part, None if card.expected.parts else card.expected.records)
        if expected is not None and found.get(part, 0) != expected:
            yield f"{part} has {found.get(part, 0):,} records, and the card expects {expected:,}."
