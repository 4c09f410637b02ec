"""Crop shards: what is missing is made, what is damaged is made again, and an interruption leaves a usable store."""

from __future__ import annotations

import errno
import hashlib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest

from agebench import files as files_module
from agebench.errors import Interrupted, StorageError
from agebench.faces import crop_store as shards_module
from agebench.faces import crops as make_module
from agebench.faces.alignment import WHOLE_PICTURE
from agebench.faces.crop_store import CropStore, Encoding, crops_folder, encode
from agebench.faces.crops import CropRequest, crop_requests, make_crops
from agebench.recipes import Crop

RNG = np.random.default_rng(0)
POINTS = (70.0, 80.0, 130.0, 80.0, 100.0, 110.0, 75.0, 140.0, 125.0, 140.0)


def crop_of(value: int, size: int = 16) -> np.ndarray:
    return np.full((size, size, 3), value, np.uint8)


def add(store: CropStore, *values: int) -> None:
    store.add([(f"{v:064x}", 0) for v in values], [encode(crop_of(v), store.crop.encoding) for v in values])


def keys(*values: int) -> list[tuple[str, int]]:
    return [(f"{v:064x}", 0) for v in values]


# --- the store -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_crops_come_back_as_they_were_put_in(tmp_path: Path, encoding: Encoding) -> None:
    gradient = np.dstack([np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))] * 3)
    gradient[..., 2] = 90
    store = CropStore(tmp_path / "s", Crop(size=64, encoding=encoding))
    store.add([("a", 0), ("b", 3)], [encode(gradient, encoding), encode(gradient[:, ::-1].copy(), encoding)])
    again = CropStore(tmp_path / "s", Crop(size=64, encoding=encoding)).pictures([("b", 3), ("a", 0)])
    assert len(again) == 2
    for found, put in ((again[1], gradient), (again[0], gradient[:, ::-1])):
        assert found.shape == (64, 64, 3)
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - put).max() <= (0 if encoding == "raw" else 12)
    assert np.array_equal(again.read_many([1, 0, 1])[1], again[0])


def test_pictures_travel_to_other_processes_by_path(tmp_path: Path) -> None:
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    add(store, *range(200))
    pictures = store.pictures(keys(*range(200)))
    assert pictures[5][0, 0, 0] == 5
    sent = pickle.dumps(pictures)
    assert len(sent) < 8_000  # places, not 150 kB of pixels
    assert pickle.loads(sent)[199][0, 0, 0] == 199


def test_shards_are_added_and_the_crops_of_each_encoding_keep_apart(tmp_path: Path) -> None:
    add(CropStore(tmp_path / "s", Crop(size=16, encoding="raw")), 1, 2)
    add(CropStore(tmp_path / "s", Crop(size=16, encoding="jpeg")), 2, 3)
    add(CropStore(tmp_path / "s", Crop(size=16, encoding="raw")), 4)
    raw, jpeg = (
        CropStore(tmp_path / "s", Crop(size=16, encoding="raw")),
        CropStore(tmp_path / "s", Crop(size=16, encoding="jpeg")),
    )
    assert (set(raw.places), set(jpeg.places)) == (set(keys(1, 2, 4)), set(keys(2, 3)))
    assert [p[0, 0, 0] for p in raw.pictures(keys(4, 1))] == [4, 1]
    with pytest.raises(KeyError):
        raw.pictures(keys(3))


def test_crops_of_another_alignment_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(CropStore(tmp_path / "s", Crop(size=16, encoding="raw")), 1)
    monkeypatch.setattr(shards_module, "ALIGNMENT_VERSION", 99)
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    assert not store.places
    add(store, 1)
    assert len(CropStore(tmp_path / "s", Crop(size=16, encoding="raw")).places) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "empty"])
def test_a_damaged_shard_is_found_and_its_crops_are_missing(tmp_path: Path, damage: str) -> None:
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    add(store, 1, 2)
    add(store, 3)
    file = tmp_path / "s" / next(iter(store.index))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes({"flip": bytes(content), "cut": bytes(content[:-100]), "empty": b""}[damage])
    again = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    assert again.damaged == [file.name]
    assert set(again.places) == set(keys(3))
    add(again, 1, 2)
    whole = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    assert whole.damaged == []
    assert [p[0, 0, 0] for p in whole.pictures(keys(1, 2, 3))] == [1, 2, 3]


@pytest.mark.parametrize("listing", ["", "{", "[]", '{"size": 16}', "\0" * 50])
def test_a_broken_index_makes_an_empty_store_that_can_be_filled(tmp_path: Path, listing: str) -> None:
    add(CropStore(tmp_path / "s", Crop(size=16, encoding="raw")), 1)
    (tmp_path / "s" / "index.json").write_text(listing)
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    assert store.places == {}
    assert store.damaged
    add(store, 1)
    assert CropStore(tmp_path / "s", Crop(size=16, encoding="raw")).pictures(keys(1))[0][0, 0, 0] == 1


@pytest.mark.parametrize("moment", ["while the shard is written", "before it is listed"])
def test_an_interrupted_write_leaves_a_usable_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    add(store, 1)
    with monkeypatch.context() as patch:

        def full(*_: object, **__: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(*((files_module.os, "fsync") if "while" in moment else (shards_module.json, "dumps")), full)
        with pytest.raises(StorageError, match="No space left"):
            add(store, 2)
    again = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    assert again.damaged == []
    assert set(again.places) == set(keys(1))
    add(again, 2)
    assert [p[0, 0, 0] for p in CropStore(tmp_path / "s", Crop(size=16, encoding="raw")).pictures(keys(1, 2))] == [1, 2]


def test_folders_tell_size_detector_zoom_and_border_apart(tmp_path: Path) -> None:
    crops = [Crop(size=64), Crop(size=224), Crop(size=64, zoom=1.5), Crop(size=64, border="mirror")]
    names = {crops_folder(tmp_path, "d", crop, detector) for crop in crops for detector in ("x-1", "y-1")}
    assert len(names) == 8
    assert crops_folder(tmp_path, "d", Crop(size=64), "x-1") == tmp_path / "d" / "64-x-1"


# --- making them -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures with five bright dots where the landmarks are, and one that is cut off."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(8):
        picture = RNG.integers(0, 40, (220, 200, 3), dtype=np.uint8)
        for x, y in np.reshape(POINTS, (5, 2)):
            cv2.circle(picture, (round(x), round(y)), 6, (0, 0, 255), -1)  # BGR: red
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    (folder / "8.png").write_bytes((folder / "0.png").read_bytes()[:2000])
    return folder


def wanted(folder: Path, numbers: Sequence[int]) -> list[CropRequest]:
    found = []
    for i in numbers:
        digest = hashlib.sha256((folder / f"{i}.png").read_bytes()).hexdigest()
        found.append(CropRequest("p", f"{i}.png", digest, WHOLE_PICTURE if i == 7 else 0, None if i == 7 else POINTS))
    return found


def make(folder: Path, store: CropStore, numbers: Sequence[int], **how: Any) -> list[tuple[CropRequest, str]]:
    return make_crops(wanted(folder, numbers), {"p": folder}, store, **({"workers": 1} | how))


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_the_landmarks_of_a_picture_land_on_the_template(pictures: Path, tmp_path: Path, zoom: float) -> None:
    from agebench.faces.alignment import template

    store = CropStore(tmp_path / "s", Crop(size=64, zoom=zoom, encoding="raw"))
    assert make(pictures, store, range(8)) == []
    [face, whole] = store.pictures([(w.sha256, w.face_no) for w in wanted(pictures, [0, 7])])
    for x, y in template(64, zoom)[:2]:
        assert face[round(y), round(x), 0] > 180  # red, in RGB
        assert face[round(y), round(x), 2] < 80
    assert whole[:, :2].max() == 0  # the margin beside a picture that is higher than wide


def test_only_what_is_missing_is_made(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(pictures, CropStore(tmp_path / "s", Crop(size=64, encoding="raw")), range(4))
    seen: list[int] = []
    store = CropStore(tmp_path / "s", Crop(size=64, encoding="raw"))
    make(pictures, store, range(6), on_progress=lambda done, total: seen.append(total))
    assert set(seen) == {2}
    assert len(list((tmp_path / "s").glob("*.arrow"))) == 2

    def no_workers(*_: object, **__: object) -> None:
        raise AssertionError("nothing is missing")

    monkeypatch.setattr(make_module, "run_batches", no_workers)
    assert make(pictures, CropStore(tmp_path / "s", Crop(size=64, encoding="raw")), range(6)) == []


def test_what_cannot_be_cropped_is_told_with_its_fault(pictures: Path, tmp_path: Path) -> None:
    store = CropStore(tmp_path / "s", Crop(size=64, encoding="raw"))
    odd = [
        CropRequest("p", "8.png", hashlib.sha256((pictures / "8.png").read_bytes()).hexdigest(), 0, POINTS),
        CropRequest("p", "none.png", "a" * 64, 0, POINTS),
        CropRequest("p", "../x.png", "b" * 64, 0, POINTS),
        CropRequest("p", "1.png", "c" * 64, 0, POINTS),
        CropRequest("q", "1.png", "d" * 64, 0, POINTS),
    ]
    failed = make_crops(odd, {"p": pictures}, store, workers=1)
    assert [fault for _, fault in failed] == [
        "truncated", "missing", "outside_release", "changed since it was observed", "missing",
    ]  # fmt: skip
    assert store.places == {}


def test_a_link_put_in_a_pictures_place_is_not_followed_out(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "0.png").symlink_to(pictures / "0.png")
    [(_, fault)] = make(folder, CropStore(tmp_path / "s", Crop(size=64, encoding="raw")), [0])
    assert fault == "outside_release"


def test_landmarks_in_one_place_give_the_whole_picture(pictures: Path, tmp_path: Path) -> None:
    store = CropStore(tmp_path / "s", Crop(size=64, encoding="raw"))
    [wish] = wanted(pictures, [2])
    assert make_crops([wish._replace(landmarks=(5.0,) * 10)], {"p": pictures}, store, workers=1) == []
    assert store.pictures([(wish.sha256, 0)])[0].any()


def test_ctrl_c_keeps_the_crops_that_were_made(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_module, "BATCH", 2)
    store = CropStore(tmp_path / "s", Crop(size=64, encoding="raw"))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="Stopped after 2 of 8 crops; they are kept"):
        make(pictures, store, range(8), on_progress=stop)
    assert len(CropStore(tmp_path / "s", Crop(size=64, encoding="raw")).places) == 2


def test_one_crop_is_wished_for_each_face_of_each_content() -> None:
    rows = pl.DataFrame(
        {
            "part": ["p"] * 4, "path": list("abcd"), "sha256": ["x", "x", "y", None], "face_no": [0, 0, None, None],
            "landmarks": [list(POINTS), list(POINTS), None, None],
        }
    )  # fmt: skip
    assert crop_requests(rows) == [
        CropRequest("p", "a", "x", 0, POINTS),
        CropRequest("p", "c", "y", WHOLE_PICTURE, None),
    ]


def test_two_stores_that_write_to_one_folder_keep_each_others_crops(tmp_path: Path) -> None:
    first, second = (
        CropStore(tmp_path / "s", Crop(size=16, encoding="raw")),
        CropStore(tmp_path / "s", Crop(size=16, encoding="raw")),
    )
    add(first, 1)
    add(second, 2)
    add(first, 3)
    for store in (first, CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))):
        assert store.damaged == []
        assert [p[0, 0, 0] for p in store.pictures(keys(1, 2, 3))] == [1, 2, 3]
    assert [p[0, 0, 0] for p in second.pictures(keys(1, 2))] == [1, 2]
    assert not list((tmp_path / "s").glob("*.tmp"))


def test_a_face_that_a_human_boxed_has_a_crop_of_its_own(tmp_path: Path) -> None:
    """Its number lies below that of a whole picture, so that the two are never taken for each other."""
    rows = pl.DataFrame(
        {"part": "p", "path": "a.png", "sha256": "x", "face_no": [None, -32_001, -2],
         "landmarks": [None, POINTS, POINTS]},
        schema_overrides={"face_no": pl.Int32, "landmarks": pl.List(pl.Float32)}, strict=False,
    )  # fmt: skip
    found = crop_requests(rows)
    assert [w.face_no for w in found] == [WHOLE_PICTURE, -32_001, -2]
    store = CropStore(tmp_path / "s", Crop(size=16, encoding="raw"))
    store.add([("x", w.face_no) for w in found], [encode(crop_of(i), "raw") for i in range(3)])
    pictures = CropStore(tmp_path / "s", Crop(size=16, encoding="raw")).pictures([("x", -32_001), ("x", -1)])
    assert [int(pictures[i].mean()) for i in range(2)] == [1, 0]
