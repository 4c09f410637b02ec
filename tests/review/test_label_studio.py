"""Tasks for Label Studio go out as its documentation describes them, and its annotations come back as answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agebench.errors import DecisionError
from agebench.review.label_studio import answers_in, is_label_studio, task

SHA = "a" * 64
ROW = {"record_id": 7, "part": "imdb", "path": "01/a.jpg", "age": 30, "sha256": SHA, "reasons": "odd;high",
       "details": "odd 30", "width": 200, "height": 100, "label_suspicion": 0.9, "suggested_age": 41.6}  # fmt: skip
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


def box(**values: Any) -> dict[str, Any]:
    return task(ROW, FACES, [])["predictions"][0]["result"][1] | values


def test_a_task_has_our_estimates_as_predictions() -> None:
    one = task(ROW, FACES, [])
    assert one["data"]["image"] == "imdb/01/a.jpg"
    first, second, age = one["predictions"][0]["result"]
    assert first["value"] == {"x": 10, "y": 10, "width": 20, "height": 50, "rotation": 0, "rectanglelabels": ["face"]}
    assert (first["meta"], second["meta"]) == ({"meant": True}, {"meant": False})
    assert age["value"] == {"number": 42}
    assert task(ROW | {"width": None, "suggested_age": None}, FACES, [])["predictions"][0]["result"] == []


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ([choice("keep")], ("keep", None, None)),
        ([choice("reject"), number(12), box()], ("reject", None, None)),
        ([number(12)], ("age", 12, None)),
        ([number(30)], ("keep", None, None)),
        ([choice("keep"), number(12), box()], ("age", 12, (100, 0, 20, 20))),
        ([box()], ("face", None, (100, 0, 20, 20))),
    ],
)
def test_an_annotation_becomes_an_answer(result: list[dict[str, Any]], expected: tuple) -> None:
    [one] = answers_in(annotated(*result), "x.json")
    assert (one.answer, one.age, one.box) == expected
    assert (one.by, one.at, one.sha256, one.part, one.path) == (
        "anna@x.org",
        "2026-01-02T03:05:00.000000Z",
        SHA,
        "imdb",
        "01/a.jpg",
    )


def test_the_same_annotation_has_the_same_id_and_a_changed_one_another() -> None:
    [one], [two] = answers_in(annotated(choice("keep")), "x"), answers_in(annotated(choice("keep")), "x")
    assert one == two
    [three] = answers_in(annotated(choice("reject"), updated_at="2026-02-01T00:00:00+01:00"), "x")
    assert three.id != one.id
    assert three.at == "2026-01-31T23:00:00.000000Z"


def test_what_says_nothing_is_left_out_and_what_is_wrong_is_told() -> None:
    assert answers_in(annotated(), "x") == []
    assert answers_in(annotated(choice("keep"), was_cancelled=True), "x") == []
    for bad, told in (
        (annotated(number(3.5)), "x.json, task 1: the age 3.5"),
        (annotated(number(120)), "x.json, task 1: .*age"),
        (annotated(box(), box()), "2 faces"),
        (annotated({"type": "x", "from_name": "y"}), "neither"),
        (b"[1]", "task 1: no task"),
        (b'[{"data": {}}]', "KeyError: 'part'"),
        (b"[", "no JSON"),
    ):
        with pytest.raises(DecisionError, match=told):
            answers_in(bad, "x.json")
    assert is_label_studio(b"\xef\xbb\xbf [")
    assert not is_label_studio(b'{"id"')
