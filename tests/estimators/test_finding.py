"""What a name means: a recipe without a run, a kept estimator, several matches."""

from __future__ import annotations

from pathlib import Path

import pytest

from agebench.errors import Missing, RecipeError, UsageError
from agebench.estimators.finding import find_estimator
from agebench.estimators.keeping import keep


@pytest.mark.parametrize("name", ["svr", "dex", "neighborhood-quick"])
def test_a_recipe_without_a_run_is_told_how_to_train_it(here: Path, name: str) -> None:
    with pytest.raises(Missing, match=rf"There is no run of {name}") as told:
        find_estimator(name)
    assert f"agebench train {name}" in told.value.next_step


def test_a_kept_estimator_is_found_by_its_id(here: Path) -> None:
    Path("oracle.csv").write_text("path,age\na.jpg,30\n")
    estimator = find_estimator("oracle.csv")
    folder = keep(estimator, Path("runs"))
    again = find_estimator(folder.name)
    assert type(again) is type(estimator)
    assert again.id == estimator.id == folder.name


def test_a_kept_mean_is_found_by_its_id(here: Path) -> None:
    for name in ("one", "two"):
        Path(f"{name}.csv").write_text(f"path,age\n{name}.jpg,30\n")
    mean = find_estimator("one.csv+two.csv")
    assert find_estimator(keep(mean, Path("runs")).name).id == mean.id


def test_a_kept_estimator_whose_file_is_gone_names_the_file(here: Path) -> None:
    Path("oracle.csv").write_text("path,age\na.jpg,30\n")
    folder = keep(find_estimator("oracle.csv"), Path("runs"))
    Path("oracle.csv").unlink()
    with pytest.raises((Missing, RecipeError), match=r"oracle\.csv"):
        find_estimator(folder.name).id  # noqa: B018


@pytest.mark.parametrize("name", ["+", "svr+", "+oracle.csv"])
def test_a_mean_of_nothing_is_refused(here: Path, name: str) -> None:
    Path("oracle.csv").write_text("path,age\na.jpg,30\n")
    with pytest.raises(UsageError, match="no estimator before or after"):
        find_estimator(name)
