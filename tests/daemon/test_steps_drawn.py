"""What of a frame's faces is drawn, and where: covers, labels, and faces between two looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.config.settings import COLOURS
from daemon.frame import Frame, plane
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from detectors.base import Box, Detection
from tests.daemon.draw.frames import rgb
from tests.daemon.steps import lobby_row, settings, stepping, walk
from tests.daemon.streams import talking
from tests.shared import needs_shared

pytestmark = needs_shared


@pytest.fixture
def row() -> Row:
    return lobby_row()


class Told:
    """A fake, since no real detector finds what it is told to; `shapes` are of what it looks at."""

    name = description = "yunet"

    def __init__(self, find: Callable[[int], list[Detection]]) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._find = find

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.shapes.append(image.shape)
        return self._find(len(self.shapes) - 1)

    def close(self) -> None:
        """Nothing to free."""


def test_what_is_drawn_of_a_covered_face_is_not_covered(metrics: Metrics, row: Row) -> None:
    """The cover reaches beyond the face's box, whose sides keep the colour of a face unread."""
    (frame,) = talking(1)
    chosen = settings({"privacy": "blur"})
    (output,) = walk(stepping(None, metrics, row, chosen), [frame])
    x, y, _, h = output.faces[0].box_px
    picture = frame.image.to_ndarray(format="rgb24").astype(int)
    side = picture[y + h // 4 : y + 3 * h // 4, x // 2 * 2]
    assert np.abs(side - rgb(COLOURS["unknown"])).max() <= 12


def test_a_face_that_moves_is_shown_where_it_should_be_by_now(metrics: Metrics, row: Row) -> None:
    """It is looked for on every other frame, and is 20 pixels further each time."""
    told = Told(lambda look: [Detection(Box(40.0 + 20 * look, 60.0, 60.0, 60.0), 0.9)])
    chosen = settings(detector={"every": 2})
    outputs = walk(stepping(None, metrics, row, chosen, detector=told), talking(10))
    xs = [face.box_px[0] for output in outputs for face in output.faces]
    assert xs[::2] == [40, 60, 80, 100, 120]
    assert xs[-1] == pytest.approx(130, abs=2)


def test_a_picture_of_another_shape_keeps_the_faces_where_they_are(
    metrics: Metrics, row: Row
) -> None:
    """1. Two faces side by side. 2. Pictures come half as wide, as of a camera that sends its
    second, squeezed stream: each face has the track that it had."""
    wide = [Detection(Box(x, 60.0, 60.0, 60.0), 0.9) for x in (40.0, 240.0)]
    told = Told(lambda look: wide if look < 3 else [one.scaled(0.5, 1.0) for one in wide])
    frames = talking(6)
    slim = [replace(f, image=f.image.reformat(width=180, height=288)) for f in frames[3:]]
    outputs = walk(stepping(None, metrics, row, detector=told), [*frames[:3], *slim])
    assert [[face.track for face in output.faces] for output in outputs] == [[1, 2]] * 6


def test_other_settings_hold_for_what_is_looked_at_and_drawn(metrics: Metrics, row: Row) -> None:
    told = Told(lambda look: [Detection(Box(60.0, 60.0, 100.0, 100.0), 0.9)])
    large = [
        Frame("lobby", f.seq, f.pts_s, f.captured_s, f.image.reformat(width=1280, height=1024))
        for f in talking(2)
    ]
    steps = stepping(None, metrics, row, detector=told)
    drawn = []
    for frame, enabled, side_px in zip(large, (True, False), (640, 320), strict=True):
        before = plane(frame.image, 0).copy()
        steps.follow(
            settings(detector={"long_side_px": side_px}, overlay={"enabled": enabled}),
        )
        steps.take(frame)
        drawn.append(not np.array_equal(plane(frame.image, 0), before))
    assert [max(shape) for shape in told.shapes] == [640, 320]
    assert drawn == [True, False]
