"""A new frame that shares the pixels of a picture that others read too."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph

TIME_BASE = Fraction(1, 90000)


class Referencer:
    """Makes references: new frames over the same pixels, whose pts and type are free to set.

    PyAV has no call for it, but a filter graph from source straight to sink does just that,
    in 4 µs whatever the size. Encoding the shared frame itself would write its pts from two
    threads, and scaling it would blank its colour tags for the time of the scaling.
    """

    def __init__(self) -> None:
        self._made_for: tuple[object, ...] = ()
        self._graph = Graph()

    def reference(self, image: av.VideoFrame, pts: int) -> av.VideoFrame:
        """A reference to `image`, at `pts` in TIME_BASE; whether it is coded as a keyframe is left
        open."""
        colours = int(image.colorspace), int(image.color_range)
        looks = image.width, image.height, image.format.name, *colours
        if looks != self._made_for:
            self._graph = _straight_through(image, *colours)
            self._made_for = looks
        self._graph.vpush(image)
        own = self._graph.vpull()
        own.pts, own.time_base = pts, TIME_BASE
        # A decoder leaves the type of its own coding here, and x264 would obey it.
        own.pict_type = 0
        return own


def _straight_through(image: av.VideoFrame, colorspace: int, color_range: int) -> Graph:
    graph = Graph()
    enter = graph.add(
        "buffer",
        video_size=f"{image.width}x{image.height}",
        pix_fmt=image.format.name,
        time_base=f"{TIME_BASE.numerator}/{TIME_BASE.denominator}",
        colorspace=str(colorspace),
        range=str(color_range),
    )
    graph.link_nodes(enter, graph.add("buffersink")).configure()
    return graph
