"""Whether a camera's picture has frozen: the same one over and over, with new timestamps."""

from __future__ import annotations

import cv2
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from daemon.frame import plane

# A still picture that is encoded again and again differs by two levels at most; a sensor's noise,
# or a clock in the picture, makes larger differences.
STILL_LEVELS = 2
LOOK_S = 1.0
MOVES_AFTER_S = 10.0
LONGEST_PATIENCE_S = 3600.0


class Stillness:
    """Compares the luma of a source's pictures, every pixel of it.

    While the picture changes, it looks at one picture a second; from the first unchanged one on, at
    every picture. So watching costs next to nothing, and one picture that differs is enough.

    A scene that stands still by nature (a test card, a cap on the lens) is unchanged after the
    source was opened again. So each time the time-out is doubled, up to an hour; it is reset once
    the picture has moved for ten seconds. A `timeout_s` of 0 never finds anything frozen.
    """

    def __init__(self, timeout_s: float) -> None:
        self.patience_s = self._timeout_s = timeout_s
        self._seen: NDArray[np.uint8] | None = None
        self._same = False
        self._looked_s = self._since_s = self._moves_since_s = 0.0

    def begin(self, now_s: float) -> None:
        """The source was opened: time counts from here."""
        self._looked_s = now_s - LOOK_S
        self._since_s = self._moves_since_s = now_s

    def is_frozen(self, image: VideoFrame, now_s: float) -> bool:
        """Look at the next picture; returns whether it has been the same for too long."""
        if self._timeout_s == 0.0 or not (self._same or now_s - self._looked_s >= LOOK_S):
            return False
        self._looked_s = now_s
        luma = plane(image, 0)
        self._same = self._is_like(luma)
        if not self._same:
            self._seen, self._since_s = luma.copy(), now_s
            if now_s - self._moves_since_s >= MOVES_AFTER_S:
                self.patience_s = self._timeout_s
            return False
        self._moves_since_s = now_s
        if now_s - self._since_s < self.patience_s:
            return False
        self.patience_s = min(2.0 * self.patience_s, LONGEST_PATIENCE_S)
        return True

    def _is_like(self, luma: NDArray[np.uint8]) -> bool:
        if self._seen is None or self._seen.shape != luma.shape:
            return False
        return bool(cv2.norm(self._seen, luma, cv2.NORM_INF) <= STILL_LEVELS)
