"""Agreement by coefficients from libraries, against numbers worked by hand."""

from __future__ import annotations

import polars as pl
import pytest

from agebench.review.agreement import agreement
from agebench.review.decisions import Decision, new_decision

RECORDS = pl.DataFrame(
    {
        "record_id": range(20),
        "part": "p",
        "path": [str(i) for i in range(20)],
        "age": 30,
        "sha256": None,
        "looked": True,
    },
    schema_overrides={"sha256": pl.Utf8, "age": pl.Int32},
)


def said(by: str, answers: str, **values: object) -> list[Decision]:
    """One answer a letter: k keep, r reject, . none, digits an age of 30 plus that."""
    return [
        new_decision(by=by, kind="decision", part="p", path=str(i),
                     **({"answer": "keep"} if c == "k" else {"answer": "reject"} if c == "r"
                        else {"answer": "age", "age": 30 + int(c)}))
        for i, c in enumerate(answers) if c != "."
    ]  # fmt: skip


def test_two_reviewers_have_cohens_kappa() -> None:
    found = agreement(said("anna", "kkkkkrrrkk...") + said("otto", "kkkkrrrkk0r.."), RECORDS)
    # both answered 10: agreed 8; chance .7*.7 + .3*.3 = .58
    assert found.measure == "Cohen's kappa"
    assert found.value == pytest.approx((0.8 - 0.58) / (1 - 0.58))
    assert (found.several, found.agreed, found.reviewers) == (10, 8, {"anna": 10, "otto": 11})
    assert [d["path"] for d in found.disagreements] == ["4", "7"]
    assert [a["answer"] for a in found.disagreements[0]["answers"]] == ["keep 30", "reject"]


def test_more_reviewers_have_krippendorffs_alpha() -> None:
    """1 - observed / expected disagreement, counted by hand over the pairs of every record with several answers."""
    found = agreement(said("a", "krkkrrkk.") + said("b", "krkkrkkk.") + said("c", "kr.kr.k1r"), RECORDS)
    # 22 values: k 14, r 7, 31 once; the sixth record has r, k (2 pairs); the eighth k, k, 31 (4 pairs, halved)
    disagreement = (2 / 1 + 4 / 2) / 22
    expected = (2 * 14 * 7 + 2 * 14 * 1 + 2 * 7 * 1) / (22 * 21)
    assert found.measure == "Krippendorff's alpha"
    assert found.value == pytest.approx(1 - disagreement / expected)
    assert found.several == 8


def test_a_settled_record_is_no_disagreement_any_more_and_no_agreement() -> None:
    lines = said("anna", "kkr") + said("otto", "krk")
    assert agreement(lines, RECORDS).settled == 0
    apart = [d.id for d in lines if d.path == "1"]
    lines += [new_decision(by="zoe", kind="decision", part="p", path="1", answer="keep", settles=apart)]
    found = agreement(lines, RECORDS)
    assert (found.several, found.agreed, found.settled) == (3, 1, 1)
    assert [d["path"] for d in found.disagreements] == ["2"]
    assert found.measure == "Cohen's kappa"


def test_where_nothing_can_be_compared_there_is_no_number() -> None:
    assert agreement([], RECORDS).measure is None
    alone = agreement(said("anna", "krk"), RECORDS)
    assert (alone.several, alone.measure, alone.value) == (0, None, None)
    same = agreement(said("anna", "kk") + said("otto", "kk"), RECORDS)
    assert (same.measure, same.value, same.agreed) == ("Cohen's kappa", None, 2)
    assert agreement(said("a", "kk") + said("b", "kk") + said("c", "kk"), RECORDS).value is None
