"""review audit: a sample of what is kept, and what its readings say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agebench.errors import UsageError
from agebench.manifest import open_manifest
from agebench.manifest.decisions import kept_rows, present_pictures
from agebench.manifest.plans import curated_fingerprint
from agebench.review import audit as audits
from agebench.workflows.places import curate_command, must_be_judged
from agebench.workflows.review import lines_of


@dataclass(frozen=True)
class Audit:
    """A sample, what of it waits (see `review.audit.to_read`), and what the readings say. current: whether the curated
    rows and the sample's pictures are those that it was drawn from; curate: the command that takes the estimate into
    the manifest."""

    sample: audits.Sample
    file: Path
    to_read: list[dict[str, Any]]
    estimate: audits.Estimate
    current: bool
    curate: str
    notes: list[str] = field(default_factory=list)


def audit(manifest: Path, *, n: int | None = None, seed: int | None = None, by: str | None = None) -> Audit:
    """The audit of n kept records: drawn at the first call and kept in a file, then read as far as the answers go.

    n, seed: 200 and 0; where neither is given, those of the audit that was drawn last. Raises NothingCurated,
    UsageError, DecisionError, StorageError.
    """
    latest = next(iter(audits.samples_of(manifest)), None) if n is None and seed is None else None
    n, seed = (latest.n, latest.seed) if latest else (200 if n is None else n, seed or 0)
    if not 1 <= n <= 1_000_000:
        raise UsageError(f"--n is {n}; expected 1 to 1,000,000 records.")
    if not 0 <= seed < 2**63:
        raise UsageError(f"--seed is {seed}; expected 0 or more, below 2^63.")
    file = audits.sample_file(manifest, n, seed)
    decisions, notes = lines_of(manifest)
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        fingerprint = curated_fingerprint(con)
        if file.is_file():
            sample, drawn = audits.read_sample(file), False
        else:
            sample = audits.draw_sample(kept_rows(con), n=n, seed=seed, curated=fingerprint)
            drawn = True
        present = present_pictures(con, ((r["part"], r["path"]) for r in sample.records))
        curate = curate_command(con, manifest)
    if latest:
        notes.append(f"It is the audit that was drawn last, --n {n} --seed {seed}; other numbers draw another.")
    if drawn:
        audits.write_sample(file, sample)
        notes.append(f"The sample was drawn and is kept in {file}.")
    changed = len(audits.changed_since(sample, present))
    if changed:
        notes.append(f"The pictures of {changed:,} records have changed since they were drawn; they are left out.")
    current = sample.curated == fingerprint and not changed
    if not current:
        notes.append("The curated records have changed since it was drawn; another `--seed` audits those of now.")
    waiting, found = audits.to_read(sample, decisions, by, present), audits.estimate(sample, decisions, present)
    return Audit(sample, file, waiting, found, current, curate, notes)
