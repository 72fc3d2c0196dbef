"""Soft masks, strokes and hills in face coordinates: what a drawn face is made of."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from daemon.sources.demo.pose import Points

Plane = NDArray[np.floating[Any]]
"""[height, width] float32."""

Picture = NDArray[np.floating[Any]]
"""[height, width, 3] float32 RGB, 0..1."""

LEFT, TOP, RIGHT, BOTTOM = -140.0, -213.0, 140.0, 272.0
"""What part of face coordinates a head's picture covers; see pose."""


class Grid:
    """A picture's grid in face coordinates.

    `x` [1, width] and `y` [height, 1] are the coordinates of its pixels.
    """

    def __init__(self, px_per_unit: float) -> None:
        self.scale = px_per_unit
        width = round((RIGHT - LEFT) * px_per_unit)
        height = round((BOTTOM - TOP) * px_per_unit)
        self.shape = (height, width)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / px_per_unit + LEFT)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / px_per_unit + TOP)[:, None]

    def blurred(self, plane: Plane, blur: float) -> Plane:
        """Blurred with a deviation of `blur` units."""
        soft: Plane = cv2.GaussianBlur(plane, (0, 0), max(0.3, blur * self.scale))
        return soft

    def fill(self, *outlines: Points, blur: float, mirror: bool = False) -> Plane:
        """1 inside the outlines, 0 outside, with a soft edge."""
        if mirror:
            outlines = (*outlines, *(mirrored(points) for points in outlines))
        origin = np.array([LEFT, TOP], np.float32)
        spots = [(points - origin) * self.scale - 0.5 for points in outlines]
        # Only the part that the shapes reach is drawn and blurred.
        every = np.vstack(spots)
        reach = 4 * max(0.3, blur * self.scale) + 2
        limits = np.array(self.shape[::-1])
        low = np.clip(np.floor(every.min(0) - reach), 0, limits).astype(int)
        high = np.clip(np.ceil(every.max(0) + reach), 0, limits).astype(int)
        plane = np.zeros(self.shape, np.float32)
        if (high <= low).any():
            return plane
        mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        for spot in spots:
            fixed = np.round((spot - low) * 16).astype(np.int32)
            cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, 4)
        soft = mask.astype(np.float32) / 255
        plane[low[1] : high[1], low[0] : high[0]] = self.blurred(soft, blur)
        return plane

    def strokes(self, *lines: Points, width: float, blur: float, mirror: bool = True) -> Plane:
        """Lines `width` units thick in their middle, thin at both ends."""
        return self.fill(*(ribbon(line, width) for line in lines), blur=blur, mirror=mirror)

    def bump(self, x: float, y: float, sx: float, sy: float) -> Plane:
        """A Gaussian hill of height 1 with deviations sx and sy."""
        return self._across(x, sx) * self._down(y, sy)

    def bumps(self, x: float, y: float, sx: float, sy: float) -> Plane:
        """A hill and its mirror image."""
        return (self._across(x, sx) + self._across(-x, sx)) * self._down(y, sy)

    def _across(self, x: float, deviation: float) -> Plane:
        return np.asarray(np.exp(-0.5 * ((self.x - x) / deviation) ** 2), np.float32)

    def _down(self, y: float, deviation: float) -> Plane:
        return np.asarray(np.exp(-0.5 * ((self.y - y) / deviation) ** 2), np.float32)


def mirrored(points: Points) -> Points:
    return points * np.array([-1, 1], np.float32)


def ellipse(x: float, y: float, rx: float, ry: float) -> Points:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False, dtype=np.float32)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1).astype(np.float32)


def ribbon(points: Points, width: ArrayLike) -> Points:
    """The outline of a line; a single width is that of its middle and thins to the ends."""
    along = np.gradient(points, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    half = np.broadcast_to(0.5 * np.asarray(width, np.float32), (len(points),))
    if np.ndim(width) == 0:
        s = np.linspace(0.02, 0.98, len(points), dtype=np.float32)
        half = half * np.sin(np.pi * s) ** 0.7
    side = across * half[:, None]
    return np.vstack([points + side, (points - side)[::-1]]).astype(np.float32)


def window(mask: Plane) -> tuple[slice, slice]:
    """The part of the mask that is not empty."""
    x, y, width, height = cv2.boundingRect((mask > 0.003).view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def paint(picture: Picture, mask: Plane, colour: ArrayLike) -> None:
    """Lay a colour (RGB 0..1, or a picture) over the picture, as thick as the mask."""
    at = window(mask)
    layer = np.asarray(colour, np.float32)
    if layer.ndim == 3:
        layer = layer[at]
    part = picture[at]
    part += (layer - part) * mask[at][..., None]


def darken(picture: Picture, mask: Plane, amount: float) -> None:
    """Take away `amount` of the light where the mask is 1."""
    at = window(mask)
    picture[at] *= (1 - amount * np.clip(mask[at], 0, 1))[..., None]
