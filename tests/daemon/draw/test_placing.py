"""Where plates and panels go: into the frame, off each other and off other faces."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from daemon.config.settings import OverlaySettings
from daemon.draw import placing
from daemon.draw.overlay import Overlay
from daemon.draw.paint import Rect
from daemon.draw.placing import RectGrid
from tests.daemon.draw.frames import blank, changed, planes, view


def test_plates_of_faces_in_one_place_do_not_cover_each_other() -> None:
    face, frame = Rect(300, 200, 460, 380), Rect(0, 0, 1280, 720)
    taken: list[Rect] = []
    for _ in range(4):
        found = placing.plate(face, (150, 28), frame, RectGrid([face]), RectGrid(taken), None)
        assert found
        taken.append(found.rect)
    assert not any(one.shared(other) for one, other in combinations(taken, 2))
    panel = placing.panel(face, taken[0], (110, 160), frame, RectGrid(), RectGrid(taken), None)
    assert panel
    assert not any(panel.rect.shared(plate) for plate in taken)


def test_a_plate_may_lie_on_its_own_face_and_rather_on_another_than_on_text() -> None:
    frame, size = Rect(0, 0, 640, 360), (100, 28)
    high = Rect(300, 0, 460, 180)
    on_own = placing.plate(high, size, frame, RectGrid([high]), RectGrid(), None)
    assert on_own
    assert on_own.rect.y0 == high.y0
    low, above, text = Rect(300, 100, 460, 360), Rect(300, 0, 460, 100), Rect(300, 100, 350, 360)
    on_other = placing.plate(low, size, frame, RectGrid([low, above]), RectGrid([text]), None)
    assert on_other
    assert above.covers(on_other.rect)


def test_a_panel_that_would_hide_another_face_goes_elsewhere_or_away() -> None:
    face, plate, frame = Rect(300, 200, 460, 380), Rect(300, 172, 450, 200), Rect(0, 0, 1280, 720)
    size = 110, 160
    alone = placing.panel(face, plate, size, frame, RectGrid(), RectGrid([plate]), None)
    assert alone
    assert alone.rect.x0 >= face.x1
    neighbour = Rect(480, 200, 640, 380)
    beside = placing.panel(face, plate, size, frame, RectGrid([neighbour]), RectGrid([plate]), None)
    assert beside
    assert not beside.rect.shared(neighbour)
    assert (
        placing.panel(face, plate, size, frame, RectGrid([frame]), RectGrid([plate]), None) is None
    )


def test_what_is_near_is_found_whatever_its_size() -> None:
    """Against looking at each: no rectangle that shares a pixel is missed, and none comes twice."""
    rng = np.random.default_rng(0)
    corners, sizes = rng.integers(-200, 2000, (300, 2)), rng.integers(1, 600, (300, 2))
    rects = [Rect(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sizes, strict=True)]
    grid = RectGrid(rects)
    for area in rects[:50]:
        near = grid.near(area)
        assert len(near) == len({id(rect) for rect in near})
        assert {rect for rect in rects if rect.shared(area)} <= set(near)


def test_a_trembling_box_does_not_move_its_panel() -> None:
    """At the width where the panel goes from right to left, a jitter of 4 px changes no side."""
    overlay = Overlay(OverlaySettings())
    sides = []
    for x in (300, 470, 466, 470, 466):
        image = blank()
        overlay.draw(image, [view((x, 120, 100, 120))])
        touched = changed(planes(blank()), image)
        sides.append(touched.x0 < x - 20)
    assert sides == [False, True, True, True, True]


def test_a_trembling_box_does_not_change_the_size_of_its_text() -> None:
    """One that comes much nearer does."""
    overlay = Overlay(OverlaySettings(bars=False))
    heights = []
    for side in (150, 156, 144, 150, 192):
        image = blank(1920, 1080)
        overlay.draw(image, [view((800, 400, side, side))])
        heights.append(400 - changed(planes(blank(1920, 1080)), image).y0)
    assert len(set(heights[:4])) == 1
    assert heights[4] > heights[0]


def test_a_trembling_box_does_not_move_its_plate() -> None:
    """Where there is room above the face in one frame and none in the next, it stays inside."""
    overlay = Overlay(OverlaySettings(bars=False))
    above = []
    for y in (40, 10, 24, 10, 24, 200):
        image = blank()
        overlay.draw(image, [view((200, y, 120, 140))])
        above.append(changed(planes(blank()), image).y0 < y - 8)
    assert above == [True, False, False, False, False, False]
    alone = blank()
    Overlay(OverlaySettings(bars=False)).draw(alone, [view((200, 24, 120, 140))])
    assert changed(planes(blank()), alone).y0 < 16
