"""Bring any decoded picture into the form that a Frame promises: 4:2:0, upright, of square pixels
and even sides."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from daemon.errors import Reason, SourceError
from daemon.frame import BT601, FORMATS, plane

MIN_SIDE_PX = 16
MAX_SIDE_PX = 8192
SQUARE = Fraction(1)
# What is nearer to a square is a rounded number of columns; what is further is damage.
_LEAST_STRETCH, _MOST_STRETCH = 1.02, 4.0
# What libswscale can convert from; a damaged header may name any other number.
_COLOURSPACES = (0, 1, 2, 4, 5, 6, 7, 9)
_UNSPECIFIED = 2
_CLOCKWISE = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


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


def to_frame_image(image: av.VideoFrame, pixel: Fraction = SQUARE) -> av.VideoFrame:
    """`image` as yuv420p or yuvj420p, stretched to square pixels, turned upright by its own
    metadata, of even width and height (the last odd row or column goes). The very same object where
    nothing is to do. `pixel` is the width of its pixels by their height."""
    if int(image.colorspace) not in _COLOURSPACES:
        image.colorspace = _UNSPECIFIED
    clockwise, is_mirrored = -round(image.rotation / 90) * 90 % 360, _is_mirrored(image)
    if image.format.name not in FORMATS:
        image = _to_420(image)
    if pixel != SQUARE:
        image = _squared(image, pixel)
    if clockwise or is_mirrored:
        image = _rebuilt(image, lambda rows: _upright(rows, clockwise, is_mirrored))
    elif image.width % 2 or image.height % 2:
        image = _rebuilt(image, lambda rows: rows)
    return image


def _to_420(image: av.VideoFrame) -> av.VideoFrame:
    full_range = image.format.name.startswith("yuvj") or image.color_range == ColorRange.JPEG
    wanted = "yuvj420p" if full_range else "yuv420p"
    is_grey = len(image.format.components) < 3 and not image.format.has_palette
    if is_grey and image.color_range == ColorRange.MPEG:
        # libswscale takes grey as of full range, whatever its tag: the levels are to stay.
        made = image.reformat(format=wanted, dst_color_range=ColorRange.JPEG)
        made.color_range = image.color_range
    else:
        made = image.reformat(format=wanted)
    if image.format.is_rgb or len(image.format.components) < 3:
        made.colorspace = BT601  # libav's choice for RGB, palettes and grey; it does not say so
    _keep_time(image, made)
    return made


class _SideData(SideDataContainer):
    """What a picture carries, up to the first that PyAV has no name for. EXIF is such a one; libav
    puts the matrix before it."""

    def __init__(self, image: av.VideoFrame) -> None:
        with suppress(ValueError):
            super().__init__(image)  # type: ignore[call-arg]  # PyAV's stub leaves it out.


def _is_mirrored(image: av.VideoFrame) -> bool:
    """Whether the display matrix flips the picture, of which `rotation` says nothing."""
    # Not `image.side_data`: the picture would keep it, and so itself, until garbage is collected.
    matrix = _SideData(image).get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d, *_ = struct.unpack("9i", matrix)
    return bool(a * d < b * c)


def _upright(rows: NDArray[np.uint8], clockwise: int, is_mirrored: bool) -> NDArray[np.uint8]:
    """A display matrix that flips is its rotation after a flip of top and bottom."""
    if is_mirrored:
        rows = rows[::-1]
    return cv2.rotate(rows, _CLOCKWISE[clockwise]) if clockwise else rows


def _squared(image: av.VideoFrame, pixel: Fraction) -> av.VideoFrame:
    width, height = image.width, image.height
    if pixel > 1:
        width = round(width * pixel / 2) * 2
    else:
        height = round(height / pixel / 2) * 2
    if not _LEAST_STRETCH < max(pixel, 1 / pixel) < _MOST_STRETCH or not is_size(width, height):
        return image
    made = image.reformat(width=width, height=height, threads=1)
    _keep_time(image, made)
    made.color_range, made.colorspace = image.color_range, image.colorspace
    return made


def _rebuilt(
    image: av.VideoFrame, turn: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
) -> av.VideoFrame:
    """A new picture from the turned planes of `image`, cropped to even sides."""
    luma = turn(plane(image, 0))
    height, width = luma.shape[0] & ~1, luma.shape[1] & ~1
    made = av.VideoFrame(width, height, image.format.name)
    for index in range(3):
        rows = luma if index == 0 else turn(plane(image, index))
        target = plane(made, index)
        target[:] = rows[: target.shape[0], : target.shape[1]]
    _keep_time(image, made)
    made.color_range, made.colorspace = image.color_range, image.colorspace
    return made


def _keep_time(image: av.VideoFrame, made: av.VideoFrame) -> None:
    made.pts = image.pts
    if image.time_base is not None:
        made.time_base = image.time_base
