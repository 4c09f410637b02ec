"""A test manifest as evaluations read it, and keeping the predictions made on it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.bench.evaluations import Evaluation, measures
from agebench.bench.face_facts import FACE_FACTS, with_face_facts
from agebench.bench.protocols import drawn_rows, protocol_rows
from agebench.errors import UsageError, nearest
from agebench.estimators import Faces
from agebench.files import write_whole
from agebench.manifest.fingerprints import label_fingerprint
from agebench.manifest.places import manifest_of
from agebench.manifest.records import count_records, folders_of
from agebench.manifest.store import get_meta, open_manifest, query
from agebench.recipes import Card, Partition, load_card
from agebench.remote import Folder
from agebench.training.run_cards import matches_card

KEPT = (
    "part",
    "path",
    "subject_id",
    "age",
    "predicted",
    "sha256",
    "face_no",
    "leak",
    "spread",
    "probabilities",
    "fold",
    "draws",
    *FACE_FACTS,
)


@dataclass(frozen=True)
class ProtocolSet:
    """The records of one protocol of a manifest.

    protocol: its name; empty for the one that tests models trained elsewhere. partition: that of the others.
    rows: the protocol's records (see `drawn_rows`).
    """

    path: Path
    card: Card
    protocol: str
    partition: Partition | None
    rows: pl.DataFrame
    folders: Mapping[str, Folder]
    detector: str | None
    records: int
    labels: str | None
    pictures: str | None

    @property
    def name(self) -> str:
        """The name of the predictions' files: the dataset for its default manifest, else unique to the file, and the
        protocol if it is not the usual one."""
        place = self.path.resolve()
        name = self.card.name
        if place != manifest_of(name).resolve():
            name = f"{self.path.stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"
        return f"{name}@{self.protocol}" if self.protocol else name

    def faces(self) -> Faces:
        """The records whose picture can be read."""
        readable = self.rows.filter(pl.col("error").is_null())
        return Faces(readable, self.folders, self.card.name, self.detector)


def read_test_set(path: Path, protocol: str = "") -> ProtocolSet:
    """The records of a manifest that a protocol of its card names.

    Raises UsageError if the card has no such protocol, and what opening a manifest raises.
    """
    with open_manifest(path) as con:
        card = load_card(get_meta(con, "dataset") or "")
        if protocol:
            if protocol not in card.protocols:
                raise UsageError(
                    f"The card of {card.name} has no protocol '{protocol}'. {nearest(protocol, card.protocols)}",
                    f"`agebench cp {card.name}` copies the card; a [protocols.{protocol}] table adds one.",
                )
            rows = protocol_rows(con, ages=card.protocols[protocol].ages)
        elif card.protocol is None:
            raise UsageError(
                f"{path} is of {card.name}, whose card has no [protocol]: it is not a test set.",
                f"`agebench cp {card.name}` copies the card; a [protocol] table makes it one.",
            )
        else:
            usual = card.protocol
            rows = drawn_rows(con, usual)
        return ProtocolSet(
            path, card, protocol, card.protocols.get(protocol), rows, folders_of(con), get_meta(con, "detector"),
            count_records(con), get_meta(con, "label_fingerprint"), get_meta(con, "picture_fingerprint"),
        )  # fmt: skip


def labels_of(manifest: Path) -> str:
    """The fingerprint of the labels that a manifest holds now. Raises what opening a manifest raises."""
    with open_manifest(manifest) as con:
        return label_fingerprint(query(con, "SELECT path, age FROM record ORDER BY record_id"))


def predicted(
    records: pl.DataFrame, ages: NDArray[np.float64], spreads: NDArray[np.float64], shares: NDArray[np.float32] | None
) -> pl.DataFrame:
    """Records with their estimates: predicted and spread in years, and the probabilities of the ages 0 to 99."""
    distributions = [None] * len(ages) if shares is None else shares.tolist()
    return records.with_columns(
        pl.Series("predicted", ages, dtype=pl.Float64),
        pl.Series("spread", spreads, dtype=pl.Float64).fill_nan(None),
        pl.Series("probabilities", distributions, dtype=pl.List(pl.Float32)),
    )


def keep_evaluation(
    folder: Path,
    test_set: ProtocolSet,
    predictions: pl.DataFrame,
    *,
    unreadable: int,
    training_detector: str | None,
    training_known: bool,
    unsearched: Sequence[str] = (),
) -> Evaluation:
    """Keep predictions (the columns of `predicted`, leak, and the fold if there are several) and their measures.

    unreadable: records of the protocol that have no prediction because their picture cannot be read.
    """
    predictions = with_face_facts(predictions)
    kept = predictions.select(name for name in KEPT if name in predictions.columns)
    kept.write_parquet(buffer := io.BytesIO())
    data = buffer.getvalue()
    write_whole(folder / "predictions" / f"{test_set.name}.parquet", data)
    card = test_set.card
    result = Evaluation(
        name=test_set.name,
        dataset=card.name,
        protocol=test_set.protocol,
        manifest=str(test_set.path),
        **measures(kept),
        unreadable=unreadable,
        matches_card=matches_card(card, test_set.records, test_set.labels),
        pictures_match=None if card.expected.pictures is None else test_set.pictures == card.expected.pictures,
        records=test_set.records,
        expected=card.expected.records,
        detector=test_set.detector,
        training_detector=training_detector,
        training_known=training_known,
        unsearched=list(unsearched),
        labels=test_set.labels,
        predictions_sha256=hashlib.sha256(data).hexdigest(),
    )
    text = json.dumps(asdict(result), indent=2)
    write_whole(folder / "predictions" / f"{test_set.name}.json", text.encode())
    return result
