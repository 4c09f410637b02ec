"""FG-NET, MORPH II, CACD2000 and UTKFace: real folders where there are some, made ones for what these do not have."""

from __future__ import annotations

import contextlib
import datetime
import unicodedata
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agebench.datasets.records import SCHEMA, Release
from agebench.datasets.release import read_release
from agebench.errors import ReleaseError, ReleaseNotFound
from agebench.manifest.fingerprints import label_fingerprint
from agebench.recipes import Card

from .conftest import cells, touch

Cards = dict[str, Card]


def row(release: Release, path: str) -> dict:
    return release.records.row(by_predicate=pl.col("path") == path, named=True)


# --- FG-NET ----------------------------------------------------------------------------------------------------


def test_fg_net_is_the_published_one(shared: Path, cards: Cards) -> None:
    card = cards["fg-net"]
    release = read_release(card, shared / "fg-net")
    r = release.records
    assert r.schema == pl.Schema(SCHEMA)
    assert (r.height, r["subject_id"].n_unique()) == (card.expected.records, card.expected.subjects)
    assert (r["age"].min(), r["age"].max()) == card.expected.ages
    assert label_fingerprint(r) == card.expected.labels
    assert row(release, "001A43a.JPG")["age"] == 43
    assert release.notes == []
    inside = read_release(card, shared / "fg-net" / "images")
    assert inside.records.equals(r)
    assert inside.folders == release.folders


def test_fg_net_names_in_any_case_and_odd_ones(tmp_path: Path, cards: Cards) -> None:
    root = touch(
        tmp_path, "Images/001a02.jpg", "Images/082A16B.Jpg", "Images/me.jpg", "Images/.hidden.jpg", "Images/a.txt"
    )
    release = read_release(cards["fg-net"], root)
    assert release.records["path"].to_list() == ["001a02.jpg", "082A16B.Jpg", "me.jpg"]
    assert release.records["age"].to_list() == [2, 16, None]
    assert "'me.jpg'" in release.notes[0]


# --- MORPH -----------------------------------------------------------------------------------------------------


def test_morph_names_are_read_in_any_folder(shared: Path, cards: Cards) -> None:
    release = read_release(cards["morph"], shared / "morph-mini")
    assert release.records.height == 300
    assert (release.records["age"].min(), release.records["age"].max()) == (16, 77)
    first = release.records.row(0, named=True)
    assert (first["path"], first["subject_id"], first["gender"], first["age"]) == (
        "Album2/009055_0F22.JPG", "009055", "female", 22,
    )  # fmt: skip


def test_the_morph_csv_wins_over_the_names(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "Album2/009055_1M54.JPG", "Album2/000012_0F20.JPG", "Album2/000013_0M30.JPG")
    (root / "morph_2008_nonCommercial.csv").write_text(
        "id_num,picture_num,DOB,doa,Race,gender,facial_hair,age,age_diff,glasses,photo,remark\n"
        "9055,1,07/14/1948,12/20/2003,B,M,N,55,0,N,Album2/009055_1M54.JPG,x\n"
        "12,0,1984-01-02 00:00:00,2004-03-04 00:00:00,W,F,N,20,0,N,Album2\\000012_0F20.JPG,\n"
        "14,0,bad date,,W,M,N,,0,N,Album2/000014_0M41.JPG,\n"
    )
    release = read_release(cards["morph"], root)
    assert release.records["path"].to_list() == [
        "Album2/000012_0F20.JPG", "Album2/000013_0M30.JPG", "Album2/000014_0M41.JPG", "Album2/009055_1M54.JPG",
    ]  # fmt: skip
    assert release.records["age"].to_list() == [20, 30, 41, 55]
    assert release.records["subject_id"].to_list() == ["000012", "000013", "000014", "009055"]
    assert release.records["gender"].to_list() == ["female", "male", "male", "male"]
    assert release.records["race"].to_list() == ["white", None, "white", "black"]
    assert release.records["dob"].to_list() == [datetime.date(1984, 1, 2), None, None, datetime.date(1948, 7, 14)]
    assert release.records["photo_year"].to_list() == [2004, None, None, 2003]
    assert any("differ from the file names" in note for note in release.notes)
    assert any("lists 1 picture" in note for note in release.notes)


def test_another_csv_beside_morph_is_named_and_ignored(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "notes.csv").write_text("a,b\n1,2\n")
    release = read_release(cards["morph"], root)
    assert release.records["age"].to_list() == [54]
    assert "notes.csv" in release.notes[0]


TABLE = "id_num,gender,age,photo\n9055,M,55,009055_1M54.JPG\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.replace(",", "\t").encode(),
        TABLE.replace(",", ";").encode(),
        TABLE.replace(",", "|").encode(),
        TABLE.encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace("\n", "\r\n").encode(),
    ],
)
def test_the_morph_csv_is_read_in_every_spelling_that_people_export(
    tmp_path: Path, cards: Cards, content: bytes
) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "morph.csv").write_bytes(content)
    assert read_release(cards["morph"], root).records["age"].to_list() == [55]


@pytest.mark.parametrize(
    "content",
    [
        b"id_num,gender,age,file_name_of_it\n9055,M,55,009055_1M54.JPG\n",
        b"9055_1M54.JPG\n9056_1M54.JPG\n",
        TABLE.encode("utf-16-le"),
        TABLE.encode("utf-32"),
        b"photo,age\n009055_1M54.JPG,55,1,2\n",
        b"",
    ],
)
def test_a_morph_csv_that_is_not_understood_is_an_error(tmp_path: Path, cards: Cards, content: bytes) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "morph.csv").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"morph\.csv"):
        read_release(cards["morph"], root)


@pytest.mark.parametrize(
    ("content", "ages"),
    [
        ("photo;age\n{a};55,5\n{b};21,0\n", [21, 55]),
        ("photo,age\n{a},55 years\n{b},21 yrs old\n", [21, 55]),
        ("photo,dob,doa\n{a},07/14/1948,07/13/2003\n{b},01/02/1980,03/04/2001\n", [21, 54]),
        ("photo,dob,doa\n{a},31.12.1950,30.12.2000\n{b},1.2.1980,1.2.2001\n", [21, 49]),
        ("photo,dob,doa\n{a},14/07/1948,14/07/2003\n{b},02/01/1980,04/03/2001\n", [21, 55]),
        ("photo,age,dob,doa\n{a},,1948-07-14,2003-07-14\n{b},NULL,1980-01-01,2001-01-01\n", [21, 55]),
    ],
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.txt"])
def test_ages_of_a_morph_table_are_read_however_they_are_written(
    tmp_path: Path, cards: Cards, content: str, ages: list[int], name: str
) -> None:
    first, second = "009055_1M60.JPG", "000012_0F60.JPG"  # the names claim 60
    root = touch(tmp_path, first, second)
    (root / name).write_text(content.format(a=first, b=second))
    assert read_release(cards["morph"], root).records["age"].to_list() == ages


def test_dates_of_birth_are_of_one_order_in_the_whole_column(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "000001_0M30.JPG", "000002_0M30.JPG")
    (root / "morph.csv").write_text("photo,age,dob\n000001_0M30.JPG,30,03/04/1950\n000002_0M30.JPG,30,25/04/1950\n")
    dates = read_release(cards["morph"], root).records["dob"].to_list()
    assert dates == [datetime.date(1950, 4, 3), datetime.date(1950, 4, 25)]


def test_a_date_that_cannot_be_read_is_told_with_its_row(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "000001_0M30.JPG")
    (root / "morph.csv").write_text("photo,age,dob\n000001_0M30.JPG,30,spring\n")
    assert any("row 2 has 'spring'" in note for note in read_release(cards["morph"], root).notes)


def test_an_age_that_cannot_be_read_is_an_error_with_its_row(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "000001_0M30.JPG", "000002_0M30.JPG")
    (root / "morph.csv").write_text("photo,age\n000001_0M30.JPG,30\n000002_0M30.JPG,thirty\n")
    with pytest.raises(ReleaseError, match=r"row 3: 'thirty' is not an age"):
        read_release(cards["morph"], root)


def test_tables_beside_morphs_do_no_harm_whatever_their_columns(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "a-first.csv").write_text("age,remark\n3,x\n")
    (root / "readme.txt").write_text("Album2 of MORPH II, as received.\n")
    (root / "morph.csv").write_text(TABLE)
    assert read_release(cards["morph"], root).records["age"].to_list() == [55]


def test_several_tables_of_morph_are_an_error_but_the_published_one_wins(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "one.csv").write_text(TABLE)
    (root / "two.csv").write_text(TABLE.replace("55,", "56,", 1))
    with pytest.raises(ReleaseError, match="several tables of MORPH"):
        read_release(cards["morph"], root)
    (root / "morph_2008_nonCommercial.csv").write_text(TABLE.replace(",55,", ",57,"))
    assert read_release(cards["morph"], root).records["age"].to_list() == [57]


@given(st.binary(max_size=300))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_as_morph_csv_give_records_or_a_sentence(tmp_path: Path, cards: Cards, content: bytes) -> None:
    root = touch(tmp_path, "009055_1M54.JPG")
    (root / "m.csv").write_bytes(b"photo,age,dob\n" * (len(content) % 2) + content)
    with contextlib.suppress(ReleaseError):
        assert read_release(cards["morph"], root).records.height >= 1


# --- CACD ------------------------------------------------------------------------------------------------------


def test_the_published_cacd_metadata_reads_without_pictures(shared: Path, cards: Cards) -> None:
    card = cards["cacd"]
    release = read_release(card, shared / "real-metadata" / "cacd")
    r = release.records
    assert (r.height, r["subject_id"].n_unique()) == (card.expected.records, card.expected.subjects)
    assert (r["age"].min(), r["age"].max()) == card.expected.ages
    assert label_fingerprint(r) == card.expected.labels
    assert row(release, "53_Stellan_Skarsgård_0001.jpg")["name"] == "Stellan Skarsgård"


def test_cacd_mini_is_read_and_is_not_the_real_one(shared: Path, cards: Cards) -> None:
    release = read_release(cards["cacd"], shared / "cacd-mini")
    assert release.records.height == 300
    assert label_fingerprint(release.records) != cards["cacd"].expected.labels
    assert all((release.folders["cacd"] / path).is_file() for path in release.records["path"])
    assert read_release(cards["cacd"], shared / "cacd-mini" / "CACD2000").records.equals(release.records)


def test_cacd_without_the_mat_is_read_from_the_names(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, "CACD2000/53_Robin_Williams_0001.jpg", "CACD2000/54_Ciarán_Hinds_0002.jpg", "CACD2000/x.jpg")
    release = read_release(cards["cacd"], root)
    assert release.records["age"].to_list() == [53, 54, None]
    assert release.records["name"].to_list() == ["Robin Williams", "Ciarán Hinds", None]
    assert release.records["subject_id"].to_list() == ["name:robin williams", "name:ciaran hinds", None]
    assert len(release.notes) == 2


def test_cacd_pictures_are_found_in_the_disks_unicode_form(tmp_path: Path, cards: Cards) -> None:
    name = "54_Ciarán_Hinds_0002.jpg"
    root = touch(tmp_path, "CACD2000/" + unicodedata.normalize("NFD", name), "CACD2000/53_Robin_Williams_0001.jpg")
    column = np.array([[53.0], [54.0]])
    data = {"age": column, "identity": column, "year": column * 0 + 2007, "birth": 2007 - column}
    data["name"] = cells(["53_Robin_Williams_0001.jpg", name]).T
    scipy.io.savemat(root / "celebrity2000_meta.mat", {"celebrityImageData": data})
    release = read_release(cards["cacd"], root)
    assert all((release.folders["cacd"] / path).is_file() for path in release.records["path"])
    assert release.records["photo_year"].to_list() == [2007, 2007]
    assert "Unicode form" in release.notes[0]


# --- UTKFace ---------------------------------------------------------------------------------------------------


def test_utkface_has_an_age_for_every_chip(shared: Path, cards: Cards) -> None:
    release = read_release(cards["utkface"], shared / "utkface")
    assert release.records.height == 6_000
    assert release.records["age"].null_count() == 0
    assert row(release, "61_1_20170109150557335.jpg.chip.jpg")["gender"] is None
    assert row(release, "55_0_0_20170116232725357jpg.chip.jpg")["gender"] == "male"
    assert row(release, "24_0_1_20170116220224657 .jpg.chip.jpg")["age"] == 24
    assert release.records.filter(pl.col("path").str.contains(r"^\d+_1_\d_"))["gender"].unique().to_list() == ["female"]


NAME_PART = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), max_size=12)


@given(st.integers(0, 999), st.sampled_from([0, 1]), st.integers(0, 4), NAME_PART)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_utkface_names_give_age_and_gender_whatever_follows(
    tmp_path_factory: pytest.TempPathFactory, cards: Cards, age: int, gender: int, race: int, tail: str
) -> None:
    root = touch(tmp_path_factory.mktemp("utk"), f"{age}_{gender}_{race}_2017{tail}.jpg")
    record = read_release(cards["utkface"], root).records.row(0, named=True)
    assert (record["age"], record["gender"]) == (age, ["male", "female"][gender])
    assert record["race"] == ["white", "black", "asian", "indian", "other"][race]


@given(name=NAME_PART.filter(lambda name: name not in ("", ".", "..") and not name.startswith(".")))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_name_is_a_record_in_every_layout(
    tmp_path_factory: pytest.TempPathFactory, cards: Cards, name: str
) -> None:
    good = {"utkface": "9_1_0_2017.jpg", "morph": "009055_1M54.JPG", "fg-net": "001A02.JPG", "cacd": "53_A_B_0001.jpg"}
    root = tmp_path_factory.mktemp("odd")
    for dataset, other in good.items():
        release = read_release(cards[dataset], touch(root / dataset, other, f"{name}.jpg"))
        assert sorted(release.records["path"]) == sorted({other, f"{name}.jpg"})


# --- all of them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["fg-net", "morph", "cacd", "utkface"])
def test_a_folder_of_something_else_is_not_the_release(tmp_path: Path, cards: Cards, dataset: str) -> None:
    for root in (tmp_path / "nowhere", tmp_path, touch(tmp_path / "other", "holiday.jpg", "notes.txt")):
        with pytest.raises(ReleaseNotFound, match=r"--root DIR.*agebench demo") as caught:
            read_release(cards[dataset], root)
        assert cards[dataset].source in str(caught.value)
    with pytest.raises(ReleaseNotFound, match="a file, not a folder"):
        read_release(cards[dataset], tmp_path / "other" / "notes.txt")


def test_links_out_of_the_release_are_not_followed(tmp_path: Path, cards: Cards) -> None:
    outside = touch(tmp_path / "outside", "7_0_0_2017.jpg", "deep/8_0_0_2017.jpg")
    root = touch(tmp_path / "release", "9_0_0_2017.jpg", ".git/1_0_0_2017.jpg")
    (root / "7_0_0_2017.jpg").symlink_to(outside / "7_0_0_2017.jpg")
    (root / "deep").symlink_to(outside / "deep")
    (root / "loop").symlink_to(root)
    (root / "same_9_0_0_2017.jpg").symlink_to(root / "9_0_0_2017.jpg")
    release = read_release(cards["utkface"], root)
    assert release.records["path"].to_list() == ["9_0_0_2017.jpg", "same_9_0_0_2017.jpg"]
    assert release.notes[0].startswith("3 link(s)")


def test_a_folder_of_links_alone_is_told_so_and_a_link_to_the_folder_is_read(tmp_path: Path, cards: Cards) -> None:
    outside, root = touch(tmp_path / "outside", "7_0_0_2017.jpg"), touch(tmp_path / "root")
    root.mkdir()
    (root / "7_0_0_2017.jpg").symlink_to(outside / "7_0_0_2017.jpg")
    with pytest.raises(ReleaseNotFound, match=r"1 of them are links.*link the folder itself"):
        read_release(cards["utkface"], root)
    (tmp_path / "linked").symlink_to(outside)
    assert read_release(cards["utkface"], tmp_path / "linked").records["age"].to_list() == [7]


def test_listing_is_sorted_and_the_same_every_time(tmp_path: Path, cards: Cards) -> None:
    root = touch(tmp_path, *(f"{d}/{a}_0_0_2017{a}.jpg" for d in "ba" for a in range(30, 0, -1)))
    paths = read_release(cards["utkface"], root).records["path"].to_list()
    assert paths == sorted(paths)
    assert len(paths) == 60


def test_the_cards_state_the_published_counts(cards: Cards) -> None:
    imdb_wiki = cards["imdb-wiki"].expected
    assert (imdb_wiki.records, imdb_wiki.records_stated) == (523_051, 524_230)
    assert sum(imdb_wiki.parts.values()) == imdb_wiki.records
    columns = {c.protocol.column: c.protocol.records for c in cards.values() if c.protocol}
    assert columns == {"FG-NET": None, "MORPH": 6000, "CACD": 500, "UTKFace": None}
    assert all(c.citation.strip().startswith("@") and c.source.startswith("https://") for c in cards.values())
