"""Tasks for Label Studio go out as its documentation describes them, and its annotations come back as answers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from agebench.errors import DecisionError
from agebench.pictures import Locator
from agebench.remote import as_folder
from agebench.review.label_studio import answers_in, document_root, image_address, is_label_studio, task

SHA = "a" * 64
ROW = {"record_id": 7, "part": "imdb", "path": "01/a.jpg", "age": 30, "sha256": SHA, "reasons": "odd;high",
       "details": "odd 30", "width": 200, "height": 100, "label_suspicion": 0.9, "suggested_age": 41.6,
       "image": "/data/local-files/?d=imdb/01/a.jpg"}  # fmt: skip
FACES = [{"x": 20, "y": 10, "w": 40, "h": 50, "score": 0.9, "meant": True},
         {"x": 100, "y": 0, "w": 20, "h": 20, "score": 0.5, "meant": False}]  # fmt: skip


def annotated(*result: dict[str, Any], **values: Any) -> bytes:
    one = task(ROW, FACES, [{"estimator": "e", "age": 41.6}])
    one["annotations"] = [
        {"id": 3, "unique_id": "u", "completed_by": {"id": 1, "email": "anna@x.org"}, "result": list(result),
         "created_at": "2026-01-02T03:04:05.678901Z", "updated_at": "2026-01-02T03:05:00Z"} | values
    ]  # fmt: skip
    return json.dumps([one]).encode()


def choice(name: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": "answer", "to_name": "image", "value": {"choices": [name]}}


def number(value: float) -> dict[str, Any]:
    return {"type": "number", "from_name": "age", "to_name": "image", "value": {"number": value}}


def box(x: float = 50, **values: Any) -> dict[str, Any]:
    """A rectangle that somebody drew, 20 pixels wide and high."""
    drawn = {"x": x, "y": 0, "width": 10, "height": 20, "rotation": 0, "rectanglelabels": ["face"]}
    return {"type": "rectanglelabels", "from_name": "face", "to_name": "image", "original_width": 200,
            "original_height": 100, "value": drawn | values}  # fmt: skip


def prefilled() -> dict[str, Any]:
    return task(ROW, FACES, [])["predictions"][0]["result"][0]


def test_a_task_is_prefilled_with_the_meant_face_alone() -> None:
    one = task(ROW, FACES, [{"estimator": "e", "age": 41.6}])
    assert one["data"]["image"] == ROW["image"]
    [first] = one["predictions"][0]["result"]
    assert first["value"] == {"x": 10, "y": 10, "width": 20, "height": 50, "rotation": 0, "rectanglelabels": ["face"]}
    assert one["data"]["estimated"] == "Estimates: suggested: 42, e: 42."
    bare = task(ROW | {"width": None, "suggested_age": None}, FACES, [])
    assert (bare["predictions"][0]["result"], bare["data"]["estimated"]) == ([], "")


def test_pictures_are_named_by_addresses_that_label_studio_serves(tmp_path: Path) -> None:
    imdb, wiki, remote = tmp_path / "imdb_crop", tmp_path / "wiki_crop", as_folder("s3://bucket/wiki")
    locator = Locator({"imdb": imdb, "wiki": wiki, "far": remote})
    assert document_root([imdb]) == document_root([imdb, wiki, remote]) == tmp_path  # no storage may be the root
    assert image_address(locator, tmp_path, "imdb", "01/a.jpg") == "/data/local-files/?d=imdb_crop/01/a.jpg"
    assert image_address(locator, tmp_path, "wiki", "é &?.jpg").endswith("?d=wiki_crop/%C3%A9%20%26%3F.jpg")
    assert document_root([remote]) is None
    assert image_address(locator, None, "far", "01/a.jpg") == "s3://bucket/wiki/01/a.jpg"


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/secret.jpg", "out/secret.jpg", "a/../../secret.jpg"])
def test_a_path_that_leads_out_of_its_folder_is_not_served(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "imdb_crop"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path)
    assert image_address(Locator({"imdb": folder}), tmp_path, "imdb", path) == f"imdb/{path}"


def test_folders_behind_a_link_are_named_as_label_studio_finds_them(tmp_path: Path) -> None:
    (tmp_path / "disk" / "imdb_crop").mkdir(parents=True)
    (tmp_path / "here").symlink_to(tmp_path / "disk")
    folder = tmp_path / "here" / "imdb_crop"
    root = document_root([folder])
    assert root == tmp_path / "disk"
    assert image_address(Locator({"imdb": folder}), root, "imdb", "1.jpg") == "/data/local-files/?d=imdb_crop/1.jpg"


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([choice("keep")], ("keep", None, None)),
        ([choice("reject"), number(12), box()], ("reject", None, None)),
        ([number(12)], ("age", 12, None)),
        ([number(30)], ("keep", None, None)),
        ([choice("keep"), number(12), box()], ("age", 12, (100, 0, 20, 20))),
        ([box()], ("face", None, (100, 0, 20, 20))),
        ([choice("keep"), prefilled()], ("keep", None, None)),
        ([number(12), prefilled()], ("age", 12, None)),
        ([choice("reject"), prefilled(), box()], ("reject", None, None)),
    ],
)
def test_an_annotation_becomes_an_answer(result: list[dict[str, Any]], expected: tuple) -> None:
    [one], unread = answers_in(annotated(*result), "x.json")
    assert unread == []
    assert (one.answer, one.age, one.box) == expected
    assert (one.by, one.at, one.sha256, one.part, one.path) == (
        "anna@x.org",
        "2026-01-02T03:05:00.000000Z",
        SHA,
        "imdb",
        "01/a.jpg",
    )


def test_the_same_annotation_has_the_same_id_and_a_changed_one_another() -> None:
    [one], [two] = (answers_in(annotated(choice("keep")), "x")[0] for _ in range(2))
    assert one == two
    [three], _ = answers_in(annotated(choice("reject"), updated_at="2026-02-01T00:00:00+01:00"), "x")
    assert three.id != one.id
    assert three.at == "2026-01-31T23:00:00.000000Z"


def test_what_was_prefilled_is_nobodys_answer() -> None:
    """Tasks of before had every face and an age: submitted as they were, they say nothing."""
    old = json.loads(annotated(number(42), prefilled(), box(), choice("keep")))
    old[0]["predictions"][0]["result"] = old[0]["annotations"][0]["result"][:3]
    del old[0]["data"]["prefilled"]
    [kept], _ = answers_in(json.dumps(old).encode(), "x")
    assert (kept.answer, kept.age, kept.box) == ("keep", None, None)
    del old[0]["annotations"][0]["result"][3]
    found, [told] = answers_in(json.dumps(old).encode(), "x")
    assert found == []
    assert "no answer, age or face beyond" in told
    del old[0]["annotations"][0]["result"][1]  # one of two faces taken out: the other one is meant
    [face], _ = answers_in(json.dumps(old).encode(), "x")
    assert (face.answer, face.box) == ("face", (100, 0, 20, 20))
    old[0]["predictions"] = [17]
    assert answers_in(json.dumps(old).encode(), "x")[0][0].answer == "age"


def test_an_annotation_that_cannot_be_read_is_told_and_the_others_are_taken() -> None:
    assert answers_in(annotated(), "x") == ([], [])
    assert answers_in(annotated(choice("keep"), was_cancelled=True), "x") == ([], [])
    for bad, told in (
        (annotated(number(3.5)), r"x.json, task 1 \(imdb 01/a.jpg\): the age 3.5"),
        (annotated(number(120)), "x.json, task 1 .*age"),
        (annotated(prefilled(), box()), "2 faces"),
        (annotated(prefilled()), "beyond what was prefilled"),
        (annotated({"type": "x", "from_name": "y"}), "beyond what was prefilled"),
        (annotated(box(rotation=5)), "rotated"),
        (annotated(box(height=float("nan"))), "box"),
        (annotated(choice("keep"), completed_by={"id": None}), "reviewer is unknown"),
        (annotated(choice("keep"), created_at="never", updated_at=None), "not a valid annotation"),
        (annotated({"value": 3}), "not a valid annotation"),
    ):
        two = json.loads(bad) + json.loads(annotated(choice("keep")))
        [good], [note] = answers_in(json.dumps(two).encode(), "x.json")
        assert good.answer == "keep"
        assert re.search(told, note), note
        assert note.endswith("It is left out.")
    for bad, told in (
        (b"[1]", "task 1: not a task"),
        (b'[{"data": {}}]', "KeyError: 'part'"),
        (b"[", "not JSON"),
    ):
        with pytest.raises(DecisionError, match=told):
            answers_in(bad, "x.json")
    assert is_label_studio(b"\xef\xbb\xbf [")
    assert not is_label_studio(b'{"id"')
