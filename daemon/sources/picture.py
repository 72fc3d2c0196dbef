"""Bring any decoded picture into the form that a Frame promises: 4:2:0, upright, of square pixels
and even sides; then rotated and mirrored as the stream's settings say."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from daemon.errors import Reason, SourceError
from daemon.frame import BT601, FORMATS, plane, tag_alike

MIN_SIDE_PX = 16
MAX_SIDE_PX = 8192
SQUARE = Fraction(1)
# A ratio nearer to 1 comes from a rounded number of columns; one further from 1 from damage.
_LEAST_STRETCH, _MOST_STRETCH = 1.02, 4.0
# What libswscale can convert from; a damaged header may name any other number.
_COLOURSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
_UNSPECIFIED = 2
_CLOCKWISE = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


@dataclass(frozen=True, slots=True)
class Orientation:
    """Clockwise by 0, 90, 180 or 270 degrees; then, if it `mirrors`, left and right are swapped."""

    clockwise_deg: int = 0
    mirrors: bool = False

    def then(self, after: Orientation) -> Orientation:
        """One orientation that does both: this one, then `after`."""
        deg = -after.clockwise_deg if self.mirrors else after.clockwise_deg
        return Orientation((self.clockwise_deg + deg) % 360, self.mirrors != after.mirrors)

    def write(self, rows: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        """Write `rows` turned to `target`; uint8 [h, w] both, or [w, h] at 90 and 270 degrees."""
        if self.clockwise_deg:
            cv2.rotate(rows, _CLOCKWISE[self.clockwise_deg], target)
            rows = target
        if self.mirrors:
            cv2.flip(rows, 1, target)
        elif not self.clockwise_deg:
            target[:] = rows


AS_IT_IS = Orientation()


def is_size(width: int, height: int) -> bool:
    """Whether a picture of so many pixels is neither too small nor too large to work on."""
    return min(width, height) >= MIN_SIDE_PX and max(width, height) <= MAX_SIDE_PX


def check_size(name: str, width: int, height: int) -> None:
    """Raise SourceError(UNSUPPORTED) for a picture that is too small or too large to work on."""
    if not is_size(width, height):
        raise SourceError(
            Reason.UNSUPPORTED,
            f"{name} is {width}x{height}; accepted are pictures of {MIN_SIDE_PX} to "
            f"{MAX_SIDE_PX} px a side",
        )


def to_frame_image(
    image: av.VideoFrame, pixel: Fraction = SQUARE, orientation: Orientation = AS_IT_IS
) -> av.VideoFrame:
    """`image` as yuv420p or yuvj420p, stretched to square pixels, of even width and height (the
    last odd row or column is dropped), turned upright by its own metadata and then into
    `orientation`, both in one step. The same object if nothing has to change. `pixel` is the width
    of its pixels divided by their height."""
    if int(image.colorspace) not in _COLOURSPACES:
        image.colorspace = _UNSPECIFIED
    upright = _to_upright(image)
    if image.format.name not in FORMATS:
        image = _to_420(image)
    if pixel != SQUARE:
        image = _squared(image, pixel)
    # Also where the two cancel each other out: the old picture still carries its display matrix.
    if {upright, orientation} != {AS_IT_IS} or image.width % 2 or image.height % 2:
        image = _rebuilt(image, upright.then(orientation))
    return image


def _to_420(image: av.VideoFrame) -> av.VideoFrame:
    full_range = image.format.name.startswith("yuvj") or image.color_range == ColorRange.JPEG
    wanted = "yuvj420p" if full_range else "yuv420p"
    is_grey = len(image.format.components) < 3 and not image.format.has_palette
    if is_grey and image.color_range == ColorRange.MPEG:
        # libswscale assumes full range for grey, whatever its tag; this keeps the levels.
        made = image.reformat(format=wanted, dst_color_range=ColorRange.JPEG)
        made.color_range = image.color_range
    else:
        made = image.reformat(format=wanted)
    if image.format.is_rgb or len(image.format.components) < 3:
        made.colorspace = BT601  # libav's choice for RGB, palettes and grey; it does not say so
    return made


class _SideData(SideDataContainer):
    """A picture's side data, up to the first kind that PyAV does not know, such as EXIF; libav puts
    the display matrix before that."""

    def __init__(self, image: av.VideoFrame) -> None:
        with suppress(ValueError):
            super().__init__(image)  # type: ignore[call-arg]  # PyAV's stub leaves it out.


def _to_upright(image: av.VideoFrame) -> Orientation:
    """The orientation that the display matrix of `image` asks for."""
    clockwise_deg = -round(image.rotation / 90) * 90
    # Not `image.side_data`: that makes a reference cycle, and pictures wait for garbage collection.
    matrix = _SideData(image).get("DISPLAYMATRIX")
    if matrix is not None:
        a, b, _, c, d, *_ = struct.unpack("9i", matrix)
        if a * d < b * c:  # It also swaps top and bottom, first, which `rotation` does not say.
            return Orientation((180 - clockwise_deg) % 360, mirrors=True)
    return Orientation(clockwise_deg % 360)


def _squared(image: av.VideoFrame, pixel: Fraction) -> av.VideoFrame:
    width, height = image.width, image.height
    if pixel > 1:
        width = round(width * pixel / 2) * 2
    else:
        height = round(height / pixel / 2) * 2
    if not _LEAST_STRETCH < max(pixel, 1 / pixel) < _MOST_STRETCH or not is_size(width, height):
        return image
    made = image.reformat(width=width, height=height, threads=1)
    tag_alike(made, image)  # libswscale writes the same tag for every variant of BT.601
    return made


def _rebuilt(image: av.VideoFrame, orientation: Orientation) -> av.VideoFrame:
    """A new picture from the planes of `image`, cropped to even sides and turned."""
    width, height = image.width & ~1, image.height & ~1
    sides = (height, width) if orientation.clockwise_deg % 180 else (width, height)
    made = av.VideoFrame(*sides, image.format.name)
    for index, part in enumerate((1, 2, 2)):
        rows = plane(image, index)[: height // part, : width // part]
        orientation.write(rows, plane(made, index))
    made.pts = image.pts
    if image.time_base:
        made.time_base = image.time_base
    tag_alike(made, image)
    return made
