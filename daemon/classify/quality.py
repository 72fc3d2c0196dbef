"""How well a face can be seen, and when that is too little to name its expression."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.reading import Quality, Why
from detectors.base import Detection, Point

# Typical distance between the eyes, over that of the nose's tip in front of them.
EYES_PER_NOSE = 1.6
# Relative Laplacian energy of a face that counts as half blurred.
HALF_BLURRED = 0.1
# Grey levels of deviation below which contrast is taken for noise of the 8-bit steps.
NOISE_LEVELS = 4.0


def assess(found: Detection, crop48: NDArray[np.uint8]) -> Quality:
    """Measure one face; `face_px` is in pixels of the picture in which it was found.

    crop48: uint8 [48, 48], what the classifier reads.
    """
    eyes, nose = found.eyes, found.nose
    return Quality(
        face_px=round(min(found.box.width, found.box.height)),
        blur=blur(crop48),
        yaw_deg=None if eyes is None or nose is None else yaw_deg(eyes, nose),
        score=found.score,
    )


def why_poor(quality: Quality, min_face_px: int, max_blur: float, max_yaw_deg: float) -> Why | None:
    """Why a reading of such a face would be a guess; None where it would not."""
    if quality.face_px < min_face_px:
        return "small"
    if quality.blur > max_blur:
        return "blurred"
    if quality.yaw_deg is not None and abs(quality.yaw_deg) > max_yaw_deg:
        return "turned"
    return None


def blur(face: NDArray[np.uint8]) -> float:
    """0 sharp .. 1 featureless, of uint8 [S, S].

    The face's Laplacian energy over its variance is the mean square of its spatial frequency:
    blind to brightness and contrast, and it only falls when the face is smoothed.
    """
    laplacian = cv2.Laplacian(face, cv2.CV_16S, borderType=cv2.BORDER_REFLECT_101)
    _, deviation = cv2.meanStdDev(face)
    square = float(cv2.norm(laplacian, cv2.NORM_L2SQR)) / laplacian.size
    energy: float = square / (float(deviation[0, 0]) ** 2 + NOISE_LEVELS**2)
    return 1.0 / (1.0 + energy / HALF_BLURRED)


def yaw_deg(eyes: tuple[Point, Point], nose: Point) -> float:
    """The head's turn, -90..90 degrees, positive when the nose points to the picture's right.

    On a head turned by a, eyes in one plane and the nose before it, the nose lies
    tan(a) / EYES_PER_NOSE eye distances beside the middle of the eyes.
    """
    (left_x, left_y), (right_x, right_y) = eyes
    dx, dy = right_x - left_x, right_y - left_y
    aside = (nose[0] - (left_x + right_x) / 2) * dx + (nose[1] - (left_y + right_y) / 2) * dy
    return math.degrees(math.atan2(EYES_PER_NOSE * aside, dx * dx + dy * dy))
