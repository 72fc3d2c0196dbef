"""YuNet, run by OpenCV's FaceDetectorYN.

https://docs.opencv.org/4.x/df/d20/classcv_1_1FaceDetectorYN.html
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.base import Box, Detection, ordered
from detectors.errors import ModelMismatchError

NMS_OVERLAP = 0.3
# Candidates kept before overlapping ones are merged: far more than faces fit a picture.
TOP_K = 1000
# With a side below 33 px the coarsest grid has one row, and OpenCV 4.14 reads past its end.
MIN_SIDE_PX = 64


class YuNet:
    """OpenCV's YuNet detector. `model` is the content of its .onnx file.

    Raises ModelMismatchError when OpenCV does not take it.
    """

    name = description = "yunet"

    def __init__(self, model: bytes, *, min_score: float = 0.5) -> None:
        content = np.frombuffer(model, np.uint8)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                "onnx", content, np.empty(0, np.uint8), (320, 320), min_score, NMS_OVERLAP, TOP_K
            )
        except cv2.error as error:
            raise ModelMismatchError(
                f"OpenCV does not load this face model: {error.err}"
            ) from error

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an RGB uint8 [h, w, 3] image, best score first."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        height, width = bgr.shape[:2]
        below, beside = max(0, MIN_SIDE_PX - height), max(0, MIN_SIDE_PX - width)
        if below or beside:
            bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_CONSTANT)
        self._detector.setInputSize((width + beside, height + below))
        _, rows = self._detector.detect(bgr)
        return [] if rows is None else as_detections(rows)

    def close(self) -> None:
        """Nothing to free: OpenCV counts references."""


def as_detections(rows: NDArray[np.float32]) -> list[Detection]:
    """What YuNet's rows [N, 15] mean: box x, y, width and height, five points, and the score.

    The points are the person's right and left eye, the nose and the corners of the mouth. Best
    score first.
    """
    found = []
    for row in np.asarray(rows, np.float64).tolist():
        x, y, w, h, right_x, right_y, left_x, left_y, nose_x, nose_y, *_, score = row
        found.append(
            Detection(
                Box(x, y, w, h),
                score,
                ordered((right_x, right_y), (left_x, left_y)),
                (nose_x, nose_y),
            )
        )
    return sorted(found, key=lambda face: -face.score)
