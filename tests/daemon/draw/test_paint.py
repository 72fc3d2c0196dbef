"""Colours as every matrix and range has them, and strokes that end where the frame does."""

from __future__ import annotations

import av
import numpy as np
import pytest

from daemon.config.settings import COLOURS
from daemon.draw import glyphs
from daemon.draw.paint import Canvas, ColourSystem, Paint, Rect
from daemon.frame import plane
from tests.daemon.draw.frames import BT601, BT709, BT2020, FULL, blank, drawn, rgb, view


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("colorspace", [BT601, BT709])
def test_the_colour_survives_every_matrix_and_range(pixel_format: str, colorspace: int) -> None:
    image = blank(pixel_format=pixel_format)
    image.colorspace = colorspace
    if pixel_format == "yuvj420p":
        image.color_range = FULL
    drawn(image, view((200, 120, 120, 140), "sad"))
    pixel = image.to_ndarray(format="rgb24")[200, 200].astype(int)
    assert np.abs(pixel - rgb(COLOURS["sad"])).max() <= 6


def test_paint_by_the_book() -> None:
    """Red, as ITU-R BT.601 and BT.709 give it; a silent frame goes by its height."""
    assert ColourSystem.of(blank()).paint((255, 0, 0)) == (81, 90, 240)
    hd = av.VideoFrame(1280, 720, "yuv420p")
    assert ColourSystem.of(hd).paint((255, 0, 0)) == (63, 102, 240)
    assert ColourSystem.of(av.VideoFrame(640, 480, "yuv420p")).paint((255, 0, 0))[0] == 81
    wide = blank()
    wide.colorspace = BT2020
    assert ColourSystem.of(wide).paint((255, 0, 0))[0] == 74
    full = ColourSystem.of(blank(pixel_format="yuvj420p"))
    assert full.paint((255, 255, 255)) == (255, 128, 128)
    assert full.paint((0, 0, 255)) == (29, 255, 107)


def test_what_shines_through() -> None:
    image = blank(64, 48)
    canvas, paint = Canvas(image), Paint(200, 28, 228)
    canvas.tint(Rect(0, 0, 16, 16), paint, 0.25)
    canvas.shade(Rect(32, 0, 48, 16), 200, 0.25)
    assert [int(plane(image, index)[4, 4]) for index in range(3)] == [140, 103, 153]
    assert [int(plane(image, index)[4, 20]) for index in range(3)] == [120, 128, 128]
    assert int(plane(image, 0)[8, 40]) == 140


def test_a_frame_of_odd_sides_is_covered_to_its_edges() -> None:
    image = blank(63, 47)
    canvas, paint = Canvas(image), Paint(200, 28, 228)
    canvas.fill(canvas.frame, paint)
    assert [set(plane(image, index).flat) for index in range(3)] == [{200}, {28}, {228}]


@pytest.mark.parametrize("x", [-60, -6, 50, 90, 200])
@pytest.mark.parametrize("y", [-40, -4, 30, 70, 200])
def test_a_canvas_cuts_off_what_lies_outside(x: int, y: int) -> None:
    """The same strokes on a frame with a margin all around, cut to the frame, are the truth."""

    def strokes(image: av.VideoFrame, dx: int, dy: int) -> None:
        canvas, paint = Canvas(image), ColourSystem.of(image).paint((240, 60, 10))
        canvas.fill(Rect(x + dx, y + dy, x + dx + 20, y + dy + 12), paint)
        canvas.tint(Rect(x + dx + 8, y + dy, x + dx + 30, y + dy + 30), paint, 0.5)
        canvas.shade(Rect(x + dx, y + dy + 4, x + dx + 40, y + dy + 8), 16, 0.5)
        canvas.write(glyphs.render_text("sad", 20), x + dx, y + dy, paint)

    small, large, margin = blank(96, 80), blank(96 + 512, 80 + 512), 256
    strokes(small, 0, 0)
    strokes(large, margin, margin)
    for index in range(3):
        part, step = plane(small, index), 2 if index else 1
        start = margin // step
        truth = plane(large, index)[start:][: part.shape[0], start:][:, : part.shape[1]]
        assert np.array_equal(part, truth)
