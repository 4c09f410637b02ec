"""Label Studio's JSON: the queue is exported as tasks, and annotations are imported as answers.

Annotators often submit a task as it was prefilled. So only the rectangle of the chosen face is prefilled, and what
comes back unchanged is not taken for an answer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agebench.errors import DecisionError
from agebench.pictures import Locator
from agebench.remote import Folder
from agebench.review.decisions import Decision, new_decision

SAME = 0.05  # per cent of the picture's sides by which an unmoved rectangle may differ

# The labelling interface for the tasks; annotations come back with the names used here.
LABELLING = """<View>
  <Image name="image" value="$image"/>
  <Header value="Claimed age: $claimed_age. $details $estimated"/>
  <Choices name="answer" toName="image"><Choice value="keep"/><Choice value="reject"/></Choices>
  <Number name="age" toName="image" min="0" max="99"/>
  <RectangleLabels name="face" toName="image"><Label value="face"/></RectangleLabels>
  <TextArea name="note" toName="image"/>
</View>
"""


def document_root(folders: Iterable[Folder]) -> Path | None:
    """The folder below which Label Studio serves local files: the one that holds all local folders of a release, with
    links resolved. None if all of them are remote."""
    parents = [folder.resolve().parent for folder in folders if isinstance(folder, Path)]
    return Path(os.path.commonpath(parents)) if parents else None


def image_address(locator: Locator, root: Path | None, part: str, path: str) -> str:
    """Where Label Studio loads the picture of a record from: a local file by its path below `root` (see
    `document_root`), a remote one by its URL. A path that leads out of its folder stays as the release spells it: Label
    Studio is not asked to serve that file."""
    file, _ = locator.find(part, path)
    if file is None:
        return f"{part}/{path}"
    if root is None or not isinstance(file, str):
        return str(file)
    return "/data/local-files/?d=" + quote(Path(file).relative_to(root).as_posix())


def needed_settings(folders: Iterable[Folder], root: Path) -> str:
    """What must be set so that Label Studio loads local pictures, as a sentence. root: see `document_root`."""
    local = ", ".join(sorted({str(folder.resolve()) for folder in folders if isinstance(folder, Path)}))
    return (
        "Label Studio loads the pictures if it is started with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}, and if its project has a local storage for each of: {local}."
    )


def task(
    row: Mapping[str, Any], faces: Sequence[Mapping[str, Any]], estimates: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One task. row: record_id, part, path, age, sha256, reasons (joined by `;`), details, width, height (pixels),
    label_suspicion, suggested_age, and image (see `image_address`); faces: x, y, w, h (pixels), score, meant;
    estimates: estimator, age (years)."""
    width, height = row["width"], row["height"]
    result: list[dict[str, Any]] = [
        {
            "id": f"face{number}", "from_name": "face", "to_name": "image", "type": "rectanglelabels",
            "original_width": width, "original_height": height, "image_rotation": 0, "score": f["score"],
            "value": {
                "x": 100 * f["x"] / width, "y": 100 * f["y"] / height, "width": 100 * f["w"] / width,
                "height": 100 * f["h"] / height, "rotation": 0, "rectanglelabels": ["face"],
            },
        }
        for number, f in enumerate(faces) if f["meant"] and width and height
    ]  # fmt: skip
    said = [f"{e['estimator']}: {e['age']:.0f}" for e in estimates if e["age"] is not None]
    if row["suggested_age"] is not None:
        said.insert(0, f"suggested: {row['suggested_age']:.0f}")
    return {
        "id": row["record_id"],
        "data": {
            "image": row["image"], "part": row["part"], "path": row["path"], "sha256": row["sha256"],
            "width": width, "height": height, "claimed_age": row["age"], "reasons": row["reasons"],
            "details": row["details"], "estimated": f"Estimates: {', '.join(said)}." if said else "",
            "prefilled": [_sides(one["value"]) for one in result],
        },
        "predictions": [{"model_version": "agebench", "score": row["label_suspicion"], "result": result}],
    }  # fmt: skip


def is_label_studio(data: bytes) -> bool:
    """Whether a file is Label Studio's JSON (a list of tasks), and not lines of decisions."""
    return data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def answers_in(data: bytes, name: str) -> tuple[list[Decision], list[str]]:
    """The annotations of an export (JSON, with or without predictions) as answers, and a note on each one that cannot
    be read, such as one with two faces marked. An answer's id comes from its content, so importing a file again changes
    nothing; an annotation that was changed since is a new answer, and the later one counts.

    Cancelled and empty annotations are skipped. The reviewer is the e-mail address or number in `completed_by`. Raises
    DecisionError, with `name`, the task and what is wrong, if the file holds anything but such tasks.
    """
    try:
        tasks = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:
        raise DecisionError(f"{name} is not JSON: {error}.", "Nothing was changed.") from error
    found, unread = [], []
    for number, one in enumerate(tasks if isinstance(tasks, list) else [tasks], 1):
        try:
            facts = one["data"]
            part, path, sha256 = str(facts["part"]), str(facts["path"]), facts.get("sha256")
            annotations = list(one.get("annotations") or one.get("completions") or [])
            prefilled = _Prefilled(one)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DecisionError(
                f"{name}, task {number}: not a task from `agebench review export` ({type(error).__name__}: {error}).",
                "Nothing was changed.",
            ) from error
        for annotation in annotations:
            try:
                if annotation.get("was_cancelled") or not annotation.get("result"):
                    continue
                found.append(_answer(annotation, part, path, sha256, facts, prefilled))
            except DecisionError as error:
                unread.append(f"{name}, task {number} ({part} {path}): {error.message} It is left out.")
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
                kind = type(error).__name__
                unread.append(
                    f"{name}, task {number} ({part} {path}): not a valid annotation ({kind}: {error}). It is left out."
                )
    return found, unread


class _Prefilled:
    """What a task was prefilled with: rectangles, in per cent of the picture's sides, and ages."""

    def __init__(self, one: Mapping[str, Any]) -> None:
        items = [
            item
            for prediction in one.get("predictions") or []
            if isinstance(prediction, Mapping)  # some exports hold numbers instead
            for item in prediction.get("result") or []
        ]
        faces = [_sides(item["value"]) for item in items if item["type"] == "rectanglelabels"]
        self.faces: list[list[float]] = one["data"].get("prefilled") or faces
        self.ages = [item["value"]["number"] for item in items if item["type"] == "number"]

    def has(self, faces: list[list[float]]) -> bool:
        """Whether these rectangles are the prefilled ones, unmoved."""
        far = (abs(a - b) for one, two in zip(sorted(faces), sorted(self.faces), strict=False)
               for a, b in zip(one, two, strict=True))  # fmt: skip
        return len(faces) == len(self.faces) and max(far, default=0.0) <= SAME


def _sides(value: Mapping[str, Any]) -> list[float]:
    return [float(value[side]) for side in ("x", "y", "width", "height")]


def _answer(
    annotation: Mapping[str, Any],
    part: str,
    path: str,
    sha256: str | None,
    facts: Mapping[str, Any],
    prefilled: _Prefilled,
) -> Decision:
    choice: str | None = None
    age: int | None = None
    faces: list[list[float]] = []
    turned = False
    width, height = float(facts.get("width") or 0), float(facts.get("height") or 0)
    note: str | None = None
    for item in annotation["result"]:
        value = item.get("value", {})
        if item["type"] == "choices" and item["from_name"] == "answer":
            choice = value["choices"][0]
        elif item["type"] == "number" and item["from_name"] == "age":
            if value["number"] in prefilled.ages:
                continue
            if float(value["number"]) != int(value["number"]):
                raise DecisionError(f"the age {value['number']} is not a whole number.")
            age = int(value["number"])
        elif item["type"] == "rectanglelabels":
            width, height = item.get("original_width") or width, item.get("original_height") or height
            turned |= bool(value.get("rotation") or item.get("image_rotation"))
            faces.append(_sides(value))
        elif item["type"] == "textarea":
            text = "\n".join(value["text"]) if isinstance(value["text"], list) else str(value["text"])
            note = text.replace("\r\n", "\n")
    box: tuple[float, ...] | None = None
    if choice == "reject":
        answer, age = "reject", None
    else:
        if not prefilled.has(faces) or turned:
            if len(faces) > 1:
                raise DecisionError(f"{len(faces)} faces are marked; expected one.")
            if turned:
                raise DecisionError("the rectangle is rotated; expected an upright one.")
            if faces and not (width and height):
                raise DecisionError("the size of the picture is missing, so the rectangle has no place.")
            for x, y, w, h in faces:
                box = tuple(round(v * side / 100, 2) for v, side in ((x, width), (y, height), (w, width), (h, height)))
        if choice is None and age is None and box is None:
            raise DecisionError("it has no answer, age or face beyond what was prefilled.")
        answer = "age" if age is not None and age != facts.get("claimed_age") else "face" if box else "keep"
        age = age if answer == "age" else None
    when = str(annotation.get("updated_at") or annotation["created_at"])
    moment = datetime.fromisoformat(when)
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    values: dict[str, Any] = {
        "at": moment.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z", "by": _who(annotation),
        "kind": "decision", "part": part, "path": path, "sha256": sha256, "answer": answer, "age": age, "box": box,
        "note": note, "claimed": facts.get("claimed_age"),
    }  # fmt: skip
    key = json.dumps([annotation.get("unique_id") or annotation.get("id"), values], sort_keys=True)
    # The 2 sorts these ids after those of an earlier version, which took prefilled values for answers.
    return new_decision(id="label-studio2-" + hashlib.sha256(key.encode()).hexdigest()[:32], **values)


def _who(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("id")
        if who is None:
            raise DecisionError("`completed_by` has neither an e-mail address nor an id, so the reviewer is unknown.")
    return "label-studio" if who is None else str(who)
