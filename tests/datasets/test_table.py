"""Anybody's data: tables as people export them and file names that a template explains; every fault is a sentence."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agebench.datasets.layouts.table import read_labels
from agebench.datasets.records import SCHEMA, Release
from agebench.datasets.release import read_release
from agebench.errors import AgebenchError, ReleaseError, ReleaseNotFound
from agebench.recipes import Card, Expected, Table, load_card

from .conftest import touch

Read = Callable[..., Release]


def card(**table: Any) -> Card:
    return Card(
        name="mine", title="Mine", roles=["train"], layout="table", root="x", recipe="any", age_rule="-", files="table",
        source="here", licence="own", citation="-", expected=Expected(records=1), table=Table(**table),
    )  # fmt: skip


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write a file of labels and read it."""

    def written(content: str | bytes, name: str = "labels.csv", **table: Any) -> Release:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return read_release(card(file=name, **table), tmp_path)

    return written


def note(release: Release, word: str) -> str:
    [found] = [text for text in release.notes if word in text]
    return found


# --- what is understood ----------------------------------------------------------------------------------------


def test_usual_columns_need_no_mapping(read: Read) -> None:
    release = read(
        "Image Name,Real_Age,identity,Name,Sex,DOB,photo_year,split\n"
        "a.jpg,34,7,José A,M,1984-07-14,2019,train\nb.jpg,8,7,,woman,,,\n"
    )
    assert release.records.schema == pl.Schema(SCHEMA)
    assert release.records["path"].to_list() == ["a.jpg", "b.jpg"]
    assert release.records["age"].to_list() == [34, 8]
    assert release.records["subject_id"].to_list() == ["7", "7"]
    assert release.records["gender"].to_list() == ["male", "female"]
    assert release.records["dob"].to_list() == [datetime.date(1984, 7, 14), None]
    assert release.records["photo_year"].to_list() == [2019, None]
    assert release.records["part"].to_list() == ["train", "mine"]
    assert set(release.folders) == {"train", "mine"}
    assert release.notes == []


def test_the_card_names_other_columns_and_says_what_codes_mean(read: Read) -> None:
    release = read(
        "x,y,g,l,t,w,h\na,34,0,1,2,30,40\nb,35,1,3,4,,\n",
        columns={"path": "faces/{x}.png", "age": "y", "gender": "g", "box": ["l", "t", "w", "h"]},
        male=["0"], female=["1"],
    )  # fmt: skip
    assert release.records["path"].to_list() == ["faces/a.png", "faces/b.png"]
    assert release.records["gender"].to_list() == ["male", "female"]
    assert release.records.select("box_x", "box_y", "box_w", "box_h").row(0) == (1, 2, 30, 40)
    assert release.records["box_w"].to_list() == [30, None]


@pytest.mark.parametrize("text", ["10 20 40 60", "[10, 20, 40, 60]", "(10.0; 20.0; 40.0; 60.0)"])
def test_a_box_in_one_column_may_be_corners(read: Read, text: str) -> None:
    records = read(f'path,age,bbox\na.jpg,3,"{text}"\n', columns={"corners": ["bbox"]}).records
    assert records.select("box_x", "box_y", "box_w", "box_h").row(0) == (10, 20, 30, 40)


def test_a_box_that_is_no_four_numbers_is_told(read: Read) -> None:
    release = read("path,age,x,y,w,h\na,3,1,2,3,4\nb,3,1,2,wide,4\nc,3,,,,\n", columns={"box": ["x", "y", "w", "h"]})
    assert note(release, "no box").startswith("1 ")
    assert "row 3" in note(release, "no box")


def test_dates_that_are_not_needed_do_not_stop_a_table_with_ages(read: Read) -> None:
    release = read("path,age,year\na,3,Mazda\n")
    assert release.records["age"].to_list() == [3]
    assert "'Mazda'" in note(release, "not dates")


def test_a_byte_order_mark_is_no_part_of_a_name_in_any_encoding(read: Read) -> None:
    release = read(b"\xef\xbb\xbfpath,age\nJos\xe9.jpg,3\n")
    assert release.records["path"].to_list() == ["José.jpg"]


def test_ages_come_from_dates_where_there_are_none(read: Read) -> None:
    rows = {
        "birthday not reached": ("1980-07-02", "2010-07-01", 29),
        "birthday": ("1980-07-02", "2010-07-02T10:00:00", 30),
        "year of the photo, born in the first half": ("1980-06-30", "2010", 30),
        "year of the photo, born in the second half": ("1980-07-01", "2010", 29),
        "two years": ("1980", "2010.0", 30),
        "other spellings": ("14.07.1980", "20100801", 30),
        "nothing known": ("", "2010", None),
        "an own age": ("1980", "2010", 12),
    }
    text = "".join(
        f"{i}.jpg,{b},{t},{12 if k == 'an own age' else ''}\n" for i, (k, (b, t, _)) in enumerate(rows.items())
    )
    release = read("path,birth date,taken,age\n" + text)
    assert dict(zip(rows, release.records["age"], strict=True)) == {k: age for k, (*_, age) in rows.items()}


def test_people_are_names_and_birth_dates_where_there_are_no_subjects(read: Read) -> None:
    records = read("path,age,name,yob\na,3,José A,1980\nb,4,jose  a,1980\nc,5,Jose A,1981\nd,6,,1980\n").records
    one, two, three, four = records["subject_id"].to_list()
    assert one == two != three
    assert four is None


def test_row_numbers_called_id_are_no_subjects(read: Read) -> None:
    assert read("id,path,age\n1,a,3\n2,b,4\n").records["subject_id"].to_list() == [None, None]
    assert read("id,path,age\n1,a,3\n1,b,4\n").records["subject_id"].to_list() == ["1", "1"]


def test_names_of_pictures_are_explained_by_a_template(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/34_0_2_2017.jpg.chip.jpg", "b/8_1_0_x_y.PNG", "odd.jpg", "notes.txt")
    release = read_release(card(pattern="{age}_{gender}_{race}_{rest}.jpg", male=["0"], female=["1"]), root)
    assert release.records["path"].to_list() == ["a/34_0_2_2017.jpg.chip.jpg", "b/8_1_0_x_y.PNG", "odd.jpg"]
    assert release.records["age"].to_list() == [34, 8, None]
    assert release.records["gender"].to_list() == ["male", "female", None]
    assert "'odd.jpg'" in note(release, "contain no age")
    with pytest.raises(ReleaseNotFound, match=r"pictures named \{gender\}-\{age\}"):
        read_release(card(pattern="{gender}-{age}"), root)


def test_a_template_reads_folders_too(tmp_path: Path) -> None:
    root = touch(tmp_path, "AFAD-Full/15/111/29-1.jpg", "AFAD-Full/16/112/29-2.jpg")
    records = read_release(card(pattern="{age}/{gender}/{subject}-{n}.jpg", male=["111"], female=["112"]), root).records
    assert records.select("age", "gender", "subject_id").rows() == [(15, "male", "29"), (16, "female", "29")]


def test_several_files_are_one_table_and_their_names_are_columns(tmp_path: Path) -> None:
    (tmp_path / "gt_train.csv").write_text("file_name,age\n1.jpg,3\n")
    (tmp_path / "GT_test.csv").write_text("file_name;age\n1.jpg;4\n2.jpg;x\n")
    release = read_release(card(file="gt_{split}.csv", columns={"path": "{split}/{file_name}"}), tmp_path)
    assert release.records.select("part", "path", "age").rows() == [
        ("test", "test/1.jpg", 4), ("test", "test/2.jpg", None), ("train", "train/1.jpg", 3),
    ]  # fmt: skip
    assert "GT_test.csv row 3 'x'" in note(release, "not numbers")


def test_json_lines_and_parquet_are_tables_too(tmp_path: Path, read: Read) -> None:
    rows = [{"path": "a.jpg", "age": 34, "box": [1, 2, 3, 4]}, {"path": "b.jpg", "age": 8.5, "box": None}]
    expected = [("a.jpg", 34, 3.0), ("b.jpg", 8, None)]
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    columns = {"box": ["box"]}
    assert read(lines, "l.jsonl", columns=columns).records.select("path", "age", "box_w").rows() == expected
    file = io.BytesIO()
    pl.DataFrame(rows, strict=False).write_parquet(file)
    assert read(file.getvalue(), "l.parquet", columns=columns).records.select("path", "age", "box_w").rows() == expected


def test_the_table_may_lie_in_the_working_directory(here: Path, tmp_path: Path) -> None:
    (here / "labels.csv").write_text("path,age\na.jpg,3\n")
    (tmp_path / "pictures").mkdir()
    assert read_release(card(file="labels.csv"), tmp_path / "pictures").records["age"].to_list() == [3]
    with pytest.raises(ReleaseNotFound, match=r"other\.csv"):
        read_release(card(file="other.csv"), tmp_path / "pictures")


# --- as people export them -------------------------------------------------------------------------------------


NAMES = st.text(st.sampled_from("abcé ,;\"'|x1_"), min_size=1, max_size=12).filter(lambda n: n == n.strip())


@given(
    rows=st.dictionaries(NAMES, st.integers(-5, 120), min_size=1, max_size=6),
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_dialect_of_csv_gives_the_same_records(
    read: Read, rows: dict[str, int], separator: str, quoting: Any, end: str, encoding: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end).writerows(
        [("path", "age"), *rows.items()]
    )
    release = read(text.getvalue().encode(encoding))
    assert dict(release.records.select("path", "age").rows()) == rows
    accents = encoding == "latin-1" and any("é" in name for name in rows)
    assert any("Latin-1" in text for text in release.notes) == accents


@given(st.binary(max_size=200), st.sampled_from([b"", b"path,age\n", b"path;age\na;", b'{"path": "a", "age": ']),
       st.sampled_from(["l.csv", "l.jsonl", "l.parquet", "l.txt"]))  # fmt: skip
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_records_or_a_sentence(read: Read, content: bytes, start: bytes, name: str) -> None:
    with contextlib.suppress(AgebenchError):
        records = read(start + content, name).records
        assert records.height >= 1
        assert records["path"].null_count() == 0


def test_paths_of_windows_and_paths_from_the_root_are_meant(tmp_path: Path, read: Read) -> None:
    text = f"path,age\nsub\\a.jpg,3\n./b.jpg,4\n{tmp_path}/c.jpg,5\n"
    assert read(text).records["path"].to_list() == ["sub/a.jpg", "b.jpg", "c.jpg"]


def test_stray_quotes_blank_lines_and_short_rows_are_borne(read: Read) -> None:
    release = read('path,age,note\n\n5" screen.jpg,34,x\n\nb.jpg,35\n')
    assert release.records.select("path", "age").rows() == [('5" screen.jpg', 34), ("b.jpg", 35)]


# --- rows that cannot be used ----------------------------------------------------------------------------------


def test_ages_are_whole_years_and_the_others_are_told(read: Read) -> None:
    release = read('path;age\na;34.9\nb;"35,5"\nc;twenty\nd;25-32\ne;\nf;nan\ng;-3\nh;-0.5\ni;250\nj;1e99\n')
    assert release.records["age"].to_list() == [34, 35, None, None, None, None, -3, -1, 250, None]
    assert note(release, "decimals").startswith("3 ")
    words = note(release, "not numbers")
    assert words.startswith("3 ")
    assert "labels.csv row 4 'twenty'" in words


def test_rows_without_a_path_and_paths_that_lead_away_stay_as_records(read: Read) -> None:
    release = read("path,age\n,3\n,3\n../a.jpg,4\n/etc/b.jpg,5\nC:\\c.jpg,6\na/../../d.jpg,7\n")
    assert release.records.height == 6
    assert "labels.csv row 2, labels.csv row 3" in note(release, "name no picture")
    assert note(release, "lead out").startswith("4 ")


def test_a_picture_listed_twice_counts_once_and_with_two_ages_twice(read: Read) -> None:
    release = read("path,age\na,3\nb,4\na,3\nb,5\nb,5\n")
    assert release.records.select("path", "age").rows() == [("a", 3), ("b", 4), ("b", 5)]
    assert note(release, "count once").startswith("2 ")
    assert "'b'" in note(release, "several ages")


def test_people_on_one_picture_with_boxes_of_their_own_are_records_of_their_own(read: Read) -> None:
    text = "path,age,x0,y0,x1,y1\na,3,0,0,9,9\na,3,20,0,29,9\na,-1,40,0,49,9\n"
    release = read(text, columns={"corners": ["x0", "y0", "x1", "y1"]}, unlabelled=["-1"])
    assert release.records.select("age", "box_x").rows() == [(3, 0), (3, 20)]
    assert note(release, "no label").startswith("1 ")


def test_genders_and_dates_that_nobody_knows_are_told(read: Read) -> None:
    release = read("path,age,sex,born\na,3,2,14/07/84\nb,4,M,unknown\n")
    assert release.records["gender"].to_list() == [None, "male"]
    assert "'2'" in note(release, "not known genders")
    assert "'14/07/84'" in note(release, "not dates")


# --- tables that cannot be read --------------------------------------------------------------------------------


FAULTS: dict[str, tuple[str | bytes, str, dict[str, Any], list[str]]] = {
    "empty": ("", "l.csv", {}, ["l.csv is empty"]),
    "blank": (" \n\n", "l.csv", {}, ["l.csv is empty"]),
    "a byte order mark alone": (b"\xfe\xff", "l.csv", {}, ["l.csv is empty"]),
    "header alone": ("path,age\n", "l.csv", {}, ["l.csv has a header (path, age) and no rows"]),
    "no path": ("x,age\na,3\n", "l.csv", {}, ["no column for the pictures' paths", "'x', 'age'", "path=COLUMN"]),
    "no age": ("path,yrs\na,3\n", "l.csv", {}, ["no column for ages", "'path', 'yrs'", "Is it 'yrs'?", "age=COLUMN"]),
    "no header": ("a.jpg,34\nb.jpg,20\n", "l.csv", {}, ["looks like a record", "header line"]),
    "no readable date": ("path,dob,taken\na,14/07/84,2010\nb,1/2/90,2010\n", "l.csv", {},
                         ["'dob' and 'taken' give no age", "row 2 '14/07/84'", "1984-07-14"]),
    "another script": ("path,身長,年齢\na.jpg,170,34\n", "l.csv", {"columns": {"age": "年令"}},
                       ["no column '年令'", "'年齢'"]),
    "an accent": ("path,Größe,Graße\na.jpg,170,34\n", "l.csv", {"columns": {"age": "Gräße"}}, ["no column 'Gräße'"]),
    "unknown column": ("path,age\na,3\n", "l.csv", {"columns": {"age": "agge"}},
                       ["no column 'agge'", "'path', 'age'", "Did you mean 'age'?"]),
    "ages in words": ("path,age\na,young\nb,old\n", "l.csv", {},
                      ["'age' has no age in 2 row(s)", "row 2 'young'", "such as 34"]),
    "too many cells": ("path,age\na,3\nb,x,4\n", "l.csv", {}, ["l.csv, row 3 has 3 cells, expected 2", "quotation"]),
    "open quote": ('path,age\na,3\n"b,4\n', "l.csv", {}, ["l.csv, row 3", "quotation"]),
    "a spreadsheet": (b"PK\x03\x04\0\0", "l.csv", {}, ["l.csv is not a text", "as CSV"]),
    "no JSON": ('{"path": "a", "age": 3}\n{"path"\n', "l.jsonl", {}, ["l.jsonl, line 2 is not JSON"]),
    "no object": ('[1, 2]\n', "l.jsonl", {}, ["l.jsonl, line 1 is not a JSON object"]),
    "no Parquet": ("path,age\n", "l.parquet", {}, ["l.parquet is not a Parquet"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_table_is_a_sentence_of_its_own(read: Read, fault: str) -> None:
    content, name, table, words = FAULTS[fault]
    with pytest.raises(ReleaseError) as caught:
        read(content, name, **table)
    assert caught.value.next_step
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("table", "told"),
    [({}, "exactly one of `file` and `pattern`"), ({"file": "a", "pattern": "{age}"}, "exactly one of `file` and"),
     ({"pattern": "photo.jpg"}, "no name in braces"), ({"pattern": "{age}_{age}.jpg"}, "must be unique"),
     ({"pattern": "{age}_{1}.jpg"}, "begins with a letter"),
     ({"file": "a", "columns": {"box": ["a", "b"]}}, "in four columns, or in one"),
     ({"file": "a", "columns": {"box": ["a"], "corners": ["a"]}}, "give only one"),
     ({"file": "a", "columns": {"agee": "a"}}, "agee")],
)  # fmt: skip
def test_a_card_whose_table_cannot_be_is_refused(table: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Table(**table)


def test_a_table_and_its_layout_go_together() -> None:
    with pytest.raises(ValidationError, match="go together"):
        Card.model_validate(card(file="a").model_dump() | {"table": None})


# --- the cards that ship ---------------------------------------------------------------------------------------


SHIPPED: dict[str, tuple[dict[str, str], list[tuple]]] = {
    "agedb": ({"AgeDB/0_MariaCallas_35_f.jpg": "", "AgeDB/9_MariaCallas_40_f.jpg": ""},
              [("agedb", "AgeDB/0_MariaCallas_35_f.jpg", 35, "female", "mariacallas|"),
               ("agedb", "AgeDB/9_MariaCallas_40_f.jpg", 40, "female", "mariacallas|")]),
    "afad": ({"AFAD-Full/15/111/292943-1.jpg": "", "AFAD-Full/16/112/671487-0.jpg": ""},
             [("afad", "AFAD-Full/15/111/292943-1.jpg", 15, "male", "292943"),
              ("afad", "AFAD-Full/16/112/671487-0.jpg", 16, "female", "671487")]),
    "appa-real": ({"gt_avg_train.csv": "file_name,num_ratings,apparent_age_avg,apparent_age_std,real_age\n"
                                       "000000.jpg,36,5.05,1.6,4\n", "train/000000.jpg_face.jpg": ""},
                  [("train", "train/000000.jpg", 4, None, None)]),
    "clap2016": ({"valid_gt.csv": "image,mean,stdv\n004113.jpg,18.7,2.1\n"},
                 [("valid", "valid/004113.jpg", 18, None, None)]),
    "megaage-asian": ({"list/test.csv": "path,age\n1.jpg,23\n"}, [("test", "test/1.jpg", 23, None, None)]),
    "lagenda": ({"lagenda_annotation.csv": "img_name,age,gender,face_x0,face_y0,face_x1,face_y1,person_x0,person_y0\n"
                                           "lag_benchmark/a.jpg,30,F,1,2,11,12,0,0\nlag_benchmark/a.jpg,-1,-1,5,5,6,6,0,0\n"},
                [("lagenda", "lag_benchmark/a.jpg", 30, "female", None)]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_a_release_as_published_is_read_by_its_card(name: str, tmp_path: Path) -> None:
    files, expected = SHIPPED[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    records = read_release(load_card(name), tmp_path).records
    assert records.select("part", "path", "age", "gender", "subject_id").rows() == expected


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_card_says_how_people_get_the_release(name: str, tmp_path: Path) -> None:
    made = load_card(name)
    assert made.by_hand
    with pytest.raises(ReleaseNotFound, match="--root DIR") as caught:
        read_release(made, tmp_path)
    assert made.source in str(caught.value)


def test_utkface_reads_alike_by_its_layout_and_by_a_template(shared: Path) -> None:
    ours = read_labels(card(pattern="{age}_{gender}_{race}_{rest}.jpg", male=["0"], female=["1"]), shared / "utkface")
    theirs = read_release(load_card("utkface"), shared / "utkface").records
    both = ours.release.records.join(theirs, on="path", suffix="_theirs").drop_nulls("age")
    assert both.height >= 5_990
    assert both["age"].equals(both["age_theirs"])
    known = both.drop_nulls(["gender", "gender_theirs"])
    assert known["gender"].equals(known["gender_theirs"])
