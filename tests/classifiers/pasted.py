"""FER2013 faces pasted into larger pictures, and what a detector finds of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.frame import DetectorScaler
from detectors.base import Detection, Detector

WIDTH_PX, HEIGHT_PX = 400, 320
SMALLEST_PX, LARGEST_PX = 96, 240
LONG_SIDE_PX = 320


@dataclass(frozen=True)
class Scene:
    """A frame with one face in it, whose window is `left`, `top`, `side` in pixels."""

    image: av.VideoFrame
    left: int
    top: int
    side: int


def scenes(faces: NDArray[np.uint8], seed: int) -> Iterator[Scene]:
    """One limited-range yuv420p frame for each of the faces, uint8 [N, 48, 48]."""
    rng = np.random.default_rng(seed)
    for number, face in enumerate(faces):
        side = int(rng.integers(SMALLEST_PX, LARGEST_PX + 1))
        left = int(rng.integers(16, WIDTH_PX - side - 16))
        top = int(rng.integers(16, HEIGHT_PX - side - 16))
        picture = _backdrop(rng, number % 3)
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        picture[top : top + side, left : left + side] = large
        luma = np.rint(16 + picture * (219 / 255)).astype(np.uint8)
        chroma = np.full((HEIGHT_PX // 2, WIDTH_PX), 128, np.uint8)
        image = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
        yield Scene(image, left, top, side)


def find(detector: Detector, scene: Scene) -> Detection | None:
    """The best detection whose middle lies in the face's window, in pixels of the scene."""
    small = DetectorScaler(LONG_SIDE_PX)(scene.image)
    factor = scene.image.width / small.shape[1]
    for detection in detector.detect(small):
        found = detection.scaled(factor, factor)
        x = found.box.x + found.box.width / 2 - scene.left
        y = found.box.y + found.box.height / 2 - scene.top
        if 0 < x < scene.side and 0 < y < scene.side:
            return found
    return None


def _backdrop(rng: np.random.Generator, kind: int) -> NDArray[np.float64]:
    """A plain, a shaded or a cloudy picture, float64 [HEIGHT_PX, WIDTH_PX]."""
    if kind == 0:
        return np.full((HEIGHT_PX, WIDTH_PX), rng.uniform(40, 215))
    coarse = rng.uniform(20, 235, (2, 2) if kind == 1 else (6, 8))
    grown = cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown, np.float64)
