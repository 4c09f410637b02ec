"""The reader of MATLAB structs against scipy, on files that scipy writes and on the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agebench.datasets.matfile import read_struct
from agebench.errors import ReleaseError

from .conftest import cells, wiki_fields

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20), min_size=1)
NUMBERS = st.lists(st.one_of(st.integers(-(2**31), 2**31), st.floats()), min_size=1)


def scipys_texts(values: np.ndarray) -> list[str | None]:
    return [str(cell[0]) if cell.size else None for cell in values.ravel()]


@pytest.mark.parametrize("name", ["real-metadata/wiki_crop/wiki.mat", "imdb-wiki-mini/imdb_crop/imdb.mat"])
def test_published_files_are_read_as_scipy_reads_them(shared: Path, name: str) -> None:
    file = shared / name
    theirs = scipy.io.loadmat(file)[file.stem][0, 0]
    ours = read_struct(file, file.stem, (), length_of="full_path")
    assert set(ours.fields) == set(theirs.dtype.names)
    for field in ("dob", "photo_taken", "gender", "face_score", "second_face_score"):
        assert np.array_equal(ours.numbers(field), theirs[field].ravel().astype(float), equal_nan=True)
    for field in ("full_path", "name"):
        assert ours.texts(field).to_list() == scipys_texts(theirs[field])
    assert np.array_equal(ours.rows("face_location", 4), np.concatenate(theirs["face_location"].ravel().tolist()))


@given(texts=TEXTS, compressed=st.booleans())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_strings_come_back_as_written(tmp_path: Path, texts: list[str], compressed: bool) -> None:
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"x": {"text": cells(texts)}}, do_compression=compressed)
    assert read_struct(file, "x", ("text",), "text").texts("text").to_list() == [text or None for text in texts]


@given(numbers=NUMBERS, kind=st.sampled_from(["f8", "f4", "i4", "u2", "u1", "i8"]), column=st.booleans())
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_numbers_come_back_as_written(tmp_path: Path, numbers: list[Any], kind: str, column: bool) -> None:
    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.array(numbers, dtype=float)).astype(kind)
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"other": np.ones(3), "x": {"n": values.reshape((-1, 1) if column else (1, -1))}})
    assert np.array_equal(read_struct(file, "x", ("n",), "n").numbers("n"), values.astype(float), equal_nan=True)


def test_cells_of_any_sort_give_rows_where_they_have_the_width(tmp_path: Path) -> None:
    odd = [
        np.array([[1, 2, 3, 4]], dtype=np.uint8),
        np.array([[1.5], [2], [3], [4]]),
        np.zeros((0, 0)),
        np.ones((1, 3)),
        "text",
        np.ones((2, 1, 2)),
        cells(["a", "b"]),
        {"a": 1.0},
        np.array([[1 + 2j, 0, 0, 0]]),
    ]
    scipy.io.savemat(tmp_path / "a.mat", {"x": {"box": cells(odd)}})
    struct = read_struct(tmp_path / "a.mat", "x", ("box",), "box")
    rows = struct.rows("box", 4)
    assert rows[:2].tolist() == [[1, 2, 3, 4], [1.5, 2, 3, 4]]
    assert np.isnan(rows[[2, 3, 4, 6, 7]]).all()
    assert rows[5].tolist() == [1, 1, 1, 1]
    assert struct.texts("box").to_list() == [None, None, None, None, "text", None, None, None, None]


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wiki.mat"
    scipy.io.savemat(file, {"wiki": wiki_fields(2)}, do_compression=True)
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ReleaseError, match=r"wiki\.mat"):
            read_struct(file, "wiki", ("dob",), "full_path")


def test_a_length_that_asks_for_gigabytes_allocates_nothing(tmp_path: Path) -> None:
    file = tmp_path / "wiki.mat"
    scipy.io.savemat(file, {"wiki": wiki_fields(2)}, do_compression=False)
    content = bytearray(file.read_bytes())
    for at in range(128, len(content) - 4, 4):
        changed = content.copy()
        changed[at : at + 4] = b"\xff\xff\xff\x7f"
        file.write_bytes(changed)
        try:
            struct = read_struct(file, "wiki", ("dob", "name", "face_location"), "full_path")
            struct.numbers("dob"), struct.texts("name"), struct.rows("face_location", 4)
        except ReleaseError:
            continue
