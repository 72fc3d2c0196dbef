"""OpenCV's Haar cascade for frontal faces: needs no model file, gives no landmarks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from cv2.data import haarcascades
from numpy.typing import NDArray

from detectors.base import Box, Detection
from detectors.errors import ModelMissingError

CASCADE = "haarcascade_frontalface_default.xml"
STAGES = 25
SCALE_STEP = 1.1
MIN_NEIGHBOURS = 5
MIN_SIDE_PX = 24


class Haar:
    """The Viola-Jones detector that ships inside OpenCV's own wheel.

    Its score is not a probability: a face that passed the cascade with margin w in its last
    stage scores w / (w + 1), so one that barely passed is near 0 and a clear one above 0.8.
    """

    name = description = "haar"

    def __init__(self, *, min_score: float = 0.5) -> None:
        path = Path(haarcascades) / CASCADE
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelMissingError(f"OpenCV's cascade {path} is missing or does not load")
        self._min_score = min_score

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an RGB uint8 [h, w, 3] image, best score first."""
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        boxes, stages, margins = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=SCALE_STEP,
            minNeighbors=MIN_NEIGHBOURS,
            minSize=(MIN_SIDE_PX, MIN_SIDE_PX),
            outputRejectLevels=True,
        )
        found = []
        for (x, y, w, h), passed, margin in zip(boxes, stages, margins, strict=True):
            score = score_of(float(margin))
            # With reject levels asked for, OpenCV also lists what the last stages rejected.
            if passed >= STAGES and score >= self._min_score:
                found.append(Detection(Box(float(x), float(y), float(w), float(h)), score))
        return sorted(found, key=lambda face: -face.score)

    def close(self) -> None:
        """Nothing to free: OpenCV counts references."""


def score_of(margin: float) -> float:
    """The margin of the last stage as a score of 0..1."""
    margin = max(0.0, margin)
    return margin / (margin + 1.0)
