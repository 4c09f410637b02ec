"""agebench add: what was understood is shown before anything is written; a card is never replaced."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from agebench.datasets.add import add_dataset
from agebench.datasets.release import read_release
from agebench.errors import UsageError
from agebench.manifest.fingerprints import label_fingerprint
from agebench.recipes import load_card

CSV = "file,years,sex,who,split\na.jpg,34.5,0,p1,train\nb.jpg,8,1,p1,test\nc.jpg,old,1,p2,train\n../d.jpg,120,,,train\n"
MAPPED = ("--map", "age=years", "--map", "subject=who", "--map", "male=0", "--map", "female=1")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A working directory with labels.csv and some of its pictures."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "pictures" / name).write_bytes(b"a picture")
    (tmp_path / "labels.csv").write_text(CSV)
    return tmp_path


def add(agebench: Callable, home: Path, *more: str, table: str = "labels.csv", root: str = "pictures") -> object:
    return agebench("add", "mine", "--table", table, "--root", root, *more, cwd=home)


def test_a_table_becomes_a_card_that_reads_as_it_was_shown(home: Path, agebench: Callable) -> None:
    texts = {"title": 'My "own" faces', "source": "a \\ disk", "licence": "mine — alone",
             "citation": '@misc{mine,\n  title = {Bar{\\\'o} "x"}\n}'}  # fmt: skip
    options = [word for key, text in texts.items() for word in (f"--{key}", text)]
    done = add(agebench, home, *MAPPED, "--role", "both", "--json", *options)
    assert done.status == 0, done.err
    shown = json.loads(done.out)
    assert (shown["command"], shown["card"], shown["written"], shown["dry_run"]) == (
        "add", "manifests/mine.toml", True, False,
    )  # fmt: skip
    assert shown["columns"] == {"path": "file", "age": "years", "subject": "who", "gender": "sex", "split": "split"}
    assert (shown["records"], shown["parts"]) == (4, {"train": 3, "test": 1})
    assert shown["files"] == {"found": 2, "missing": 1, "outside_release": 1}
    assert shown["ages"] == {"min": 8, "median": 34, "max": 120}
    assert [[low, n] for low, n in shown["decades"] if n] == [[0, 1], [30, 1]]
    assert (shown["without_age"], shown["outside"], shown["subjects"]) == (1, 1, 2)
    assert shown["genders"] == {"female": 2, "male": 1}
    assert [word for word in ("decimals", "'old'", "lead out") if word not in " ".join(shown["notes"])] == []

    made = load_card("mine", home)
    assert {key: getattr(made, key).strip() for key in texts} == texts
    assert (made.roles, made.recipe, made.root) == (["train", "test"], "any", "pictures")
    assert made.protocol
    assert made.protocol.column == texts["title"]
    assert (made.expected.records, made.expected.subjects, made.expected.ages) == (4, 2, (8, 120))
    assert made.expected.parts == {"train": 3, "test": 1}
    assert made.table
    made = made.model_copy(update={"table": made.table.model_copy(update={"file": str(home / "labels.csv")})})
    assert label_fingerprint(read_release(made, home / "pictures").records) == made.expected.labels


def test_people_see_columns_counts_and_a_histogram(home: Path, agebench: Callable) -> None:
    done = add(agebench, home, *MAPPED)
    text = " ".join(done.out.split())
    for words in ("age years", "4 records (train 3, test 1)", "2 found, 1 missing", "subjects: 2", "2 female, 1 male",
                  "ages 8 to 120, median 34; 1 without one, 1 outside", "30-39 ████",
                  "Next: agebench curate mine"):  # fmt: skip
        assert words in text, (words, text)


def test_a_dry_run_writes_nothing(home: Path, agebench: Callable) -> None:
    before = sorted(home.rglob("*"))
    done = add(agebench, home, *MAPPED, "--dry-run")
    assert done.status == 0
    assert "Nothing was written" in done.out
    assert sorted(home.rglob("*")) == before


def test_a_card_is_never_replaced_and_a_shipped_name_is_taken(home: Path, agebench: Callable) -> None:
    assert add(agebench, home, *MAPPED).status == 0
    card = home / "manifests" / "mine.toml"
    before = card.read_bytes()
    again = add(agebench, home, *MAPPED)
    assert again.status == 2
    assert "already" in again.err
    assert card.read_bytes() == before
    assert agebench("add", "fg-net", "--table", "labels.csv", *MAPPED, cwd=home).status == 2


def test_names_of_pictures_serve_without_a_table(home: Path, agebench: Callable) -> None:
    for name in ("34_0.jpg", "8_1.jpg"):
        (home / "pictures" / name).write_bytes(b"a picture")
    done = agebench("add", "named", "--pattern", "{age}_{gender}.jpg", "--root", "pictures", "--map", "male=0",
                    "--map", "female=1", cwd=home)  # fmt: skip
    assert done.status == 0, done.err
    text = (home / "manifests" / "named.toml").read_text()
    assert tomllib.loads(text)["table"] == {
        "pattern": "{age}_{gender}.jpg", "male": ["0"], "female": ["1"], "columns": {},
    }  # fmt: skip
    assert "protocol" not in tomllib.loads(text)
    assert "#" in text


def test_the_table_is_named_from_the_root_where_it_lies_there(home: Path, agebench: Callable) -> None:
    (home / "pictures" / "labels.csv").write_text("path,age\na.jpg,3\n")
    assert agebench("add", "inside", "--table", "pictures/labels.csv", cwd=home).status == 0
    inside = load_card("inside", home)
    assert inside.table
    assert (inside.root, inside.table.file) == ("pictures", "labels.csv")
    assert add(agebench, home, *MAPPED).status == 0  # the other file of that name, in the working directory
    outside = load_card("mine", home)
    assert outside.expected.records == 4
    assert read_release(outside, home / "pictures").records.height == 4


def test_pictures_that_are_relative_to_another_folder_are_found_for_people(home: Path, agebench: Callable) -> None:
    (home / "labels.csv").write_text("path,age\npictures/a.jpg,3\n")
    done = add(agebench, home)
    assert "`--root .` finds them" in " ".join(done.out.split())
    (home / "labels.csv").write_text("path,age\nnowhere.jpg,3\n")
    done = agebench("add", "other", "--table", "labels.csv", "--root", "pictures", cwd=home)
    assert "No picture was found" in done.out


FAULTS = {
    "no table": (["--root", "pictures"], 2, "--table FILE"),
    "both": (["--root", "pictures", "--table", "labels.csv", "--pattern", "{age}.jpg"], 2, "--table FILE"),
    "no root": (["--pattern", "{age}.jpg"], 2, "--root"),
    "no such table": (["--table", "none.csv"], 3, "none.csv"),
    "no such root": (["--table", "labels.csv", "--root", "none"], 3, "--root DIR"),
    "no such picture": (["--pattern", "{age}-{x}.jpg", "--root", "pictures"], 3, "--pattern"),
    "no braces": (["--pattern", "photo.jpg", "--root", "pictures"], 2, "has no name in braces"),
    "half a box": (["--table", "labels.csv", "--map", "box=a,b"], 2, "four columns"),
    "a number in braces": (["--pattern", "{age}_{1}.jpg", "--root", "pictures"], 2, "begins with a letter"),
    "no pair": (["--table", "labels.csv", "--map", "years"], 2, "age=years"),
    "no such role": (["--table", "labels.csv", "--map", "agee=years"], 2, "Did you mean 'age'"),
    "no such column": (["--table", "labels.csv", "--map", "age=yeers"], 1, "Did you mean 'years'"),
    "no age column": (["--table", "labels.csv", "--map", "path=who", "--map", "age=split"], 1, "has no age"),
}


@pytest.mark.parametrize(("arguments", "status", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_wrong_is_a_sentence_and_nothing_is_written(
    home: Path, agebench: Callable, arguments: list[str], status: int, told: str
) -> None:
    done = agebench("add", "mine", *arguments, cwd=home)
    assert done.status == status, done.err
    assert told in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (home / "manifests").exists()


@pytest.mark.parametrize(
    "citation", [r"@misc{x, author = {\noopsort{a} \newblock \\natexlab}}", 'two\nlines "\\\n"', "\\"]
)
def test_a_citation_keeps_its_backslashes(home: Path, monkeypatch: pytest.MonkeyPatch, citation: str) -> None:
    monkeypatch.chdir(home)
    add_dataset("mine", "pictures", table=Path("labels.csv"), mapped={"age": ["years"]}, citation=citation)
    assert load_card("mine").citation.strip("\n") == citation


@pytest.mark.parametrize("name", ["My-Faces", "a/b", "", "../x"])
def test_a_name_that_cannot_be_a_file_of_a_card_is_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a valid name"):
        add_dataset(name, home / "pictures", table=home / "labels.csv")
