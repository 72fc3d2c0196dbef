"""What every backend gives, brought to other pictures."""

from __future__ import annotations

from detectors.base import Box, Detection

FACE = Detection(Box(10.0, 20.0, 30.0, 40.0), 0.9, ((12.0, 26.0), (34.0, 28.0)), (22.0, 40.0))
BARE = Detection(FACE.box, 0.6)


def test_scaled_each_side_has_its_own_factor() -> None:
    box = Box(20.0, 10.0, 60.0, 20.0)
    eyes = ((24.0, 13.0), (68.0, 14.0))
    assert FACE.scaled(2.0, 0.5) == Detection(box, 0.9, eyes, (44.0, 20.0))
    assert BARE.scaled(2.0, 0.5) == Detection(box, 0.6)


def test_moved_it_keeps_its_size() -> None:
    box = Box(15.0, 17.0, 30.0, 40.0)
    eyes = ((17.0, 23.0), (39.0, 25.0))
    assert FACE.moved(5.0, -3.0) == Detection(box, 0.9, eyes, (27.0, 37.0))
    assert BARE.moved(5.0, -3.0) == Detection(box, 0.6)
