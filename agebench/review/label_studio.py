"""Label Studio's JSON: the queue out as tasks with our estimates as predictions, people's annotations back as
answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from agebench.errors import DecisionError
from agebench.review.decisions import Decision, new_decision

# The labelling interface that the tasks are for; the names in it are those that the annotations come back with.
LABELLING = """<View>
  <Image name="image" value="$image"/>
  <Header value="Claimed age: $claimed_age. $details"/>
  <Choices name="answer" toName="image"><Choice value="keep"/><Choice value="reject"/></Choices>
  <Number name="age" toName="image" min="0" max="99"/>
  <RectangleLabels name="face" toName="image"><Label value="face"/></RectangleLabels>
  <TextArea name="note" toName="image"/>
</View>
"""


def task(
    row: Mapping[str, Any], faces: Sequence[Mapping[str, Any]], estimates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One task. row: record_id, part, path, age, sha256, reasons (joined by `;`), details, width, height (pixels),
    label_suspicion, suggested_age; faces: x, y, w, h (pixels), score, meant; estimates: estimator, age (years).

    The picture is named by `part/path`, to be served from a local storage or with a prefix of one's own.
    """
    width, height = row["width"], row["height"]
    result: list[dict[str, Any]] = []
    for number, f in enumerate(faces):
        if not width or not height:
            break
        result.append(
            {
                "id": f"face{number}", "from_name": "face", "to_name": "image", "type": "rectanglelabels",
                "original_width": width, "original_height": height, "image_rotation": 0, "score": f["score"],
                "meta": {"meant": bool(f["meant"])},
                "value": {
                    "x": 100 * f["x"] / width, "y": 100 * f["y"] / height, "width": 100 * f["w"] / width,
                    "height": 100 * f["h"] / height, "rotation": 0, "rectanglelabels": ["face"],
                },
            }
        )  # fmt: skip
    if row["suggested_age"] is not None:
        value = {"number": max(0, min(99, round(row["suggested_age"])))}
        result.append({"id": "age", "from_name": "age", "to_name": "image", "type": "number", "value": value})
    return {
        "id": row["record_id"],
        "data": {
            "image": f"{row['part']}/{row['path']}", "part": row["part"], "path": row["path"], "sha256": row["sha256"],
            "width": width, "height": height, "claimed_age": row["age"], "reasons": row["reasons"],
            "details": row["details"], "estimates": [dict(e) for e in estimates],
        },
        "predictions": [{"model_version": "agebench", "score": row["label_suspicion"], "result": result}],
    }  # fmt: skip


def is_label_studio(data: bytes) -> bool:
    """Whether a file is Label Studio's JSON (a list of tasks), and not lines of decisions."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def answers_in(data: bytes, name: str) -> list[Decision]:
    """The annotations of an export (JSON, with predictions or without) as answers, each with an id of its own content,
    so that importing a file again changes nothing. An annotation changed later is a new answer, and the later one
    counts.

    Cancelled and empty annotations say nothing. The reviewer is `completed_by`'s e-mail address or number. Raises
    DecisionError with `name`, the task and what is wrong.
    """
    try:
        tasks = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise DecisionError(f"{name} is no JSON: {error}.", "Nothing was changed.") from error
    found = []
    for number, one in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        where = f"{name}, task {number + 1}"
        try:
            facts = one["data"]
            part, path, sha256 = facts["part"], facts["path"], facts.get("sha256")
            for annotation in one.get("annotations") or one.get("completions") or []:
                if annotation.get("was_cancelled") or not annotation.get("result"):
                    continue
                found.append(_answer(annotation, part, path, sha256, facts))
        except DecisionError as error:
            raise DecisionError(f"{where}: {error.message}", "Nothing was changed.") from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DecisionError(
                f"{where}: no task of `agebench review export` ({type(error).__name__}: {error}).",
                "Nothing was changed.",
            ) from error
    return found


def _answer(
    annotation: Mapping[str, Any], part: str, path: str, sha256: str | None, facts: Mapping[str, Any]
) -> Decision:
    choice: str | None = None
    age: int | None = None
    boxes: list[tuple[float, float, float, float]] = []
    note: str | None = None
    for item in annotation["result"]:
        value = item.get("value", {})
        if item["type"] == "choices" and item["from_name"] == "answer":
            choice = value["choices"][0]
        elif item["type"] == "number" and item["from_name"] == "age":
            if float(value["number"]) != int(value["number"]):
                raise DecisionError(f"the age {value['number']} is no whole number.")
            age = int(value["number"])
        elif item["type"] == "rectanglelabels":
            width = item.get("original_width") or facts["width"]
            height = item.get("original_height") or facts["height"]
            sides = (value["x"] * width, value["y"] * height, value["width"] * width, value["height"] * height)
            x, y, w, h = (round(side / 100, 2) for side in sides)
            boxes.append((x, y, w, h))
        elif item["type"] == "textarea":
            text = "\n".join(value["text"]) if isinstance(value["text"], list) else str(value["text"])
            note = text.replace("\r\n", "\n")
    if len(boxes) > 1:
        raise DecisionError(f"{len(boxes)} faces are marked; expected the one that is meant.")
    box = boxes[0] if boxes and all(map(math.isfinite, boxes[0])) else None
    if choice == "reject":
        answer, age, box = "reject", None, None
    elif age is not None and (choice == "keep" or choice is None) and age != facts.get("claimed_age"):
        answer = "age"
    else:
        answer, age = ("face" if box else "keep"), None
        if choice is None and box is None and not any(i["type"] == "number" for i in annotation["result"]):
            raise DecisionError("the annotation has neither an answer, an age nor a face.")
    who = annotation.get("completed_by")
    by = (
        str(who.get("email") or who.get("id"))
        if isinstance(who, Mapping)
        else str(who if who is not None else "label-studio")
    )
    when = str(annotation.get("updated_at") or annotation["created_at"])
    moment = datetime.fromisoformat(when)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    values: dict[str, Any] = {
        "at": moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z", "by": by, "kind": "decision",
        "part": part, "path": path, "sha256": sha256, "answer": answer, "age": age, "box": box, "note": note,
    }  # fmt: skip
    key = json.dumps([annotation.get("unique_id") or annotation.get("id"), values], sort_keys=True)
    return new_decision(id="label-studio-" + hashlib.sha256(key.encode()).hexdigest()[:32], **values)
