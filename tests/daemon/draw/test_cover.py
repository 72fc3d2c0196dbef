"""Covering faces: what is left of them, and of what is around them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from daemon.draw.cover import MARGIN, cover
from daemon.draw.paint import Rect
from daemon.frame import plane
from detectors.base import Box
from tests.daemon.draw.frames import blank, changed, planes
from tests.media import write_clip

FACE = Box(200.0, 120.0, 100.0, 120.0)


def noise(width: int = 640, height: int = 360, pixel_format: str = "yuv420p") -> av.VideoFrame:
    image = blank(width, height, pixel_format)
    rng = np.random.default_rng(5)
    for index in range(3):
        part = plane(image, index)
        part[:] = rng.integers(16, 236, part.shape, np.uint8)
    return image


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
def test_a_face_loses_its_detail_and_nothing_else_does(pixel_format: str) -> None:
    image = noise(pixel_format=pixel_format)
    before = planes(image)
    cover(image, [FACE])
    x, y = MARGIN * FACE.width, MARGIN * FACE.height
    outer = Rect(200 - round(x) - 2, 120 - round(y) - 2, 300 + round(x) + 4, 240 + round(y) + 4)
    assert outer.covers(changed(before, image))
    assert changed(before, image).covers(Rect(200 - 28, 120 - 34, 300 + 28, 240 + 34))  # its hair
    for index, part in enumerate(planes(image)):
        step = 2 if index else 1
        face = np.s_[120 // step : 240 // step, 200 // step : 300 // step]
        assert before[index][face].std() > 50
        assert part[face].std() < 5
        # Of light and colour the mean stays, so that the picture looks as it did from afar.
        assert abs(float(part[face].mean()) - float(before[index][face].mean())) < 5


@pytest.mark.parametrize(
    "box",
    [
        Box(-60, -60, 100, 100),
        Box(600, 320, 100, 100),
        Box(-500, -500, 2000, 2000),
        Box(300, 170, 1, 1),
        Box(0, 0, 640, 3),
    ],
    ids=str,
)
def test_a_face_may_reach_beyond_the_frame_or_be_tiny(box: Box) -> None:
    image = noise()
    before = planes(image)
    cover(image, [box])
    inside = Rect(int(box.x), int(box.y), int(box.x + box.width), int(box.y + box.height))
    assert changed(before, image).covers(inside.within(Rect(0, 0, 640, 360)))


def test_the_picture_that_the_decoder_holds_is_not_smeared(tmp_path: Path) -> None:
    """Those that follow are predicted from it."""
    with av.open(str(write_clip(tmp_path / "clip.mp4", frames=2))) as container:
        image = next(container.decode(video=0))
        held = np.frombuffer(image.planes[0], np.uint8).copy()
        view = np.frombuffer(image.planes[0], np.uint8)
        cover(image, [Box(10, 10, 40, 40)])
        assert np.array_equal(view, held)
        assert not np.array_equal(np.frombuffer(image.planes[0], np.uint8), held)


def test_one_beside_the_frame_and_none_at_all_change_nothing() -> None:
    image = noise()
    before = planes(image)
    cover(image, [Box(-300, 0, 100, 100)])
    cover(image, [])
    assert changed(before, image).area == 0
