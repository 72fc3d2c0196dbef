"""Bring any decoded picture into the form that a Frame promises: 4:2:0, upright, even sides."""

from __future__ import annotations

from collections.abc import Callable

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.errors import Reason, SourceError
from daemon.frame import BT601, plane

MIN_SIDE_PX = 16
MAX_SIDE_PX = 8192
_READY = ("yuv420p", "yuvj420p")
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


def to_frame_image(image: av.VideoFrame) -> av.VideoFrame:
    """`image` as yuv420p or yuvj420p, turned upright by its own metadata, of even width and
    height (the last odd row or column goes). The very same object where nothing is to do."""
    if int(image.colorspace) not in _COLOURSPACES:
        image.colorspace = _UNSPECIFIED
    clockwise = -round(image.rotation / 90) * 90 % 360
    if image.format.name not in _READY:
        image = _to_420(image)
    if clockwise:
        image = _rebuilt(image, lambda rows: cv2.rotate(rows, _CLOCKWISE[clockwise]))
    elif image.width % 2 or image.height % 2:
        image = _rebuilt(image, lambda rows: rows)
    return image


def _to_420(image: av.VideoFrame) -> av.VideoFrame:
    full_range = image.format.name.startswith("yuvj") or int(image.color_range) == 2
    wanted = "yuvj420p" if full_range else "yuv420p"
    made = image.reformat(format=wanted)
    if image.format.is_rgb or len(image.format.components) < 3:
        made.colorspace = BT601  # libav's choice for RGB, palettes and grey; it does not say so
    _keep_time(image, made)
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
