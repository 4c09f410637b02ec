"""Pictures of one's own go the whole way by commands alone: add, curate, balance, train, evaluate, report."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from agebench.demo import draw_releases
from agebench.demo.releases import DemoReleases


def stranger(folder: Path, chips: Iterable[Path]) -> int:
    """A stranger's data set: pictures with numbers for names, and what is known of them in a CSV; how many faces."""
    (folder / "pictures" / "faces").mkdir(parents=True)
    rows = []
    for number, chip in enumerate(chips):
        age, gender = chip.name.split("_")[:2]
        shutil.copy(chip, folder / "pictures" / "faces" / f"{number:04}.jpg")
        rows.append((f"faces\\{number:04}.jpg", f"{age}.0", "mw"[int(gender == "1")], number // 2, "train"))
    faces = len(rows)
    rows[-1] = (*rows[-1][:4], "test")
    rows += [("faces\\none.jpg", "30.0", "", "", "train"), ("..\\out.jpg", "30.0", "", "", "train")]
    with (folder / "labels.csv").open("w", encoding="latin-1", newline="") as file:
        csv.writer(file, delimiter=";").writerows([("Bild", "Jahre", "Geschlecht", "Person", "Split"), *rows])
    return faces


def goes_the_whole_way(folder: Path, faces: int, detector: str, agebench: Callable) -> None:
    def run(*arguments: object) -> dict:
        done = agebench(*arguments, "--json", cwd=folder)
        assert done.status == 0, done.err
        return json.loads(done.out)

    columns = ("path=Bild", "age=Jahre", "gender=Geschlecht", "subject=Person", "male=m", "female=w")
    mapped = [word for column in columns for word in ("--map", column)]
    added = run("add", "mine", "--table", "labels.csv", "--root", "pictures", *mapped, "--role", "both")
    assert added["files"] == {"found": faces, "missing": 1, "outside_release": 1}
    curated = run("curate", "mine", "--detector", detector, "--workers", 1)
    assert (curated["records"], curated["recipe"]) == (faces + 2, "any")
    assert curated["reasons"]["missing_file"] == curated["reasons"]["path_outside_release"] == 1
    assert curated["kept"] >= 0.6 * faces
    assert run("balance", "--per-class", 2)["total"] > 0
    quick = ("--set", "train.steps=5", "--set", "train.batch=8", "--set", "train.warmup=1")
    trained = run("train", "neighborhood-quick", *quick)
    assert 0 < trained["train_records"] <= curated["kept"]
    [measured] = run("evaluate", trained["run"], "--on", "mine")["results"]
    assert (measured["dataset"], measured["matches_card"]) == ("mine", True)
    assert measured["n"] >= faces - 1
    assert trained["run"] in {row["run"] for table in run("report")["tables"] for row in table["rows"]}


def test_photographs_and_a_csv(tmp_path: Path, chips: list[Path], detector: str, agebench: Callable) -> None:
    goes_the_whole_way(tmp_path, stranger(tmp_path, chips[::4]), detector, agebench)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DemoReleases:
    return draw_releases(tmp_path_factory.mktemp("drawn"), records=100, seed=3)


def test_drawn_faces_and_a_csv(tmp_path: Path, drawn: DemoReleases, detector: str, agebench: Callable) -> None:
    pictures = sorted(drawn.roots["utkface"].glob("*.jpg"))
    goes_the_whole_way(tmp_path, stranger(tmp_path, pictures), detector, agebench)


def test_drawn_faces_named_after_what_they_show(
    tmp_path: Path, drawn: DemoReleases, detector: str, agebench: Callable
) -> None:
    shutil.copytree(drawn.roots["utkface"], tmp_path / "pictures")
    options = ("--root", "pictures", "--map", "male=0", "--map", "female=1")
    assert agebench("add", "mine", "--pattern", "{age}_{gender}_{race}_{rest}.jpg", *options, cwd=tmp_path).status == 0
    done = agebench("curate", "mine", "--detector", detector, "--workers", 1, "--json", cwd=tmp_path)
    curated = json.loads(done.out)
    assert curated["kept"] >= 0.6 * curated["records"]
    assert "any" in agebench("ls", "pipelines", cwd=tmp_path).out


def test_the_recipe_for_any_dataset_runs_without_an_age_model_and_says_so(
    tmp_path: Path, drawn: DemoReleases, detector: str, agebench: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agebench.curation import settings
    from agebench.errors import Missing

    def none_here(name: str) -> None:
        raise Missing("No ready age model is here.", "`pip install 'agebench[age]'` brings one.")

    monkeypatch.setattr(settings, "choose_estimator", none_here)
    faces = stranger(tmp_path, sorted(drawn.roots["utkface"].glob("*.jpg"))[:8])
    options = ("--map", "path=Bild", "--map", "age=Jahre", "--root", "pictures")
    assert agebench("add", "mine", "--table", "labels.csv", *options, cwd=tmp_path).status == 0
    done = agebench("curate", "mine", "--detector", detector, "--workers", 1, "--json", cwd=tmp_path)
    curated = json.loads(done.out)
    assert curated["records"] == faces + 2
    assert {"wrong_age", "label_disagreement"} <= set(curated["not_run"])
    assert any("not checked" in note for note in curated["notes"])
    judged_by_any = agebench("curate", "utkface", "--root", drawn.roots["utkface"], "--recipe", "any", "--detector",
                             detector, "--workers", 1, cwd=tmp_path)  # fmt: skip
    assert judged_by_any.status == 0, judged_by_any.err
