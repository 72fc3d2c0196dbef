"""What every face detector takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float]
Range = Literal["short", "full"]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    def scaled(self, fx: float, fy: float) -> Box:
        return Box(self.x * fx, self.y * fy, self.width * fx, self.height * fy)

    def rounded(self) -> tuple[int, int, int, int]:
        """The same in whole pixels."""
        return round(self.x), round(self.y), round(self.width), round(self.height)


@dataclass(frozen=True, slots=True)
class Detection:
    """One face. `eyes` are the one more to the left in the picture, then the other.

    Coordinates are pixels of the image that was given to `detect`; `scaled` brings them to
    another size. `eyes` and `nose` are None where the backend gives no landmarks.
    """

    box: Box
    score: float
    eyes: tuple[Point, Point] | None = None
    nose: Point | None = None

    def scaled(self, fx: float, fy: float) -> Detection:
        return self._placed(self.box.scaled(fx, fy), lambda point: (point[0] * fx, point[1] * fy))

    def moved(self, dx: float, dy: float) -> Detection:
        """The same face, `dx` further right and `dy` further down."""
        box = Box(self.box.x + dx, self.box.y + dy, self.box.width, self.box.height)
        return self._placed(box, lambda point: (point[0] + dx, point[1] + dy))

    def _placed(self, box: Box, at: Callable[[Point], Point]) -> Detection:
        return Detection(
            box,
            self.score,
            None if self.eyes is None else (at(self.eyes[0]), at(self.eyes[1])),
            None if self.nose is None else at(self.nose),
        )


def ordered(eye: Point, other: Point) -> tuple[Point, Point]:
    """Two eyes as Detection wants them: the one more to the left in the picture first."""
    return (eye, other) if eye[0] <= other[0] else (other, eye)


class Detector(Protocol):
    """A face detector. One instance belongs to one thread.

    `name` is the backend: `mediapipe`, `yunet` or `haar`; the crop contract keeps a framing
    for each name. `description` also says which model it has where there are several, and what
    computes it where that is not the usual library.
    """

    name: str
    description: str

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an RGB uint8 [h, w, 3] image, best score first."""
        ...

    def close(self) -> None:
        """Free the backend's resources; the detector is not used again."""
        ...
