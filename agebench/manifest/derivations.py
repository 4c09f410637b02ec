"""What is derived from what: every derivation of a manifest with its inputs, version, function and columns.

`manifest.renewal` goes through them, inputs first, and calls the function of each whose version or inputs have changed.
To add a derived column, declare it here and return it from the function; `evidence` and its documentation use this
declaration. Exact copies need no derivation: the view `exact_copy` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Column(NamedTuple):
    """A column of a derived table. meaning: of the column of the same name in `evidence`; empty if there is none."""

    name: str
    type: str
    meaning: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A derived table, keyed by record_id. observer: the observer that fills its columns, for `evidence`. view: what
    `evidence` reads them from, if not the table itself."""

    name: str
    columns: tuple[Column, ...]
    observer: str = ""
    view: str = ""


@dataclass(frozen=True)
class Derivation:
    """inputs: other derivations, and facts from outside (see `renewal.renew`). version: raise it when the function's
    results change. function: `module:name`, called with (manifest, request); it returns a `Derived`, or None if
    there is nothing to derive."""

    name: str
    inputs: tuple[str, ...]
    version: int
    function: str
    tables: tuple[Table, ...] = ()


NEAR_COPY = Table(
    "near_copy",
    (
        Column("near_group", "INTEGER NOT NULL"),
        Column("near_copies", "INTEGER NOT NULL", "different files that show the same photograph, including this one"),
        Column("near_rank", "INTEGER NOT NULL", "1 for the best of these copies, which stays, then 2, 3, …"),
        Column("near_of", "VARCHAR NOT NULL", "part/path of the copy that stays"),
        Column("near_age_gap", "INTEGER", "largest difference between their claimed ages", "years"),
    ),
    observer="copies",
    view="near_copy_now",
)
NEAR_PHOTOGRAPH = Table("near_photograph", (Column("near_photograph", "INTEGER NOT NULL"),))
SUSPICION = Table(
    "suspicion",
    (
        Column("estimates", "INTEGER NOT NULL", "number of age estimators that estimated the chosen face"),
        Column("suggested_age", "DOUBLE", "median of the combined estimates, corrected for their biases", "years"),
        Column("age_gap", "DOUBLE", "suggested age minus claimed age", "years"),
        Column("label_suspicion", "DOUBLE", "probability that the claimed age is wrong", "0 to 1"),
    ),
    observer="ages",
)
IDENTITY = Table(
    "identity",
    (
        Column("identity_face_no", "INTEGER"),
        Column(
            "identity_distance", "DOUBLE", "distance from the nearest face to the subject's face in other photographs"
        ),
        Column("identity_bound", "DOUBLE", "largest distance at which a face counts as the subject's"),
        Column("identity_pictures", "INTEGER", "number of different photographs in which the subject was recognised"),
        Column("identity_face", "BOOLEAN", "whether a face in the picture is the subject's; NULL if unknown"),
    ),
    observer="identities",
)
AGE_OFFSET = Table(
    "age_offset",
    (
        Column(
            "subject_age_offset",
            "DOUBLE",
            "median of estimated minus claimed age over the subject's recognised pictures",
            "years",
        ),
        Column("subject_age_spread", "DOUBLE", "median absolute deviation of their offsets from it", "years"),
        Column("subject_age_pictures", "INTEGER", "number of pictures behind that median"),
        Column("age_offset_residual", "DOUBLE", "this picture's offset minus the subject's median", "years"),
    ),
    observer="identities",
)
DECISION = Table(
    "decision",
    (
        Column("status", "VARCHAR NOT NULL"),
        Column("answer", "VARCHAR"),
        Column("age", "INTEGER"),
        *(Column(f"box_{side}", "DOUBLE") for side in "xywh"),
        Column('"by"', "VARCHAR NOT NULL"),
        Column('"at"', "VARCHAR NOT NULL"),
        Column("note", "VARCHAR"),
        Column("answers", "INTEGER NOT NULL"),
    ),
)

CURATE, REVIEW = "agebench.curation", "agebench.review"
DERIVATIONS = (
    Derivation("contents", ("records", "observations"), 1, "agebench.manifest.fingerprints:derive_contents"),
    Derivation(
        "copies", ("records", "contents", "measures"), 8, f"{CURATE}.duplicates:derive_copies",
        (NEAR_COPY, NEAR_PHOTOGRAPH),
    ),
    Derivation(
        "groups", ("records", "contents", "copies"), 3, f"{CURATE}.groups:derive_groups",
        (Table("record_group", (Column("group_id", "INTEGER NOT NULL"), Column("photograph_id", "INTEGER NOT NULL"))),),
    ),
    Derivation(
        "identities", ("records", "contents", "detector", "embedder"), 7, f"{CURATE}.identities:derive_identities",
        (IDENTITY,),
    ),
    Derivation(
        "estimates", ("records", "contents", "detector", "groups", "identities", "estimators"), 1,
        f"{CURATE}.estimates:derive_estimates",
    ),
    Derivation(
        "ages", ("records", "contents", "detector", "identities", "estimates"), 8, f"{CURATE}.suspicion:derive_ages",
        (SUSPICION, AGE_OFFSET),
    ),
    Derivation("decisions", ("records", "contents", "answers"), 3, f"{REVIEW}.folding:derive_decisions", (DECISION,)),
    Derivation("copy_answers", ("decisions", "copies", "contents"), 1, f"{CURATE}.verdicts:derive_copy_answers"),
    Derivation(
        "evidence", ("observations", "detector", "embedder", "copies", "identities", "ages", "copy_answers"), 2,
        f"{CURATE}.verdicts:derive_evidence",
    ),
    Derivation("verdicts", ("evidence", "decisions", "recipe"), 1, f"{CURATE}.verdicts:derive_verdicts"),
)  # fmt: skip
# A plan is made on request (`agebench balance`), under the name `plan:NAME`, from the curated records.
PLANS = "plan:"

# In the order of their columns in `evidence`.
EVIDENCE_TABLES = (NEAR_COPY, SUSPICION, IDENTITY, AGE_OFFSET)


def derived_tables_sql() -> str:
    """The derived tables."""
    tables = [table for derivation in DERIVATIONS for table in derivation.tables]
    return "\n".join(
        f"CREATE TABLE IF NOT EXISTS {t.name} (record_id INTEGER NOT NULL, "
        + ", ".join(f"{column.name} {column.type}" for column in t.columns)
        + ");"
        for t in tables
    )


def evidence_sql() -> str:
    """The view `evidence`: the columns of `observed_evidence` and every derived column that has a meaning."""
    columns = [f"{t.name}_.{c.name}" for t in EVIDENCE_TABLES for c in t.columns if c.meaning]
    joins = "\n".join(
        f"LEFT JOIN {t.view or t.name} AS {t.name}_ ON {t.name}_.record_id = o.record_id" for t in EVIDENCE_TABLES
    )
    return f"CREATE OR REPLACE VIEW evidence AS SELECT o.*, {', '.join(columns)}\nFROM observed_evidence AS o\n{joins};"
