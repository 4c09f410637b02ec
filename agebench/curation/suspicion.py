"""The probability that a claimed age is wrong, from age estimates that are biased, compressed and sometimes far off.

A mixture model: a claim is either right, and then distributed as the estimates say, or wrong, and then any age. The two
components, the errors of each estimator by claimed age, and the weight of each estimator are fitted to the claims
themselves (EM). So no claim needs to be known to be right, and a probability of 0.9 means the same at 5 years as at 60.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.curation.identities import age_offsets
from agebench.curation.settings import Request
from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CLASSES = 100
YEARS = np.arange(CLASSES)
FITTED = 6_000  # at most this many records, evenly spread, are used to fit the model
FEWEST_SURE = 100  # from this many records with a face known to be the subject's, the model is fitted to those alone
ROUNDS = 30
CHUNK = 50_000
FLOOR = 0.002  # probability that an estimate is unrelated to the picture, spread over all years
FAR = 30  # years from an estimator's median: its probability there is put down to wrong claims that it learned from
FREEDOM = 5.0  # degrees of freedom of the errors' t distribution, which has heavier tails than a normal one
BANDWIDTH = 5.0  # years over which bias and spread are averaged
WRONG_BANDWIDTH = 12.0
EVEN = 0.7  # share of the wrong claims' distribution that is uniform over all years; the rest is fitted
PRIOR_CLAIMS = 2.0  # pseudo-counts at each age, which keep the prior flat where there are few records
WEIGHTS = np.array([0.8, 0.9, 1.0, 1.1, 1.25])  # factors tried for an estimator's weight
SCHEMA = {
    "record_id": pl.Int32, "label_suspicion": pl.Float64, "suggested_age": pl.Float64, "age_gap": pl.Float64,
    "estimates": pl.Int32,
}  # fmt: skip


def label_suspicion(estimates: pl.DataFrame) -> pl.DataFrame:
    """The probability that each record's claimed age is wrong: one row per record with an estimate, by `record_id`.

    estimates: one row a record and estimator: record_id, age (claimed, years, may be NULL), estimator, estimate
    (years), spread (standard deviation in years, may be NULL); and, where an estimator gives them, `probabilities` (a
    list of 100, of the ages 0 to 99; NULL for a record without), which say more than estimate and spread; and, where
    some faces may be somebody else's, `sure` (whether the face is known to be the subject's): the model is fitted to
    those only, where there are enough, for the faces of bystanders would pass for errors of the estimators.

    label_suspicion: 0..1, NULL if no age is claimed, 1 if the claim is outside 0..99. suggested_age: the median of the
    combined estimates in years, corrected for each estimator's bias; it does not depend on the record's own claim.
    age_gap: suggested − claimed. estimates: their number. Estimates that are NULL or NaN are left out.

    The mixture of right claims, drawn from the estimates' posterior, and wrong ones follows Dawid and Skene (1979),
    with soft annotators. Estimators are combined by a weighted product (a logarithmic opinion pool; Genest and Zidek
    1986) with fitted weights, so that two estimators with the same errors do not count twice.
    """
    rows = estimates.filter(pl.col("estimate").is_finite().fill_null(False)).unique(
        ["record_id", "estimator"], keep="first", maintain_order=True
    )
    if rows.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    if "sure" not in rows.columns:
        rows = rows.with_columns(sure=pl.lit(True))
    records = rows.group_by("record_id").agg(pl.col("age", "sure").first(), estimates=pl.len()).sort("record_id")
    claimed = records["age"].cast(pl.Float64).fill_null(-1).to_numpy()
    usable = (claimed >= 0) & (claimed < CLASSES)
    number = records.select("record_id", n=pl.int_range(pl.len()))
    views = [
        _View.of(one.join(number, on="record_id"), len(records))
        for (_,), one in rows.sort("estimator", "record_id").group_by(["estimator"], maintain_order=True)
    ]
    sure = usable & records["sure"].to_numpy()
    fitted = np.flatnonzero(sure if sure.sum() >= FEWEST_SURE else usable)
    fitted = fitted[:: -(-len(fitted) // FITTED) or 1]
    model = _Model(claimed[fitted].astype(np.int64), [view.at(fitted) for view in views])
    suspicion, suggested = np.full(len(records), np.nan), np.empty(len(records))
    for begin in range(0, len(records), CHUNK):
        part = np.arange(begin, min(begin + CHUNK, len(records)))
        claims = np.where(usable[part], claimed[part], 0).astype(np.int64)
        posterior = model.posterior([view.at(part) for view in views])
        suspicion[part] = model.wrong(posterior, claims)
        suggested[part] = _median(posterior)
    suspicion[~usable] = 1.0
    table = records.with_columns(
        label_suspicion=pl.when(pl.col("age").is_not_null()).then(pl.Series(suspicion)),
        suggested_age=pl.Series(suggested),
    ).with_columns(age_gap=pl.col("suggested_age") - pl.col("age"))
    return table.select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


@dataclass(frozen=True)
class _View:
    """One estimator's estimates. there: (N,) whether it has one for the record. estimate, spread: (N,) years.

    probabilities: (N, 100), all equal where it gives none for a record; None where it gives them for no record.
    """

    there: NDArray[np.bool_]
    estimate: Floats
    spread: Floats
    probabilities: NDArray[np.float32] | None

    @classmethod
    def of(cls, rows: pl.DataFrame, n: int) -> _View:
        place = rows["n"].to_numpy()

        def spread_out(values: pl.Series) -> Floats:
            out = np.full(n, np.nan)
            out[place] = values.cast(pl.Float64).fill_null(np.nan).to_numpy()
            return out

        def column(name: str) -> pl.Series:
            return rows[name] if name in rows.columns else pl.Series([None] * len(rows), dtype=pl.Float64)

        there = np.zeros(n, dtype=bool)
        there[place] = True
        probabilities = None
        if "probabilities" in rows.columns and rows["probabilities"].null_count() < len(rows):
            given = rows.select("n", "probabilities").drop_nulls()
            probabilities = np.full((n, CLASSES), 1 / CLASSES, np.float32)
            probabilities[given["n"].to_numpy()] = given["probabilities"].explode().to_numpy().reshape(-1, CLASSES)
        spread = spread_out(column("spread"))
        spread[~(spread > 0)] = np.nan
        return cls(there, spread_out(rows["estimate"]), spread, probabilities)

    def at(self, places: Ints) -> _View:
        own = None if self.probabilities is None else self.probabilities[places]
        return _View(self.there[places], self.estimate[places], self.spread[places], own)


class _Errors:
    """For one estimator: its mean estimate at each true age, and the spread of its errors there."""

    def __init__(self, view: _View) -> None:
        self.bias = YEARS.astype(float)
        self.scale = np.full(CLASSES, 10.0)
        known = view.spread[np.isfinite(view.spread)]
        self.usual = float(np.median(known)) if len(known) else 1.0

    def width(self, view: _View) -> Floats:
        """The outlier weight of each record, (N,): the square root of its spread divided by the estimator's usual
        spread."""
        return np.sqrt(np.nan_to_num(view.spread / self.usual, nan=1.0).clip(0.2, 5.0))

    def fit(self, claims: Ints, view: _View, right: Floats) -> None:
        """Weighted local linear fits of the estimates by claimed age, and the spread around them.

        right: (N,) the probability that a claim is right. Without records, no bias and a spread of 10 years.
        """
        there, width = view.there, self.width(view)
        ages, values, width = claims[there], view.estimate[there], width[there]
        far = (values - self.bias[ages]) / (self.scale[ages] * width)
        weight = right[there] * (FREEDOM + 1) / (FREEDOM + far**2) / width**2  # from the EM for the t distribution
        count = np.bincount(ages, weight, minlength=CLASSES) + 0.02
        total = np.bincount(ages, weight * values, minlength=CLASSES) + 0.02 * YEARS
        kernel = np.exp(-0.5 * ((YEARS[:, None] - YEARS) / BANDWIDTH) ** 2)
        shift = YEARS - YEARS[:, None]
        zero, one, two = (kernel * shift**power @ count for power in range(3))
        level, slope = kernel @ total, kernel * shift @ total
        self.bias = np.maximum.accumulate((two * level - one * slope) / (zero * two - one**2))
        squares = np.bincount(ages, weight * (values - self.bias[ages]) ** 2, minlength=CLASSES)
        plain = np.bincount(ages, right[there], minlength=CLASSES)
        self.scale = np.sqrt((kernel @ squares + 2 * 100) / (kernel @ plain + 2))

    def log_likelihood(self, view: _View) -> Floats:
        """(N, 100): the likelihood of the estimate at every true age."""
        scale = self.scale * self.width(view)[:, None]
        far = (view.estimate[:, None] - self.bias) / scale
        return -(FREEDOM + 1) / 2 * np.log1p(far**2 / FREEDOM) - np.log(scale)


class _Model:
    """The mixture. weights: of each source. prior: (100,) turns the product of the sources into a posterior.

    An estimator has two sources: its estimate with its fitted errors, and its own probabilities, which for some
    estimators are posteriors and for others mean little."""

    def __init__(self, claims: Ints, views: list[_View]) -> None:
        self.errors = [_Errors(view) for view in views]
        sources = len(views) + sum(view.probabilities is not None for view in views)
        self.weights = np.full(sources, 1 / np.sqrt(max(1, sources)))
        self.prior = np.full(CLASSES, 1 / CLASSES)
        self.wrong_share = 0.1
        self.wrong_claims = np.full(CLASSES, 1 / CLASSES)
        self.random_claims = EVEN / CLASSES + (1 - EVEN) * np.bincount(claims, minlength=CLASSES) / max(1, len(claims))
        self.learned = [_learned_at_random(view, self.random_claims) for view in views]
        wrong = np.full(len(claims), self.wrong_share)
        own = self._own(views)
        for turn in range(ROUNDS if len(claims) else 0):
            for errors, view in zip(self.errors, views, strict=True):
                errors.fit(claims, view, 1 - wrong)
            says = np.stack([*self._estimates(views), *own])
            if turn % 2:
                self._weigh(claims, says)
            posterior = self._join(says)
            wrong = self.wrong(posterior, claims)
            self._update_priors(claims, posterior, wrong)

    def _estimates(self, views: list[_View]) -> list[Floats]:
        """For each estimator (N, 100): the log likelihood of its estimate at every age; 0 if it has none."""
        return [
            np.where(view.there[:, None], errors.log_likelihood(view), 0)
            for errors, view in zip(self.errors, views, strict=True)
        ]

    def _own(self, views: list[_View]) -> list[Floats]:
        """For each estimator with probabilities (N, 100): their logarithm, less what random claims taught it.

        An estimator that was trained on claims of which some are wrong gives their share of probability to ages at
        random. Left in, a wrong claim would seem as probable as the claims that it was trained on are wrong."""
        found = []
        for view, share in zip(views, self.learned, strict=True):
            if view.probabilities is not None:
                rest = np.maximum(view.probabilities - share * self.random_claims, 0)
                rest /= np.maximum(rest.sum(1, keepdims=True), 1e-12)
                found.append(np.log((1 - FLOOR) * rest + FLOOR / CLASSES))
        return found

    def posterior(self, views: list[_View]) -> Floats:
        """(N, 100): the probability of every age, from the estimates alone."""
        return self._join(np.stack([*self._estimates(views), *self._own(views)]))

    def wrong(self, posterior: Floats, claims: Ints) -> Floats:
        """(N,): the probability that the claim is wrong."""
        wrong = self.wrong_share * self.wrong_claims[claims]
        right = (1 - self.wrong_share) * posterior[np.arange(len(claims)), claims]
        return wrong / (wrong + right)

    def _join(self, says: Floats) -> Floats:
        joined = np.log(self.prior) + np.tensordot(self.weights, says, 1)
        joined = np.exp(joined - joined.max(1, keepdims=True))
        return joined / joined.sum(1, keepdims=True)

    def _weigh(self, claims: Ints, says: Floats) -> None:
        """One step for each estimator's weight, towards the largest likelihood of the claims."""
        for n in range(len(self.weights)):
            tried = []
            for step in WEIGHTS:
                weights = self.weights.copy()
                self.weights[n] *= step
                at_claim = self._join(says)[np.arange(len(claims)), claims]
                mixed = (1 - self.wrong_share) * at_claim + self.wrong_share * self.wrong_claims[claims]
                tried.append(np.log(mixed).sum())
                self.weights = weights
            self.weights[n] = np.clip(self.weights[n] * WEIGHTS[int(np.argmax(tried))], 0.01, 2.0)

    def _update_priors(self, claims: Ints, posterior: Floats, wrong: Floats) -> None:
        """The share of wrong claims, their distribution, and the prior that gives right claims their own
        distribution."""
        self.wrong_share = float((wrong.sum() + 1) / (len(claims) + 20))
        found = _smooth(np.bincount(claims, wrong, minlength=CLASSES), WRONG_BANDWIDTH) + 1e-3
        self.wrong_claims = EVEN / CLASSES + (1 - EVEN) * found / found.sum()
        right = _smooth(np.bincount(claims, 1 - wrong, minlength=CLASSES), 3.0) + PRIOR_CLAIMS
        expected = _smooth((posterior * (1 - wrong)[:, None]).sum(0), 3.0) + PRIOR_CLAIMS
        self.prior *= np.sqrt(right / expected)
        self.prior /= self.prior.sum()


def _learned_at_random(view: _View, random_claims: Floats) -> float:
    """The share of random claims among those that an estimator was trained on, as its own probabilities tell: their sum
    beyond FAR years from its median, divided by that of random claims there. random_claims: (100,)."""
    if view.probabilities is None or not view.there.any():
        return 0.0
    given = np.asarray(view.probabilities[view.there], np.float64)
    far = np.abs(YEARS - (np.cumsum(given, 1) >= 0.5).argmax(1)[:, None]) > FAR
    return float(min(given[far].sum() / max((far @ random_claims).sum(), 1e-12), 0.5))


def _smooth(values: NDArray[Any], bandwidth: float) -> Floats:
    """(100,) smoothed over neighbouring years; the sum stays the same."""
    kernel = np.exp(-0.5 * ((YEARS[:, None] - YEARS) / bandwidth) ** 2)
    return np.asarray(kernel / kernel.sum(0) @ values)


def _median(posterior: Floats) -> Floats:
    """The median in years of each row of probabilities, between years by linear interpolation. posterior: (N, 100)."""
    up_to = np.cumsum(posterior, 1)
    year = np.argmax(up_to >= 0.5, axis=1)
    rows = np.arange(len(posterior))
    inside = posterior[rows, year]
    below = up_to[rows, year] - inside
    return np.asarray((year - 0.5 + (0.5 - below) / inside).clip(0, CLASSES - 1))


def derive_ages(manifest: Path, request: Request) -> Derived | None:
    """The suspicion of each claimed age, from all estimators together, and the agreement of a subject's pictures; None
    if nothing estimates ages."""
    if not request.estimator_names:
        return None
    with open_manifest(manifest) as con:
        rows = estimate_rows(con, request.estimator_names)
    suspect = label_suspicion(rows)
    recognised = rows.filter("recognised").select("record_id", "subject_id", "sha256", "age").unique("record_id")
    offsets = age_offsets(recognised.join(suspect.select("record_id", estimated="suggested_age"), on="record_id"))
    return Derived({"suspicion": suspect, "age_offset": offsets})


def estimate_rows(con: duckdb.DuckDBPyConnection, estimators: Sequence[str]) -> pl.DataFrame:
    """Estimates for the chosen face, in order of record and estimator: record_id, group_id, subject_id, sha256,
    age (the claimed one), estimator, estimate, spread (years), probabilities (of the ages 0 to 99, if the
    estimator gives them), recognised (whether the face is known from the subject's other pictures), sure (whether
    nothing suggests that it may be somebody else's)."""
    return query(
        con,
        """SELECT record_id, group_id, subject_id, m.sha256, record.age, estimator, e.age AS estimate, spread,
                  probabilities, coalesce(i.identity_face_no = m.face_no, FALSE) AS recognised,
                  CASE WHEN i.record_id IS NULL THEN m.face_chosen_by = 'release box' OR f.faces = 1
                       ELSE coalesce(i.identity_face_no = m.face_no, FALSE) END AS sure
           FROM record JOIN meant_face m USING (record_id)
           JOIN age_estimate e ON e.sha256 = m.sha256 AND e.face_no = m.face_no
           JOIN (SELECT sha256, count(*) AS faces FROM face_in_force GROUP BY sha256) f ON f.sha256 = m.sha256
           LEFT JOIN record_group USING (record_id) LEFT JOIN identity i USING (record_id)
           WHERE list_contains($estimators, estimator) AND e.age IS NOT NULL
           ORDER BY record_id, estimator""",
        {"estimators": list(estimators)},
    )
