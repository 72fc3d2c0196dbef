"""One picture on its way through a stream, and the small one that a detector looks at."""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

FULL_RANGE_FORMATS = ("yuvj420p", "yuvj422p", "yuvj444p", "gray")
BT709, BT601 = 1, 5  # two of libav's colorspaces
FORMATS = ("yuv420p", "yuvj420p")  # of a frame's image
_NONE_NAMED = (0, 2)  # RGB, which YUV planes cannot be, and unspecified
_HD_HEIGHT_PX = 720


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded picture.

    `image` is an `av.VideoFrame` in yuv420p or yuvj420p, of square pixels, even width and even
    height; it is upright, or as the stream's `rotate` and `mirror` turn it from there.
    `pts_s` is media time in seconds from the start of the source; `captured_s` is wall time
    (seconds since the epoch) when the picture was decoded.
    """

    stream: str
    seq: int
    pts_s: float
    captured_s: float
    image: av.VideoFrame


def plane(image: av.VideoFrame, index: int) -> NDArray[np.uint8]:
    """Plane `index` (0 Y, 1 U, 2 V) as a uint8 [height, width] view into the frame's memory.

    Writing to the view changes the frame: call `image.make_writable()` first.
    """
    data = image.planes[index]
    rows = np.frombuffer(data, np.uint8)[: data.height * data.line_size]
    return rows.reshape(data.height, data.line_size)[:, : data.width]


def tag_alike(made: av.VideoFrame, image: av.VideoFrame) -> None:
    """Give `made` the colour tags of `image`: range, colorspace, primaries and transfer."""
    made.color_range, made.colorspace = image.color_range, image.colorspace
    made.color_primaries, made.color_trc = image.color_primaries, image.color_trc


def is_full_range(image: av.VideoFrame) -> bool:
    """Whether luma spans 0..255 rather than 16..235."""
    return image.format.name in FULL_RANGE_FORMATS or image.color_range == ColorRange.JPEG


def colorspace_of(image: av.VideoFrame) -> int:
    """libav's number for the colorspace of `image`. Where it names none, the height decides, as in
    players: BT.709 from 720 px on, BT.601 below."""
    if int(image.colorspace) not in _NONE_NAMED:
        return int(image.colorspace)
    return BT709 if image.height >= _HD_HEIGHT_PX else BT601


class DetectorScaler:
    """Makes the small RGB picture that a detector looks at. One instance belongs to one thread:
    it keeps its scalers, since setting them up costs a third of the work.

    It scales the YUV planes first, then converts to RGB: both in one step take twice as long."""

    def __init__(self, long_side_px: int) -> None:
        self._long_side_px = long_side_px
        self._shrink, self._colour = VideoReformatter(), VideoReformatter()

    def __call__(self, image: av.VideoFrame) -> NDArray[np.uint8]:
        """The whole picture as RGB uint8 [h, w, 3], its longer side at most `long_side_px`."""
        factor = min(1.0, self._long_side_px / max(image.width, image.height))
        width, height = max(2, round(image.width * factor)), max(2, round(image.height * factor))
        if factor < 1.0:
            image = self._shrink.reformat(
                image, width, height, interpolation="FAST_BILINEAR", threads=1
            )
        small = self._colour.reformat(
            image, width, height, "rgb24", interpolation="FAST_BILINEAR", threads=1
        )
        return small.to_ndarray().astype(np.uint8, copy=False)
