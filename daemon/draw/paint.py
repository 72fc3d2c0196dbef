"""Colours as a frame stores them, and a canvas that puts them on its Y, U and V planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.draw.glyphs import OPAQUE_BITS, Alpha, Strip
from daemon.frame import FORMATS, colorspace_of, is_full_range, plane

Rgb = tuple[int, int, int]

# Weights of red and blue in luma (ITU-R BT.709-6, BT.601-7, BT.2020-2), by libav's colorspace.
_BT709, _BT601, _BT2020 = (0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)
_WEIGHTS = {4: _BT601, 5: _BT601, 6: _BT601, 9: _BT2020, 10: _BT2020}


class Paint(NamedTuple):
    """One colour as samples of the three planes."""

    y: int
    u: int
    v: int


class Rect(NamedTuple):
    """Pixels x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area(self) -> int:
        return max(0, self.width) * max(0, self.height)

    def within(self, other: Rect) -> Rect:
        """The intersection; its area is 0 where the two do not meet."""
        a0, b0, a1, b1 = self
        c0, d0, c1, d1 = other
        return Rect(
            a0 if a0 > c0 else c0,
            b0 if b0 > d0 else d0,
            a1 if a1 < c1 else c1,
            b1 if b1 < d1 else d1,
        )

    def covers(self, other: Rect) -> bool:
        return (
            self.x0 <= other.x0
            and self.y0 <= other.y0
            and self.x1 >= other.x1
            and self.y1 >= other.y1
        )

    def shared(self, other: Rect) -> int:
        """Pixels that both cover."""
        if self.x0 >= other.x1 or other.x0 >= self.x1:
            return 0
        if self.y0 >= other.y1 or other.y0 >= self.y1:
            return 0
        return self.within(other).area


@dataclass(frozen=True, slots=True)
class ColourSystem:
    """How RGB becomes Y, U and V: the matrix's red and blue weights, and the range."""

    red: float
    blue: float
    full_range: bool

    @classmethod
    def of(cls, image: av.VideoFrame) -> ColourSystem:
        """The system that `image` names, or that players assume where it names none."""
        red, blue = _WEIGHTS.get(colorspace_of(image), _BT709)
        return cls(red, blue, is_full_range(image))

    def paint(self, rgb: Rgb) -> Paint:
        r, g, b = (value / 255 for value in rgb)
        luma = self.red * r + (1 - self.red - self.blue) * g + self.blue * b
        blueness, redness = (b - luma) / 2 / (1 - self.blue), (r - luma) / 2 / (1 - self.red)
        if self.full_range:
            y, span = 255 * luma, 255
        else:
            y, span = 16 + 219 * luma, 224
        u, v = (min(255, round(128 + span * part)) for part in (blueness, redness))
        return Paint(round(y), u, v)


class Canvas:
    """The planes of one writable yuv420p or yuvj420p frame.

    Whatever lies outside the frame is cut off. Coordinates are luma pixels; even ones keep luma
    and chroma aligned.
    """

    def __init__(self, image: av.VideoFrame) -> None:
        if image.format.name not in FORMATS:
            raise ValueError(f"cannot draw on {image.format.name}; accepted: {', '.join(FORMATS)}")
        self.frame = Rect(0, 0, image.width, image.height)
        self._planes = [plane(image, index) for index in range(3)]

    def fill(self, rect: Rect, paint: Paint) -> None:
        """Cover `rect` with `paint`."""
        for part, value in zip(self._parts(rect), paint, strict=False):
            part[:] = value

    def tint(self, rect: Rect, paint: Paint, opacity: float) -> None:
        """Blend `paint` over `rect` with `opacity` 0..1."""
        for part, value in zip(self._parts(rect), paint, strict=False):
            _mix(part, value, opacity)

    def shade(self, rect: Rect, luma: int, opacity: float) -> None:
        """As `tint`, but on luma alone: the picture keeps its colours."""
        for part in self._parts(rect)[:1]:
            _mix(part, luma, opacity)

    def smear(self, rect: Rect, cell_px: float) -> None:
        """Replace `rect` by the means of cells of `cell_px`, interpolated between cells."""
        for part, cell in zip(self._parts(rect), (cell_px, cell_px / 2, cell_px / 2), strict=False):
            _smear(part, cell)

    def write(self, strip: Strip, x: int, y: int, paint: Paint) -> None:
        """Blend `paint` through the mask `strip`, whose top left comes to (x, y), both even."""
        _blend(self._planes[0], strip.luma, x, y, paint.y)
        _blend(self._planes[1], strip.chroma, x // 2, y // 2, paint.u)
        _blend(self._planes[2], strip.chroma, x // 2, y // 2, paint.v)

    def _parts(self, rect: Rect) -> list[NDArray[np.uint8]]:
        """Views of `rect` in Y, U and V; none where it lies outside."""
        rect = rect.within(self.frame)
        if not rect.area:
            return []
        luma, blueness, redness = self._planes
        half = slice(rect.y0 // 2, (rect.y1 + 1) // 2), slice(rect.x0 // 2, (rect.x1 + 1) // 2)
        return [luma[rect.y0 : rect.y1, rect.x0 : rect.x1], blueness[half], redness[half]]


def _mix(region: NDArray[np.uint8], value: int, opacity: float) -> None:
    cv2.convertScaleAbs(region, region, 1 - opacity, value * opacity)


def _smear(region: NDArray[np.uint8], cell_px: float) -> None:
    height, width = region.shape
    cells = max(1, round(width / cell_px)), max(1, round(height / cell_px))
    means = cv2.resize(region, cells, interpolation=cv2.INTER_AREA)
    region[:] = cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)


def _blend(part: NDArray[np.uint8], alpha: Alpha, x: int, y: int, value: int) -> None:
    left, top = max(0, -x), max(0, -y)
    region = part[max(0, y) : max(0, y + alpha.shape[0]), max(0, x) : max(0, x + alpha.shape[1])]
    height, width = region.shape
    if not region.size:
        return
    change = np.subtract(value, region, dtype=np.int16)
    change *= alpha[top : top + height, left : left + width]
    change >>= OPAQUE_BITS
    region += change.astype(np.uint8)  # Wraps around to the right sum.
