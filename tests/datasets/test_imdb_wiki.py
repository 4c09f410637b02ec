from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from agebench.datasets.dates import ages_by_rule, birth_dates, birth_years_and_months
from agebench.datasets.records import SCHEMA
from agebench.datasets.release import read_release
from agebench.errors import ReleaseError, ReleaseNotFound
from agebench.recipes import Card

from .conftest import cells

Cards = dict[str, Card]
Writer = Callable[..., Path]


def plain_age(day: float, photo_year: int) -> int:
    """The age rule as one would write it for a single record, by the standard library."""
    born = datetime.date.fromordinal(math.floor(day) - 366)
    return photo_year - born.year - (1 if born.month >= 7 else 0)


def test_the_published_wiki_mat_gives_the_counted_facts(shared: Path, cards: Cards) -> None:
    release = read_release(cards["imdb-wiki"], shared / "real-metadata")
    r = release.records
    assert r.schema == pl.Schema(SCHEMA)
    assert r.height == 62_328
    assert r["path"].n_unique() == 62_328
    assert (r["age"].min(), r["age"].max()) == (-74, 1996)
    assert (r["age"] < 0).sum() == 1_288
    assert (r["age"] > 100).sum() == 493
    assert (r["face_score"] == -math.inf).sum() == 18_016
    assert r["second_face_score"].count() == 4_096
    assert r["gender"].null_count() == 2_643
    assert r["name"].null_count() == 124
    rule = (pl.col("face_score") >= 1) & pl.col("second_face_score").is_null() & pl.col("age").is_between(0, 200)
    assert r.filter(rule).height == 38_912
    assert any("imdb_crop/imdb.mat" in note for note in release.notes)
    assert r.row(0, named=True)["subject_id"] == "sami jauhojarvi|1981-05-05"


def test_ages_of_the_published_wiki_mat_agree_with_a_plain_computation(shared: Path, cards: Cards) -> None:
    folder = shared / "real-metadata" / "wiki_crop"
    mat = scipy.io.loadmat(folder / "wiki.mat")["wiki"][0, 0]
    days, years = mat["dob"].ravel().tolist(), mat["photo_taken"].ravel().tolist()
    expected = [plain_age(day, year) for day, year in zip(days, years, strict=True)]
    assert read_release(cards["imdb-wiki"], folder).records["age"].to_list() == expected


def test_the_mini_release_has_both_parts_in_order_and_paths_as_spelled(shared: Path, cards: Cards) -> None:
    release = read_release(cards["imdb-wiki"], shared / "imdb-wiki-mini")
    truth = pl.read_csv(shared / "imdb-wiki-mini" / "truth.csv")
    assert release.records["part"].unique(maintain_order=True).to_list() == ["imdb", "wiki"]
    assert set(release.records.select("part", "path").iter_rows()) == set(truth.select("part", "full_path").iter_rows())
    assert release.records["path"].str.starts_with("../../").any()
    assert release.records["path"].str.starts_with("/").any()
    assert {p: f.name for p, f in release.folders.items()} == {"imdb": "imdb_crop", "wiki": "wiki_crop"}
    assert release.notes == []


def test_a_record_is_read_field_by_field(write_wiki: Writer, cards: Cards) -> None:
    root = write_wiki(
        4,
        dob=np.array([[723671.9, 1, 0, np.nan]]),
        gender=np.array([[1.0, 0.0, np.nan, 7.0]]),
        name=cells(["Łukasz  Żal", "Straße", "", np.zeros((0, 0))]),
        face_score=np.array([[-np.inf, 2.5, np.nan, 1.0]]),
        face_location=cells(
            [np.array([[1, 1, 634, 440]], dtype=np.uint16), np.array([[1.5, 2.5, 11.5, 22.5]]), np.zeros((1, 4)), "x"]
        ),
    )
    r = read_release(cards["imdb-wiki"], root).records
    assert r["dob"].to_list() == [datetime.date(1981, 5, 5), None, None, None]
    assert r["dob_day"].to_list() == [723671, 1, 0, None]
    assert r["age"].to_list() == [28, 2009, 2009, None]  # years 0 and -1 (December: one year less)
    assert r["gender"].to_list() == ["male", "female", None, None]
    assert r["name"].to_list() == ["Łukasz  Żal", "Straße", None, None]
    assert r["subject_id"].to_list() == ["łukasz zal|1981-05-05", None, None, None]
    assert r["face_score"].to_list() == [-math.inf, 2.5, None, 1.0]
    assert r.select("box_x", "box_y", "box_w", "box_h").rows() == [
        (0, 0, 634, 440),
        (0.5, 1.5, 11, 21),
        (-1, -1, 1, 1),
        (None, None, None, None),
    ]


def test_celebrities_are_the_subjects_of_the_imdb_part(write_wiki: Writer, cards: Cards) -> None:
    root = write_wiki(2, part="imdb", celeb_id=np.array([[45.0, np.nan]]))
    release = read_release(cards["imdb-wiki"], root)
    assert release.records["subject_id"].to_list() == ["celeb:45", "person 1|1981-05-05"]
    assert "Only the part 'imdb'" in release.notes[0]


def test_root_may_be_one_of_the_two_folders(write_wiki: Writer, cards: Cards) -> None:
    root = write_wiki()
    release = read_release(cards["imdb-wiki"], root / "wiki_crop")
    assert release.folders == {"wiki": root / "wiki_crop"}


@given(st.lists(st.tuples(st.integers(367, 3_652_425), st.integers(0, 65_535)), min_size=1, max_size=50))
def test_ages_of_any_date_agree_with_the_standard_library(people: list[tuple[int, int]]) -> None:
    days, years = (np.array(column, dtype=np.float64) for column in zip(*people, strict=True))
    assert ages_by_rule(days, years).tolist() == [plain_age(day, year) for day, year in people]
    assert birth_dates(days).tolist() == [datetime.date.fromordinal(day - 366) for day, _ in people]


@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_any_number_as_birth_day_gives_an_age_or_nothing(days: list[float]) -> None:
    ages = ages_by_rule(np.array(days), np.full(len(days), 2000.0))
    known = birth_years_and_months(np.array(days))[2]
    assert np.array_equal(np.isnan(ages), ~known)
    dates = pl.Series(birth_dates(np.array(days))).drop_nulls().to_list()
    assert all(1 <= date.year <= 9999 for date in dates)


def test_narrow_integers_do_not_wrap(write_wiki: Writer, cards: Cards) -> None:
    root = write_wiki(1, dob=np.array([[736011]], dtype=np.int32), photo_taken=np.array([[1940]], dtype=np.uint16))
    assert read_release(cards["imdb-wiki"], root).records["age"].to_list() == [-75]


# --- faults ----------------------------------------------------------------------------------------------------


def test_a_missing_release_says_where_it_is_to_be_had(tmp_path: Path, cards: Cards) -> None:
    card = cards["imdb-wiki"]
    for root in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ReleaseNotFound) as caught:
            read_release(card, root)
        text = str(caught.value)
        for part in (str(root), card.source, card.licence, card.files, "--root DIR", "agebench demo"):
            assert part in text
        assert caught.value.exit_status == 3


def test_a_wrong_root_says_what_was_found(tmp_path: Path, cards: Cards) -> None:
    (tmp_path / "holiday.txt").write_text("hello")
    with pytest.raises(ReleaseNotFound, match=r"imdb_crop/imdb\.mat.*holiday\.txt"):
        read_release(cards["imdb-wiki"], tmp_path)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"dob": None}, "lacks the field.* dob"),
        ({"face_location": None, "gender": None}, "lacks the field.* gender, face_location"),
        ({"gender": np.ones((1, 7))}, r"wiki\.gender: expected 3 values .* found 7"),
        ({"dob": cells(["a", "b", "c"])}, r"wiki\.dob: expected numbers, found cells"),
        ({"full_path": np.ones((1, 3))}, r"wiki\.full_path: expected strings, found numbers"),
        ({"face_location": np.ones((1, 3))}, r"wiki\.face_location: expected cells of 4 numbers"),
        ({"variable": "something"}, "no variable 'wiki': it has 'something'"),
    ],
)
def test_a_mat_of_another_shape_is_refused(write_wiki: Writer, cards: Cards, changed: dict, says: str) -> None:
    with pytest.raises(ReleaseError, match=says):
        read_release(cards["imdb-wiki"], write_wiki(**changed))


def test_a_variable_that_is_no_struct_is_refused(tmp_path: Path, cards: Cards) -> None:
    (tmp_path / "wiki_crop").mkdir()
    scipy.io.savemat(tmp_path / "wiki_crop" / "wiki.mat", {"wiki": np.ones((3, 2))})
    with pytest.raises(ReleaseError, match="not a 1×1 struct but numbers of shape 3×2"):
        read_release(cards["imdb-wiki"], tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), r"7\.3"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512), r"7\.3"),
        (b"hello", "not a MATLAB 5 file"),
        (bytes(1000), "not a MATLAB 5 file"),
        (b"x" * 1000, "not a MATLAB 5 file"),
        (b"\x80\x04\x95cos\nsystem\n(S'touch x'\ntR." * 20, "not a MATLAB 5 file"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, cards: Cards, content: bytes, says: str) -> None:
    (tmp_path / "wiki_crop").mkdir()
    (tmp_path / "wiki_crop" / "wiki.mat").write_bytes(content)
    with pytest.raises(ReleaseError, match=says) as caught:
        read_release(cards["imdb-wiki"], tmp_path)
    assert "wiki.mat" in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_a_cut_off_file_is_refused(write_wiki: Writer, cards: Cards, share: float) -> None:
    root = write_wiki(200)
    file = root / "wiki_crop" / "wiki.mat"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ReleaseError, match=r"wiki\.mat"):
        read_release(cards["imdb-wiki"], root)


def test_no_damage_to_the_bytes_escapes_as_another_error(write_wiki: Writer, cards: Cards) -> None:
    """A table or a ReleaseError, nothing else; uncompressed too, so that the damage is not caught by a checksum."""
    root = write_wiki(20)
    file = root / "wiki_crop" / "wiki.mat"
    packed = file.read_bytes()
    fields = scipy.io.loadmat(file)["wiki"][0, 0]
    scipy.io.savemat(file, {"wiki": {name: fields[name] for name in fields.dtype.names}}, do_compression=False)
    plain = file.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for i in range(1500):
        content = bytearray(packed if i % 5 == 0 else plain)
        for _ in range(int(random.integers(1, 6))):
            content[int(random.integers(124, len(content)))] = int(random.integers(0, 256))
        if i % 7 == 0:
            del content[int(random.integers(0, len(content))) :]
        file.write_bytes(content)
        try:
            release = read_release(cards["imdb-wiki"], root)
        except ReleaseError:
            refused += 1
        else:
            assert release.records.height < 1000
    assert refused > 300
