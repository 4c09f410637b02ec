"""From a recipe's words to verdicts: what is allowed, what is refused and how it is told, and what NULL does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench import resources
from agebench.curation import verdicts
from agebench.curation.checks import compile_recipe, expression_columns
from agebench.datasets.records import SCHEMA
from agebench.errors import RecipeError
from agebench.manifest import summary
from agebench.manifest.evidence import COLUMNS, observers_run
from agebench.manifest.export import verdict_rows
from agebench.manifest.records import write_records
from agebench.manifest.renewal import mark_made
from agebench.manifest.store import create, open_manifest, set_meta
from agebench.recipes import Check, CurationRecipe, load_curation_recipe

ALL = {column.observer for column in COLUMNS.values()}
PIPELINES = sorted(resources.available("pipelines"))


def recipe(*checks: dict[str, Any]) -> CurationRecipe:
    full = [Check(**({"name": f"c{i}", "reason": "r"} | check)) for i, check in enumerate(checks)]
    return CurationRecipe(name="mine", dataset="fg-net", title="t", check=full)


def manifest_of(folder: Path, n: int, **columns: Any) -> Path:
    path = folder / "a.duckdb"
    create(path, "fg-net")
    frame = pl.DataFrame({"part": ["p"] * n, "path": [f"{i:03d}" for i in range(n)]} | columns, strict=False)
    frame = frame.select(pl.col(k).cast(t) if k in frame.columns else pl.lit(None, t).alias(k) for k, t in
                         SCHEMA.items())  # fmt: skip
    with open_manifest(path, write=True) as con:
        write_records(con, frame, {})
    return path


def judged(path: Path, made: CurationRecipe) -> dict[str, tuple[str, str, str]]:
    """path → (verdict, checks, reasons in words)."""
    with open_manifest(path, write=True) as con:
        checks = compile_recipe(made, "mine.toml", observers_run(con))
        verdicts.store_evidence(con)
        verdicts.judge(con, checks, recipe="mine", recipe_digest="x")
        mark_made(con, "verdicts", "test")
    with open_manifest(path) as con:
        rows = verdict_rows(con).select("path", "verdict", "reasons", "details").iter_rows()
        return {name: (verdict, reasons, details) for name, verdict, reasons, details in rows}


# --- shipped recipes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PIPELINES)
def test_every_shipped_recipe_compiles_and_runs_dry(name: str, tmp_path: Path) -> None:
    made = load_curation_recipe(name)
    checks = compile_recipe(made, name, ALL)
    assert [c.name for c in checks] == [c.name for c in made.check]
    assert all(c.runs for c in checks)
    path = manifest_of(tmp_path, 3, age=[3, None, 200])
    with open_manifest(path, write=True) as con:
        verdicts.store_evidence(con)
        verdicts.judge(con, checks, recipe=name, recipe_digest="x")
        mark_made(con, "verdicts", "test")
    with open_manifest(path) as con:
        assert sum(summary.counts(con).values()) == 3


@pytest.mark.parametrize("name", PIPELINES)
def test_every_fault_of_a_file_has_its_check_in_every_recipe_that_looks_at_files(name: str) -> None:
    from agebench.pictures import FAULTS

    predicates = " ".join(check.predicate for check in load_curation_recipe(name).check)
    if "file_error" in predicates:
        assert [fault for fault in FAULTS if f"'{fault}'" not in predicates] == []


# --- what an expression may be ---------------------------------------------------------------------------------

GOOD = [
    "age > 1", "age IS NULL OR age NOT BETWEEN 0 AND 99", "file_error IN ('a', 'b')", "NOT grayscale", "-age > 3",
    "CAST(age AS DOUBLE) / 2 > 1", "age::INTEGER > 1", "try_cast(name AS INTEGER) = 3", "lower(name) LIKE 'a%'",
    "dob > DATE '1990-01-01'", "CASE WHEN age > 1 THEN faces = 0 ELSE NULL END",
    "abs(age - photo_year + year(dob)) > 2",
    "coalesce(age, 0) = 0", "age IS DISTINCT FROM 3", "(age IN (1, 2))", "age > 1 -- a comment", "age > 1 /* note */",
    "age >\n1", "face_score = '-infinity'::DOUBLE", "isinf(face_score)",
]  # fmt: skip


@pytest.mark.parametrize("expression", GOOD)
def test_plain_scalar_expressions_are_taken(expression: str) -> None:
    [check] = compile_recipe(recipe({"reject": expression}), "mine.toml", ALL)
    assert check.predicate == expression


BAD = {
    "a subquery": "age > (SELECT 1)",
    "exists": "EXISTS (SELECT 1 FROM record)",
    "in a subquery": "age IN (SELECT age FROM record)",
    "an aggregate": "age > max(age)",
    "count": "count(*) > 1",
    "a filtered aggregate": "count(*) FILTER (WHERE age > 1) > 0",
    "a window": "row_number() OVER () > 1",
    "a star": "*",
    "columns": "COLUMNS('a.*') > 1",
    "a parameter": "age > $1",
    "a question mark": "age > ?",
    "a named parameter": "age > $age",
    "a lambda": "list_transform([age], x -> x) IS NULL",
    "a bare lambda": "x -> x",
    "a python lambda": "lambda x: x",
    "read_text": "read_text('/etc/passwd') IS NOT NULL",
    "read_text in a subquery": "(SELECT content FROM read_text('/etc/passwd')) IS NOT NULL",
    "query": "query('SELECT 1') > 0",
    "random": "random() > 0.5",
    "repeat": "length(repeat('x', 1000000000)) > 1",
    "a variable": "getvariable('x') = 1",
    "a setting": "current_setting('threads') = 1",
    "a regular expression": "regexp_matches(name, '(a+)+$')",
    "a sequence": "nextval('s') > 1",
    "two statements": "age > 1; DROP TABLE record",
    "two expressions": "age > 1, age > 2",
    "an order": "age > 1 ORDER BY 1",
    "a from": "age > 1 FROM record",
    "a union": "age > 1 UNION SELECT true",
    "a limit": "age > 1 LIMIT 1",
    "closing too soon": "1) OR (1",
    "closing and selecting": "true) FROM record WHERE (true",
    "an open comment": "age > 1 /*",
    "closing after a comment": "1 --\n) OR (1",
    "nothing": "",
    "blanks": "   ",
    "only a comment": "-- nothing",
    "a statement": "DROP TABLE record",
    "a cast to json": "age::JSON IS NULL",
    "a cast to a decimal": "age::DECIMAL(3, 1) > 1",
    "a cast to a list": "CAST(name AS INTEGER[]) IS NULL",
    "a cast to a struct": "CAST(name AS STRUCT(a INTEGER)) IS NULL",
    "a cast to an unknown type": "age::foo IS NULL",
    "a cast to a regclass": "'record'::regclass IS NULL",
    "a cast of another schema": "CAST(age AS main.integer) > 1",
    "a blob": "name::BLOB IS NULL",
    "an interval": "dob > dob - INTERVAL '1 day'",
    "a qualified column": "evidence.age > 1",
    "a column of another table": "main.record.age > 1",
    "a qualified function": "main.abs(age) > 1",
    "a catalogue's function": "system.main.abs(age) > 1",
    "an ordered function": "abs(age ORDER BY age) > 1",
    "a distinct function": "abs(DISTINCT age) > 1",
    "an element": "[age][1] > 1",
    "a field": "{'a': age}.a > 1",
    "a position": "#1 > 1",
    "a rowid": "rowid > 1",
    "a collation": "name COLLATE NOCASE = 'x'",
    "another case": "AGE > 1",
    "a word as a number": "sqrt(name) > 1",
    "words that are no date": "name + 1 > 2",
}


@pytest.mark.parametrize("expression", BAD.values(), ids=BAD.keys())
def test_everything_else_is_refused_before_it_runs(expression: str) -> None:
    with pytest.raises(RecipeError, match=r"mine\.toml has 1 mistake") as error:
        compile_recipe(recipe({"reject": expression}), "mine.toml", ALL)
    assert "check 'c0': reject = " in error.value.message
    assert error.value.exit_status == 2


@pytest.mark.parametrize("value", ["(SELECT 1)", "random()", "agee"])
def test_values_are_held_to_the_same_rules(value: str) -> None:
    with pytest.raises(RecipeError, match="value = "):
        compile_recipe(recipe({"reject": "age > 1", "value": value}), "mine.toml", ALL)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("agee", "age"),
        ("face_sise", "face_size"),
        ("fcaes", "faces"),
        ("sharpnes", "sharpness"),
        ("evidence.ages", "age"),
    ],
)
def test_an_unknown_column_names_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(RecipeError, match=rf"no column '{wrong}'\. Did you mean .*'{near}'"):
        expression_columns(f"{wrong} > 1", "reject")


def test_all_mistakes_of_a_recipe_are_told_at_once() -> None:
    with pytest.raises(RecipeError) as error:
        compile_recipe(
            recipe(
                {"reject": "agee > 1 AND random() > 0.5 AND facez = 1", "reason": "{nam}", "value": "x"},
                {"review": "age > 1"},
                {"review": "age > (SELECT 1)", "reason": "{age:x}"},
            ),
            "mine.toml",
            ALL,
        )
    text = error.value.message
    assert "mine.toml has 5 mistake(s)" in text
    for told in ("'agee'", "random()", "'facez'", "no column 'nam'", "no column 'x'", "check 'c2': review =",
                 "subquery",
                 "the format of 'age'"):  # fmt: skip
        assert told in text, told
    assert "'c1'" not in text


# --- reasons ---------------------------------------------------------------------------------------------------


def test_reasons_are_filled_in_from_the_evidence(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 2, age=[-1234, None], face_score=[0.25, -math.inf], name=["O'Neil {x}", None])
    found = judged(
        path,
        recipe({
            "reject": "record_id >= 0",
            "reason": "{{it's}} {name}: {age}, {age:,}, {face_score:.1f}, {face_score:.0%}; \"{dob}\"",
        }),
    )  # fmt: skip
    assert found["000"][2] == "{it's} O'Neil {x}: -1234, -1,234, 0.2, 25%; \"unknown\""
    assert found["001"][2].startswith("{it's} unknown: unknown, unknown, -inf, ")


@pytest.mark.parametrize(
    "reason",
    ["{agee}", "{}", "{0}", "{age", "age}", "{age!r}", "{age!s:,}", "{age:x}", "{age:.3000f}", "{age:.²f}",
     "{age:{age}}",
     "{age.real}", "{age[0]}", "{name:.1f}", "{dob:,}"],
)  # fmt: skip
def test_a_reason_of_another_kind_is_refused(reason: str) -> None:
    with pytest.raises(RecipeError, match="reason = "):
        compile_recipe(recipe({"reject": "age > 1", "reason": reason}), "mine.toml", ALL)


# --- verdicts --------------------------------------------------------------------------------------------------


def test_null_does_not_fire(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 3, age=[5, 50, None], second_face_score=[1.0, math.nan, None])
    found = judged(
        path, recipe({"reject": "age > 40"}, {"reject": "second_face_score > 0.4"}, {"review": "NOT age > 40"})
    )
    assert {k: v[1] for k, v in found.items()} == {"000": "c1;c2", "001": "c0", "002": ""}
    assert {k: v[0] for k, v in found.items()} == {"000": "reject", "001": "reject", "002": "keep"}


def test_a_comment_at_the_end_hides_nothing(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 2, age=[5, 50])
    found = judged(path, recipe({"reject": "age > 40 -- the old", "value": "age -- years"}))
    assert [v[0] for v in found.values()] == ["keep", "reject"]


def test_a_check_whose_observer_has_not_run_says_nothing_and_is_told(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 2, age=[5, 50])
    found = judged(path, recipe({"reject": "age > 40"}, {"reject": "faces = 0 OR age > 0"}, {"review": "width < 9"}))
    assert [v[0] for v in found.values()] == ["keep", "reject"]
    with open_manifest(path) as con:
        assert summary.not_run(con) == ["c1", "c2"]
        assert summary.reasons(con) == {"c0": 1, "c1": 0, "c2": 0}
        status = dict(summary.funnel(con).select("step", "status").iter_rows())
    assert (status["c0"], status["c1"]) == ("ran", "not run")


def test_the_funnel_counts_every_record_once(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 100, age=list(range(100)))
    judged(path, recipe({"review": "age < 50"}, {"reject": "age < 20"}, {"reject": "age < 30"}, {"review": "age > 90"}))
    with open_manifest(path) as con:
        steps = dict(summary.funnel(con).select("step", "records").iter_rows())
        counts = summary.counts(con)
    assert steps == {"records": 100, "c0": 20, "c1": 20, "c2": 10, "c3": 9, "kept": 41}
    assert counts == {"keep": 41, "review": 29, "reject": 30}


def test_a_predicate_that_fails_on_the_data_names_its_check(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 2, age=[5, -50], name=["5", "five"])
    judged(path, recipe({"reject": "age > 40"}))
    with pytest.raises(RecipeError, match="check 'c0'"):
        judged(path, recipe({"reject": "CAST(name AS INTEGER) > 1"}))
    with open_manifest(path) as con:
        assert [c[0] for c in con.execute("SELECT predicate FROM recipe_check").fetchall()] == ["age > 40"]


def test_a_check_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest_of(
        tmp_path, 300_000, age=[i % 100 for i in range(300_000)], name=[f"{i}" + "x" * 200 for i in range(300_000)]
    )
    monkeypatch.setattr(verdicts, "JUDGING_SECONDS", 0.3)
    slow = " OR ".join(f"contains(upper(lower(name)), 'y{i}')" for i in range(25))
    with pytest.raises(RecipeError, match="took more than"):
        judged(path, recipe({"reject": slow}))


def test_before_judging_nothing_is_curated(tmp_path: Path) -> None:
    path = manifest_of(tmp_path, 2, age=[5, 50])
    with open_manifest(path, write=True) as con:
        set_meta(con, detector=None)
        assert con.execute("SELECT count(*) FROM curated").fetchall() == [(0,)]
    judged(path, recipe({"reject": "age > 40"}))
    with open_manifest(path) as con:
        assert con.execute("SELECT path, age FROM curated").fetchall() == [("000", 5)]
