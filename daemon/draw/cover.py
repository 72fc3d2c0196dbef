"""Covers faces on the planes of a frame, so that nobody can be recognised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import av

from daemon.draw.glyphs import even
from daemon.draw.paint import Canvas, Rect
from detectors.base import Box

CELLS = 2  # across a face: with more, detectors still find eyes and mouth
LEAST_PX = 4.0  # of a cell: a face of a pixel or two would be scaled up, not smeared
MARGIN = 0.3  # of a face on each side: hair, ears, and the lag of a box


def cover(
    image: av.VideoFrame,
    faces: Sequence[Box],
    sliced: Callable[[Sequence[Box]], Iterable[Box]] = iter,
) -> None:
    """Smear `faces`, in pixels of `image` (yuv420p or yuvj420p), in place.

    As `Overlay.draw`: copies the frame's memory once if the decoder still holds it, iterates over
    the faces through `sliced`, and raises ValueError for another pixel format.
    """
    if not faces:
        return
    image.make_writable()
    canvas = Canvas(image)
    for box in sliced(faces):
        canvas.smear(_around(box), max(LEAST_PX, max(box.width, box.height) / CELLS))


def _around(box: Box) -> Rect:
    """The face with what is around it, on even pixels."""
    x, y = MARGIN * box.width, MARGIN * box.height
    return Rect(
        even(box.x - x),
        even(box.y - y),
        even(box.x + box.width + x) + 2,
        even(box.y + box.height + y) + 2,
    )
