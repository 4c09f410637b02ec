"""Pictures for the page: by record, never by path; decoded and re-encoded, so that no byte of a file is sent."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from agebench.errors import RemoteError
from agebench.pictures import Locator, decode, read_bytes
from agebench.review.server.session import ReviewSession

AT_ONCE = 3  # pictures decoded at the same time: a large one takes hundreds of megabytes
KEPT_BYTES = 48 * 2**20
MARGIN = 0.6  # shown around a face, as a share of its sides
QUALITY = 88


class Changed(Exception):
    """A record's file has changed since its evidence was collected."""


class Pictures:
    """JPEGs of a session's records; the latest ones stay in memory."""

    def __init__(self, session: ReviewSession) -> None:
        self.session = session
        self._room = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int, int, bool, int | None], bytes] = OrderedDict()
        self._bytes = 0

    def jpeg(self, record_id: int, side: int, *, face: bool = False, face_no: int | None = None) -> bytes | None:
        """A picture with at most `side` pixels on its long side. face: only a face (`face_no`, else the one that the
        evidence is about). None if there is no picture.

        Raises Changed if the record's hash is in memory (see `ReviewSession.content`) and the file has another one."""
        now = self.session.snapshot
        key = (now.number, record_id, side, face, face_no)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        name = self.session.name(record_id)
        if name is None:
            return None
        file, fault = Locator(now.folders).find(*name)
        if file is None or fault is not None:
            return None
        box = self._box(record_id, face_no) if face else None
        enough = side if box is None else int(side * max(box[4:]) / max(box[2:4]))
        expected = self.session.content(record_id)
        with self._room:
            try:
                data, fault = read_bytes(file)
            except RemoteError:
                return None
            if fault is not None:
                return None
            if expected is not None and hashlib.sha256(data).hexdigest() != expected:
                now.changed.add(record_id)
                raise Changed
            picture, _ = decode(data, at_least=enough)
            if picture is None:
                return None
            encoded = _encoded(picture.rgb, picture.scale, side, box[:4] if box else None)
        with self._lock:
            self._bytes += len(encoded) - len(self._kept.pop(key, b""))  # another thread may have stored it meanwhile
            self._kept[key] = encoded
            while self._bytes > KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return encoded

    def _box(self, record_id: int, face_no: int | None) -> tuple[float, ...] | None:
        """x, y, w, h of the region to show, and the picture's width and height, in pixels; None without a face."""
        found = self.session.face(record_id, face_no)
        if found is None:
            return None
        x, y, w, h, *size = found
        return x - MARGIN * w, y - MARGIN * h, w * (1 + 2 * MARGIN), h * (1 + 2 * MARGIN), *size


def _encoded(rgb: NDArray[np.uint8], scale: float, side: int, box: tuple[float, ...] | None) -> bytes:
    if box is not None:
        height, width = rgb.shape[:2]
        x, y, w, h = (value * scale for value in box)
        left, top = max(0, int(x)), max(0, int(y))
        part = rgb[top : min(height, int(y + h) + 1), left : min(width, int(x + w) + 1)]
        rgb = part if part.size else rgb
    height, width = rgb.shape[:2]
    zoom = side / max(height, width)
    if zoom < 1:
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    _, data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return data.tobytes()
