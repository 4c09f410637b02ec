"""The audit: a fair sample, and an interval that holds the truth although reviewers make mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agebench.errors import DecisionError, NothingCurated
from agebench.review.audit import (
    Sample,
    allocate,
    changed_since,
    describe_sample,
    draw_sample,
    estimate,
    foremost,
    read_sample,
    sample_file,
    samples_of,
    to_read,
    write_sample,
)
from agebench.review.decisions import Decision, new_decision
from agebench.review.label_errors import posterior

SHA = "a" * 64


def claims(path: str) -> int:
    return int(path.removesuffix(".jpg")) ** 2 % 100


def kept(n: int) -> pl.DataFrame:
    paths = [f"{i}.jpg" for i in range(n)]
    return pl.DataFrame({"part": "p", "path": paths, "age": [claims(path) for path in paths], "sha256": SHA})


def read_as(record: dict, answer: str, by: str = "anna", **values: object) -> Decision:
    return new_decision(
        by=by, kind="audit", part=record["part"], path=record["path"], sha256=SHA, answer=answer,
        **{"reading": record.get("reading", 1), "claimed": claims(record["path"]), "looks": 40} | values
    )  # fmt: skip


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=12), st.integers(0, 500))
def test_every_stratum_has_its_share_to_one(sizes: list[int], n: int) -> None:
    n = min(n, sum(sizes))
    given_ = allocate(sizes, n)
    assert sum(given_) == n
    assert all(abs(g - n * s / sum(sizes)) < 1 and g <= s for g, s in zip(given_, sizes, strict=True))


def test_a_sample_is_the_same_anywhere_and_has_every_decade() -> None:
    rows = kept(5000)
    one = draw_sample(rows, n=200, seed=3, curated="x")
    two = draw_sample(rows.sample(fraction=1, shuffle=True, seed=1), n=200, seed=3, curated="x")
    assert (one.records, one.strata) == (two.records, two.strata)
    assert one.records != draw_sample(rows, n=200, seed=4, curated="x").records
    assert len({r["path"] for r in one.records}) == 200
    decades = [r["age"] // 10 * 10 for r in one.records]
    for stratum in one.strata:
        assert decades.count(stratum["decade"]) == stratum["drawn"]
        assert abs(stratum["drawn"] - 200 * stratum["kept"] / 5000) < 1
    assert 80 <= sum(r["readings"] == 2 for r in one.records) <= 120
    assert len(draw_sample(rows.head(30), n=200, seed=0, curated="x").records) == 30
    with pytest.raises(NothingCurated):
        draw_sample(rows.head(0), n=200, seed=0, curated="x")


def test_why_a_sample_makes_more_readings_than_it_has_records_is_told() -> None:
    sample = draw_sample(kept(5000), n=20, seed=3, curated="x")
    twice = sum(r["readings"] == 2 for r in sample.records)
    assert 0 < twice < 20
    told = describe_sample(sample)
    for part in ("20 of the 5,000 kept records", f"{twice} of them", "read twice", "readers make mistakes",
                 f"makes {20 + twice} readings"):  # fmt: skip
        assert part in told


def test_a_sample_is_kept_in_a_file(tmp_path: Path) -> None:
    manifest = tmp_path / "a.duckdb"
    sample = draw_sample(kept(50), n=10, seed=1, curated="x")
    file = sample_file(manifest, 10, 1)
    write_sample(file, sample)
    assert read_sample(file) == sample
    assert samples_of(manifest) == [sample]
    for bad in ("", "{}", '{"n": 1}', "[]"):
        file.write_text(bad)
        with pytest.raises(DecisionError, match="not an audit sample"):
            read_sample(file)


def test_what_is_to_be_read_comes_once_and_then_again_and_is_blind() -> None:
    sample = draw_sample(kept(50), n=10, seed=1, curated="x")
    twice = sum(r["readings"] == 2 for r in sample.records)
    waiting = to_read(sample, [])
    assert [r["reading"] for r in waiting] == [1] * 10 + [2] * twice
    assert set(waiting[0]) == {"part", "path", "sha256", "age", "looks", "reading"}
    assert {(r["age"], r["looks"]) for r in waiting} == {(None, None)}
    lines = [read_as(r, "keep") for r in waiting[:10]]
    assert len(to_read(sample, lines)) == twice
    again = [r for r in sample.records if r["readings"] == 2]
    lines.append(read_as(again[0], "wrong", by="otto"))
    assert len(to_read(sample, lines)) == twice - 1
    undone = [*lines, new_decision(by="otto", kind="undo", part="p", path=again[0]["path"], undoes=lines[-1].id)]
    assert len(to_read(sample, undone)) == twice
    mixed = [*lines[:9], read_as(sample.records[9], "keep", by="otto")]
    own = [r["path"] for r in to_read(sample, mixed, by="otto")]
    assert sample.records[9]["path"] not in own[: twice - (sample.records[9]["readings"] == 2)]


def test_every_reading_counts_and_what_is_called_wrong() -> None:
    sample = draw_sample(kept(50), n=4, seed=1, curated="fp")
    a, b, c, _ = sample.records
    lines = [read_as(a, "keep"), read_as(a, "wrong", by="otto"), read_as(b, "age", age=b["age"]),
             read_as(b, "age", age=(b["age"] + 1) % 100, reading=2),
             read_as(c, "keep"), read_as(c, "wrong").model_copy(update={"sha256": "b" * 64}),
             read_as({"part": "p", "path": "1000.jpg"}, "wrong"),
             read_as(c, "wrong").model_copy(update={"kind": "decision"})]  # fmt: skip
    found = estimate(sample, lines)
    assert (found.n, found.read, found.readings, found.called_wrong, found.curated) == (4, 3, 5, 2, "fp")
    assert found.interval is not None
    assert found.wrong is not None
    assert found.interval[0] < found.wrong < found.interval[1]
    nothing = estimate(sample, [])
    assert (nothing.wrong, nothing.interval, nothing.read) == (None, None, 0)


def test_an_audit_that_is_begun_does_not_take_the_place_of_one_that_is_done() -> None:
    done, begun = (draw_sample(kept(500), n=n, seed=n, curated="fp") for n in (4, 6))
    lines = [read_as(r, "keep") for r in done.records]
    other = next(r for r in begun.records if r["path"] not in {d["path"] for d in done.records})
    lines.append(read_as(other, "wrong"))
    found = foremost([begun, done], lines, [None, None])
    assert found is not None
    assert (found.n, found.read) == (4, 4)
    assert foremost([begun, done], [], [None, None]) is None
    assert foremost([], lines, []) is None


def test_a_reading_that_was_shown_another_age_is_none() -> None:
    sample = draw_sample(kept(50), n=4, seed=1, curated="fp")
    one = sample.records[0]
    assert estimate(sample, [read_as(one, "keep", claimed=one["age"])]).readings == 1
    other = read_as(one, "keep", claimed=(one["age"] + 1) % 100)  # as a later audit drew it, after somebody decided
    assert estimate(sample, [other]).readings == 0
    assert len(to_read(sample, [other])) == sum(r["readings"] for r in sample.records)


def test_a_reviewer_who_corrects_a_reading_counts_once() -> None:
    sample = draw_sample(kept(50), n=4, seed=1, curated="fp")
    one = next(r for r in sample.records if r["readings"] == 2)
    lines = [read_as(one, "wrong"), read_as(one, "keep")]
    assert (estimate(sample, lines).readings, estimate(sample, lines).called_wrong) == (1, 0)

    def left(by: str | None) -> list[int]:
        return [r["reading"] for r in to_read(sample, lines, by) if r["path"] == one["path"]]

    assert (left("anna"), left("otto"), left(None)) == ([2], [1], [2])  # the second of anna, the first of otto
    lines.append(read_as(one, "wrong", reading=2))
    assert (estimate(sample, lines).readings, estimate(sample, lines).called_wrong, left("otto")) == (2, 1, [])
    lines.append(read_as(one, "keep", reading=2))
    assert (estimate(sample, lines).readings, estimate(sample, lines).called_wrong) == (2, 0)


def test_records_whose_picture_has_changed_are_left_out_so_that_an_audit_can_end() -> None:
    sample = draw_sample(kept(50), n=4, seed=1, curated="fp")
    present: dict[tuple[str, str], str | None] = {(r["part"], r["path"]): r["sha256"] for r in sample.records}
    assert changed_since(sample, present) == changed_since(sample, None) == set()
    lines = [read_as(r, "keep", by=by) for r in sample.records for by in ("anna", "otto")]
    first, second = list(present)[:2]
    present[first] = "b" * 64
    del present[second]
    assert changed_since(sample, present) == {first, second}
    assert {(r["part"], r["path"]) for r in to_read(sample, [], "anna", present)} == set(present) - {first}
    found = estimate(sample, lines, present)
    assert (found.n, found.changed, found.read, found.readings) == (4, 2, 2, 4)
    assert to_read(sample, lines, None, present) == []


def test_of_a_name_that_occurs_twice_the_first_is_drawn() -> None:
    rows = pl.concat([kept(20), kept(20).with_columns(age=(pl.col("age") + 10) % 100)])
    drawn = draw_sample(rows, n=40, seed=1, curated="x")
    assert drawn.records == draw_sample(kept(20), n=40, seed=1, curated="x").records
    assert (drawn.kept, len(drawn.records)) == (20, 20)


def test_samples_of_another_manifest_are_not_taken(tmp_path: Path) -> None:
    sample = draw_sample(kept(50), n=10, seed=1, curated="x")
    for name in ("a1.duckdb", "a[1].duckdb", "b", "b.duckdb"):
        write_sample(sample_file(tmp_path / name, 10, 1), sample)
    assert len(list(tmp_path.iterdir())) == 4
    for name in ("a1.duckdb", "a[1].duckdb", "b", "b.duckdb"):
        assert len(samples_of(tmp_path / name)) == 1


def test_readings_without_mistakes_give_the_beta_posterior() -> None:
    """Where five readings of each record agree, the mistake rate matters no more, and p is Beta(1 + k, 1 + n - k)."""
    from scipy.stats import beta

    found = posterior([(5, 5)] * 12 + [(0, 5)] * 88).wrong
    assert found == pytest.approx(beta.ppf([0.025, 0.5, 0.975], 13, 89), abs=0.003)


def test_the_interval_begins_at_0_where_nothing_speaks_against_it() -> None:
    assert posterior([(0, 1)] * 100 + [(0, 2)] * 100).interval[0] == 0
    some = posterior([(0, 2)] * 80 + [(2, 2)] * 20)
    assert some.interval == (some.wrong[0], some.wrong[2])


@pytest.mark.parametrize("true", [0, 0.002, 0.01, 0.05, 0.15])
def test_the_interval_holds_the_truth_although_reviewers_make_mistakes(true: float) -> None:
    """n = 200, half of them read twice, 5 % mistakes: 93 of 100 seeds at least."""
    held, widths = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        readings = 1 + (rng.random(200) < 0.5)
        wrong = rng.random(200) < true
        said = [
            (int((rng.random(r) < np.where(w, 0.95, 0.05)).sum()), int(r)) for w, r in zip(wrong, readings, strict=True)
        ]
        low, high = posterior(said).interval
        held += low <= true <= high
        widths.append(high - low)
    print(f"true {true:.0%}: held {held} of 100, width {np.mean(widths):.3f}")
    assert held >= 93
    assert np.mean(widths) < 0.15


def test_the_whole_way_from_sample_to_interval() -> None:
    """The same from a made manifest of 3,000 kept records with 5 % wrong ages, through sample, answers and estimate."""
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(1000 + seed)
        rows = kept(3000)
        wrong = dict(zip(rows["path"], rng.random(3000) < 0.05, strict=True))
        sample: Sample = draw_sample(rows, n=200, seed=seed, curated="x")
        lines = [
            read_as(
                r,
                "wrong" if bool(wrong[r["path"]]) != bool(rng.random() < 0.05) else "keep",
                by=rng.choice(["a", "b"]),
            )
            for r in to_read(sample, [])
        ]
        low, high = estimate(sample, lines).interval or (1, 0)
        held += low <= float(np.mean(list(wrong.values()))) <= high
    assert held >= 37
