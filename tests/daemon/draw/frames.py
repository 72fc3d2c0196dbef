"""Grey frames, faces to draw on them, and what has changed since."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

from daemon.config.settings import COLOURS, OverlaySettings
from daemon.draw.overlay import Overlay
from daemon.draw.paint import Rect
from daemon.frame import plane
from daemon.reading import FaceView

LABELS = tuple(label for label in COLOURS if label != "unknown")
BT709, BT601, BT2020, FULL = 1, 5, 9, 2


def blank(
    width: int = 640, height: int = 360, pixel_format: str = "yuv420p", luma: int = 120
) -> av.VideoFrame:
    """A plain grey frame whose padding, where it has any, is grey too."""
    image = av.VideoFrame(width, height, pixel_format)
    for index, part in enumerate(image.planes):
        np.frombuffer(part, np.uint8)[:] = 128 if index else luma
    image.colorspace = BT601
    return image


def view(
    box_px: tuple[int, int, int, int],
    label: str | None = "happy",
    *,
    track: int = 1,
    age_s: float = 0.1,
    share: float = 0.93,
) -> FaceView:
    rest = (1 - share) / (len(LABELS) - 1)
    odds = {} if label is None else {name: share if name == label else rest for name in LABELS}
    return FaceView(track, box_px, label, odds, age_s)


def drawn(image: av.VideoFrame, *faces: FaceView, **settings: object) -> av.VideoFrame:
    Overlay(OverlaySettings.model_validate(settings)).draw(image, faces)
    return image


def planes(image: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [plane(image, index).copy() for index in range(3)]


def changed(before: Sequence[NDArray[np.uint8]], image: av.VideoFrame) -> Rect:
    """The smallest rectangle of luma pixels around everything that differs from `before`."""
    differs = before[0] != plane(image, 0)
    for index in (1, 2):
        coarse = before[index] != plane(image, index)
        differs |= coarse.repeat(2, 0).repeat(2, 1)[: differs.shape[0], : differs.shape[1]]
    if not differs.any():
        return Rect(0, 0, 0, 0)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return Rect(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
