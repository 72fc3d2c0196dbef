"""The crop contract: from the Y plane and a detection to the 48x48 face that the net reads.

The net learnt on FER2013, so every detector's box is brought to FER2013's framing. The numbers
are fitted by tests/bench/fit_crop.py and explained in docs/crop-contract.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FACE_PX = 48
LARGE_PX = 4 * FACE_PX  # an upright window so large may be rounded to whole pixels: much cheaper
HUGE_PX = 6 * FACE_PX  # one so large is averaged two by two first, which is three times as fast
MOST_SAMPLES = 8  # per axis and output pixel: covers every pixel of a face up to 768 px

# FER2013's faces tilt by so much, and eye points err by as much: only a tilt beyond is corrected.
SLACK_RAD = math.radians(10.0)

Point = tuple[float, float]


@dataclass(frozen=True)
class Framing:
    """Where FER2013's square window lies, seen from one detector's box.

    `side` is the window's side, `shift` the way from the box's centre to the window's, right
    and down along the upright face. The unit of both is the box's size, sqrt(width * height).
    """

    side: float
    shift: Point


FRAMINGS: dict[str, Framing] = {
    "mediapipe": Framing(side=1.182, shift=(0.0, -0.105)),
    "yunet": Framing(side=1.082, shift=(0.0, -0.022)),
    "haar": Framing(side=1.042, shift=(0.0, 0.003)),
}
"""The framing of each detection backend, by its name."""

_LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16.0) * 255.0 / 219.0), 0, 255).astype(
    np.uint8
)


def crop(
    luma: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    eyes: tuple[Point, Point] | None,
    framing: Framing,
    full_range: bool,
) -> NDArray[np.uint8]:
    """Cut one face out of a Y plane, framed and turned like a FER2013 face.

    luma: uint8 [H, W], a row-strided view will do and is not copied. box: x, y, width, height
    of the detection and eyes: the eye at the picture's left, then the other, in pixels of
    luma. full_range: whether luma spans 0..255 rather than 16..235.
    Returns uint8 [48, 48], 0..255. Outside of the picture its border goes on.
    Raises ValueError for a box without area or with a number that is not finite.
    """
    x, y, width, height = box
    if not (width > 0 and height > 0 and all(map(math.isfinite, box))):
        raise ValueError(f"box {box} has no area; accepted are finite numbers, width, height > 0")
    cos, sin = _upright(eyes)
    size = math.sqrt(width * height)
    right, down = framing.shift[0] * size, framing.shift[1] * size
    centre_x = x + width / 2 + cos * right - sin * down
    centre_y = y + height / 2 + sin * right + cos * down
    return _cut(luma, (centre_x, centre_y), framing.side * size, cos, sin, full_range)


def _upright(eyes: tuple[Point, Point] | None) -> Point:
    """The crop's rightward unit vector: along the eyes, less the slack; level without eyes."""
    if eyes is None:
        return 1.0, 0.0
    angle = math.atan2(eyes[1][1] - eyes[0][1], eyes[1][0] - eyes[0][0])
    angle = math.copysign(max(0.0, abs(angle) - SLACK_RAD), angle)
    return math.cos(angle), math.sin(angle)


def _cut(
    luma: NDArray[np.uint8], centre: Point, side: float, cos: float, sin: float, full_range: bool
) -> NDArray[np.uint8]:
    """Sample the window `samples` times finer than the result, then average: no aliasing."""
    left, top, whole = (round(v) for v in (centre[0] - side / 2, centre[1] - side / 2, side))
    inside = min(left, top) >= 0 and top + whole <= luma.shape[0] and left + whole <= luma.shape[1]
    if inside and sin == 0.0 and side >= LARGE_PX:
        around = luma[top : top + whole, left : left + whole]
        if whole >= HUGE_PX:
            half = whole // 2
            around = around[: 2 * half, : 2 * half]
            around = cv2.resize(around, (half, half), interpolation=cv2.INTER_AREA)
        return _expanded(
            cv2.resize(around, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA), full_range
        )
    samples = min(MOST_SAMPLES, max(1, math.ceil(side / FACE_PX)))
    fine_px = FACE_PX * samples
    step = side / fine_px
    # Pixel i of a picture covers i..i+1 in coordinates, and cv2 speaks of its middle as i.
    middle = fine_px / 2 - 0.5
    a, b = cos * step, -sin * step
    matrix = np.array(
        [
            [a, b, centre[0] - 0.5 - (a + b) * middle],
            [-b, a, centre[1] - 0.5 - (a - b) * middle],
        ]
    )
    face: NDArray[np.uint8] = cv2.warpAffine(
        luma,
        matrix,
        (fine_px, fine_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if samples > 1:
        face = cv2.resize(face, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    return _expanded(face, full_range)


def _expanded(face: NDArray[np.uint8], full_range: bool) -> NDArray[np.uint8]:
    return face if full_range else _LIMITED_TO_FULL[face]
