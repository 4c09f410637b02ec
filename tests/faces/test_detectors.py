"""Detectors: their choice, what they find on real faces, and the traps that were met."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from agebench.errors import Missing, UsageError
from agebench.faces.detectors import DetectorChoice, Triage, choose_detector, detect_faces, load_detector


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


def fake(*passes: list[list[float]]) -> object:
    """A detector that answers its calls one after another: rows of x, y, w, h, score."""
    answers = iter(passes)

    def detect(rgb: np.ndarray) -> np.ndarray:
        rows = np.asarray(next(answers), dtype=np.float32).reshape(-1, 5)
        return np.concatenate([rows, np.tile(rows[:, :2], (1, 5))], axis=1)

    return detect


@pytest.mark.parametrize("kind", ["yuface", "mtcnn"])
def test_detectors_find_the_face_of_a_chip_with_points_in_their_order(kind: str, chips: list[Path]) -> None:
    try:
        detect = load_detector(choose_detector(kind))
    except Missing as error:
        pytest.skip(error.message)
    found = 0
    for chip in chips[40:60]:
        for face in detect_faces(detect, read(chip))[:1]:
            found += 1
            x, y, w, h, score = face[:5]
            left, right, nose, mouth_left, mouth_right = face[5:].reshape(5, 2)
            assert 0.5 <= score <= 1
            assert left[0] < right[0]
            assert mouth_left[0] < mouth_right[0]
            assert max(left[1], right[1]) < nose[1] + 0.1 * h < min(mouth_left[1], mouth_right[1]) + 0.2 * h
            assert x < nose[0] < x + w
            assert y < nose[1] < y + h
    assert found >= 15


def test_scrfd_finds_faces_that_fill_their_picture_thanks_to_the_margin(scrfd: Path, chips: list[Path]) -> None:
    detect = load_detector(choose_detector("auto", scrfd))
    pictures = [read(chip) for chip in chips[:40]]
    bare = sum(len(detect(picture)) > 0 for picture in pictures)
    assert sum(len(detect_faces(detect, picture)) > 0 for picture in pictures) >= 38
    assert bare <= 20


def test_a_face_found_in_the_margin_pass_has_the_pictures_coordinates() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    found = detect_faces(fake([], [[150, 80, 40, 40, 0.9]]), picture)  # type: ignore[arg-type]
    assert found[0, :5] == pytest.approx([50, 30, 40, 40, 0.9])
    assert found[0, 5:7] == pytest.approx([50, 30])


def test_both_passes_are_merged_and_what_lies_in_the_margin_is_dropped() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    small, same, large, outside = [10, 10, 12, 12, 0.7], [110, 60, 12, 12, 0.9], [150, 60, 80, 80, 0.8], [5, 5, 9, 9, 1]
    found = detect_faces(fake([small], [same, large, outside]), picture)  # type: ignore[arg-type]
    assert found[:, :5].tolist() == [pytest.approx([50, 10, 80, 80, 0.8]), pytest.approx([10, 10, 12, 12, 0.9])]


def test_a_large_picture_is_reduced_and_its_faces_come_back_in_its_pixels() -> None:
    shapes = []

    def detect(rgb: np.ndarray) -> np.ndarray:
        shapes.append(rgb.shape[:2])
        return np.array([[10, 20, 300, 300, 0.9, *[40.0] * 10]], dtype=np.float32)

    found = detect_faces(detect, np.zeros((1000, 2560, 3), np.uint8))
    assert shapes == [(250, 640)]
    assert found[0, :4] == pytest.approx([40, 80, 1200, 1200])
    assert found[0, 5] == pytest.approx(160)


def test_faces_without_area_or_with_nan_are_no_faces() -> None:
    nan = float("nan")
    rows = [[0, 0, 0, 50, 0.9], [0, 0, -5, 50, 0.9], [nan, 0, 50, 50, 0.9], [0, 0, 60, 60, nan], [20, 20, 60, 60, 0.9],
            [20, 20, 70, 70, 0.4]]  # fmt: skip
    found = detect_faces(fake(rows), np.zeros((100, 100, 3), np.uint8))  # type: ignore[arg-type]
    assert found[:, 2].tolist() == [60]


@pytest.mark.parametrize("shape", [(1, 1), (5, 4000), (4000, 5), (3, 3), (700, 900)])
def test_odd_shapes_are_looked_at(shape: tuple[int, int], detector: str) -> None:
    detect = load_detector(choose_detector(detector))
    assert detect_faces(detect, np.full((*shape, 3), 120, np.uint8)).shape == (0, 15)


# --- choosing --------------------------------------------------------------------------------------------------


def test_auto_takes_a_pack_that_is_there_else_what_is_installed(scrfd: Path, tmp_path: Path, detector: str) -> None:
    assert choose_detector("auto", home=tmp_path).kind == detector
    for name in ("buffalo_s", "buffalo_l", "only_recognition"):
        (tmp_path / ".insightface" / "models" / name).mkdir(parents=True)
    assert choose_detector("auto", home=tmp_path).kind == detector
    for name in ("buffalo_s", "buffalo_l"):
        (tmp_path / ".insightface" / "models" / name / "det_10g.onnx").write_bytes(scrfd.read_bytes())
    assert "buffalo_l" in choose_detector("auto", home=tmp_path).weights
    by_name = choose_detector("insightface", Path("buffalo_s"), home=tmp_path)
    assert "buffalo_s" in by_name.weights
    by_folder = choose_detector("auto", tmp_path / ".insightface" / "models" / "buffalo_s")
    assert by_folder == by_name


def test_a_choice_names_its_weights_by_their_content(scrfd: Path, tmp_path: Path) -> None:
    copy = tmp_path / scrfd.name
    copy.write_bytes(scrfd.read_bytes())
    choice = choose_detector("auto", copy)
    assert choice.name == choose_detector("auto", scrfd).name
    assert len(choice.weights_sha256) == 64
    assert "/" not in choice.name
    copy.write_bytes(scrfd.read_bytes() + b" ")
    with pytest.raises(Missing, match="not the file that this manifest was observed with"):
        load_detector(choice)
    copy.unlink()
    with pytest.raises(Missing, match="are gone") as error:
        load_detector(choice)
    assert error.value.exit_status == 3


@pytest.mark.parametrize("content", [b"hello", b"", b"\x08\x07" * 50])
def test_a_file_that_is_no_detector_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(content)
    with pytest.raises(Missing, match=r"x\.onnx") as error:
        choose_detector("auto", file)
    assert "\n" not in error.value.message
    assert error.value.exit_status == 3


def test_an_onnx_model_of_something_else_is_no_detector(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("Relu", ["a"], ["b"])
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("a", "b")]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]), ir_version=8)
    model.opset_import[0].version = 13
    file = tmp_path / "relu.onnx"
    onnx.save(model, str(file))
    with pytest.raises(Missing, match=r"not a face detector|cannot be loaded"):
        choose_detector("auto", file)


def test_missing_weights_and_packs_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no detector weights"):
        choose_detector("auto", tmp_path / "none.onnx", home=tmp_path)
    with pytest.raises(Missing, match=r"no insightface pack.*--detector-model"):
        choose_detector("insightface", home=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Missing, match="has no face detector"):
        choose_detector("auto", tmp_path / "empty")


@pytest.mark.parametrize("kind", ["yuface", "mtcnn"])
def test_a_detector_with_weights_of_its_own_takes_no_others(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contradict"):
        choose_detector(kind, tmp_path)


def test_a_choice_travels_as_plain_data(detector: str) -> None:
    import dataclasses
    import json

    choice = choose_detector(detector)
    assert DetectorChoice(**json.loads(json.dumps(dataclasses.asdict(choice)))) == choice


# --- triage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "asked"), [(0.9, False), (0.6, True), (None, True)])
def test_the_second_detector_looks_only_where_the_first_is_in_doubt(score: float | None, asked: bool) -> None:
    calls = []

    def face(x: float, sure: float) -> np.ndarray:
        points = [x + 20, 40, x + 60, 40, x + 40, 60, x + 25, 80, x + 55, 80]
        return np.array([[x, 20, 80, 80, sure, *points]], dtype=np.float32)

    def first(rgb: np.ndarray) -> np.ndarray:
        return np.zeros((0, 15), np.float32) if score is None or rgb.shape[1] > 200 else face(10, score)

    def second(rgb: np.ndarray) -> np.ndarray:
        calls.append(rgb.shape)
        return (
            np.concatenate([face(12, 0.95), face(110, 0.8)]) if rgb.shape[1] <= 200 else np.zeros((0, 15), np.float32)
        )

    found = detect_faces(Triage(first, second), np.zeros((120, 200, 3), np.uint8))
    assert bool(calls) is asked
    assert found[:, 4].tolist() == pytest.approx([0.95, 0.8] if asked else [0.9])  # one face seen twice is one face


def test_a_backed_detector_is_remembered_whole(detector: str) -> None:
    choice = choose_detector(detector).backed_by(choose_detector("mtcnn"))
    assert DetectorChoice.from_facts(dataclasses.asdict(choice)) == choice
    assert "+mtcnn" in choice.name
    assert isinstance(load_detector(choice), Triage)
