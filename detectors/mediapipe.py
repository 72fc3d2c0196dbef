"""BlazeFace, short or full range, run by MediaPipe Tasks.

https://ai.google.dev/edge/mediapipe/solutions/vision/face_detector
"""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from detectors.base import Box, Detection, Range, ordered
from detectors.errors import BackendError, ModelMismatchError
from detectors.quiet import quiet

# MediaPipe tells Google of its use, at the latest when it is closed. It is given a proxy where
# nothing listens: `putenv` changes it for C libraries only; Python reads `os.environ`.
TOLD = "play.googleapis.com"
NOWHERE = "http://127.0.0.1:9"


def _tell_nobody() -> None:
    os.putenv("https_proxy", NOWHERE)
    for name in ("no_proxy", "NO_PROXY"):
        hosts = re.split("[ ,]+", os.environ.get(name, ""))
        os.putenv(name, ",".join(h for h in hosts if not TOLD.endswith(h.lstrip("*."))))
        if "*" in hosts:
            os.unsetenv("http_proxy")  # Without the `*` libav would use it.


_tell_nobody()

# Keypoints in the model's order; "right" is the person's.
RIGHT_EYE, LEFT_EYE, NOSE = 0, 1, 2


class MediaPipe:
    """The MediaPipe FaceDetector in image mode: no state between frames.

    `model` is the content of BlazeFace's .tflite file, `range` which of the two it is. Raises
    ModelMismatchError when MediaPipe does not take it, BackendError when MediaPipe itself does not
    start. Close it before the interpreter ends: MediaPipe cannot do so any later.
    """

    name = "mediapipe"

    def __init__(self, model: bytes, *, range: Range = "full", min_score: float = 0.5) -> None:
        self.description = f"mediapipe {range}"
        # Imported here: it takes more than a second, and other backends do without it.
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions
            from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions
        except (ImportError, OSError) as error:
            raise BackendError(f"MediaPipe does not start: {error}") from error

        self._mediapipe = mediapipe
        options = FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=model),
            min_detection_confidence=min_score,
        )
        with quiet():
            try:
                self._detector = FaceDetector.create_from_options(options)
            except (RuntimeError, ValueError) as error:
                raise ModelMismatchError(
                    f"MediaPipe does not load this face model: {error}"
                ) from error
            except OSError as error:
                raise BackendError(
                    f"MediaPipe does not start: {error}; on Debian and Ubuntu, "
                    "`apt install libegl1 libgles2` brings what it needs"
                ) from error
            # The first look warns once more, about memory that it then copies.
            self.detect(np.zeros((64, 64, 3), np.uint8))

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an RGB uint8 [h, w, 3] image, best score first."""
        height, width = image.shape[:2]
        picture = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image)
        )
        found = []
        for face in self._detector.detect(picture).detections:
            box = face.bounding_box
            points = [(point.x * width, point.y * height) for point in face.keypoints]
            found.append(
                Detection(
                    Box(box.origin_x, box.origin_y, box.width, box.height),
                    float(face.categories[0].score),
                    ordered(points[RIGHT_EYE], points[LEFT_EYE]),
                    points[NOSE],
                )
            )
        return sorted(found, key=lambda face: -face.score)

    def close(self) -> None:
        with quiet():
            self._detector.close()
