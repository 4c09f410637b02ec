"""The audits of a session: what is still to be read by whom, and what the readings say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agebench.errors import UsageError
from agebench.manifest.store import open_manifest
from agebench.review import audit
from agebench.review.decisions import Decision
from agebench.review.rows import name_frame, present_pictures
from agebench.review.server.snapshot import Snapshot

PATIENCE = 1.0  # seconds that a request waits while the manifest is being written; then the page tries again
Names = tuple[str, str]  # part, path


class Readings:
    """The audit samples beside a manifest. lines: returns all answers; now: returns the latest snapshot."""

    def __init__(self, manifest: Path, *, lines: Callable[[], list[Decision]], now: Callable[[], Snapshot]) -> None:
        self.manifest, self.lines, self.now = manifest, lines, now

    def samples(self) -> list[audit.Sample]:
        """The latest first."""
        return audit.samples_of(self.manifest)

    def sample(self, n: int, seed: int) -> audit.Sample:
        """The sample with these numbers. Raises UsageError if there is none."""
        for sample in self.samples():
            if (sample.n, sample.seed) == (n, seed):
                return sample
        raise UsageError(
            f"There is no audit of {n} records with seed {seed}.",
            f"`agebench review audit --n {n} --seed {seed}` draws it.",
        )

    def to_read(self, sample: audit.Sample, by: str) -> list[dict[str, Any]]:
        """What this reviewer still has to read (see `audit.to_read`), in order, with `record_id`."""
        present = self.present(sample)
        rows = audit.to_read(sample, self.lines(), by, present)
        numbered = name_frame((r["part"], r["path"]) for r in rows).join(
            self.now().names.with_row_index("record_id").unique(["part", "path"], keep="first"),
            on=["part", "path"], how="left", maintain_order="left",
        )  # fmt: skip
        return [
            row | {"record_id": record_id}
            for row, record_id in zip(rows, numbered["record_id"].to_list(), strict=True)
            if record_id is not None
        ]

    def estimate(self, sample: audit.Sample) -> audit.Estimate:
        present = self.present(sample)
        return audit.estimate(sample, self.lines(), present)

    def present(self, sample: audit.Sample) -> dict[Names, str | None]:
        """The sha256 of a sample's current pictures. Raises as `open_manifest`."""
        now = self.now()
        which = sample.n, sample.seed
        if which not in now.present:
            with open_manifest(self.manifest, wait=PATIENCE) as con:
                now.present[which] = present_pictures(con, ((r["part"], r["path"]) for r in sample.records))
        return now.present[which]


def drawn(sample: audit.Sample, part: str, path: str) -> dict[str, Any]:
    """A record as it was drawn. Raises UsageError if it is not in the sample."""
    for record in sample.records:
        if (record["part"], record["path"]) == (part, path):
            return record
    raise UsageError(f"{part} {path} is not in the audit's sample.", "Load the page again.")


def must_be_as_drawn(sample: audit.Sample, part: str, path: str, sha256: str | None) -> dict[str, Any]:
    """As `drawn`. Raises UsageError also if the picture has changed since the record was drawn."""
    record = drawn(sample, part, path)
    if record["sha256"] != sha256:
        raise UsageError(
            f"The picture of {part} {path} has changed since the audit was drawn.",
            "Skip it; another seed draws a new sample.",
        )
    return record
