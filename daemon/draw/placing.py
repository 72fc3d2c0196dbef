"""Where a face's plate (label) and panel (bars) go: near it, in the frame, off other faces.

Each finder scores a few fixed places by what they would cover. The place of the frame before
has a head start, so that nothing jumps while a face trembles on the edge of a decision.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from daemon.draw.paint import Rect

_HEAD_START = 0.15  # Share of its area that a kept place may cover more than a new one.
_ORDER = 0.02  # Cost of each later place in the list, so that equal ones keep their order.
_TEXT = 8  # How much worse it is to cover text than to cover a face.
_TOLERATED = 0.25  # A panel that would cover more than this is left out.
_CELL_PX = 128


class Placement(NamedTuple):
    """Which of the places was chosen, and where that is."""

    number: int
    rect: Rect


class RectGrid:
    """A spatial index of rectangles: finding those near a place costs the same among hundreds."""

    def __init__(self, rects: Iterable[Rect] = ()) -> None:
        self._cells: defaultdict[tuple[int, int], list[Rect]] = defaultdict(list)
        for rect in rects:
            self.add(rect)

    def add(self, rect: Rect) -> None:
        for cell in _cells(rect):
            self._cells[cell].append(rect)

    def near(self, area: Rect) -> list[Rect]:
        """Each of the rectangles that may share pixels with `area`, once."""
        cells = self._cells
        found = {id(rect): rect for cell in _cells(area) if cell in cells for rect in cells[cell]}
        return list(found.values())


def plate(
    face: Rect,
    size: tuple[int, int],
    frame: Rect,
    faces: RectGrid,
    taken: RectGrid,
    before: int | None,
) -> Placement | None:
    """Above the face, inside its top, below, inside its bottom.

    None only when `size` is larger than the frame. A plate may cover other faces when it must,
    since without it a face has no label.
    """
    width, height = size
    x = min(face.x0, frame.x1 - width) // 2 * 2
    places = [
        _at(x, y, size) for y in (face.y0 - height, face.y0, face.y1, (face.y1 - height) // 2 * 2)
    ]
    places.append(_at(x, max(0, min(face.y0, (frame.y1 - height) // 2 * 2)), size))
    return _cheapest(_scored(face, places, frame, faces, taken, before))


def panel(
    face: Rect,
    own_plate: Rect,
    size: tuple[int, int],
    frame: Rect,
    faces: RectGrid,
    taken: RectGrid,
    before: int | None,
) -> Placement | None:
    """Right of the face, left, below, above, or in a corner of a face that fills the frame.

    `own_plate` is the face's plate, which a panel beside it keeps clear of. None where the panel
    would hide too much.
    """
    width, height = size
    gap = 4
    left, right = min(face.x0, own_plate.x0), max(face.x1, own_plate.x1)
    y = max(0, min(face.y0, (frame.y1 - height) // 2 * 2))
    x = max(0, min(face.x0, (frame.x1 - width) // 2 * 2))
    inner_x, inner_y = face.x0 + 2 * gap, (face.y1 - height - 2 * gap) // 2 * 2
    places = [
        _at(face.x1 + gap, y, size),
        _at(face.x0 - gap - width, y, size),
        _at(right + gap, y, size),
        _at(left - gap - width, y, size),
        _at(x, face.y1 + gap, size),
        _at(x, face.y0 - gap - height, size),
    ]
    if width * height <= 0.3 * face.area:
        places += [
            _at(inner_x, inner_y, size),
            _at((face.x1 - width - 2 * gap) // 2 * 2, inner_y, size),
        ]
    scored = _scored(face, places, frame, faces, taken, before)
    return _cheapest([(cost, placement) for cost, placement in scored if cost <= _TOLERATED])


def _scored(
    face: Rect,
    places: Sequence[Rect],
    frame: Rect,
    faces: RectGrid,
    taken: RectGrid,
    before: int | None,
) -> list[tuple[float, Placement]]:
    """Cost and place of the places that lie wholly in the frame. All of `faces` are in the way but
    `face` itself, which is found by identity."""
    x0, y0, x1, y1 = zip(*places, strict=True)
    around = Rect(min(x0), min(y0), max(x1), max(y1)).within(frame)
    others = [other for other in faces.near(around) if other is not face]
    texts = taken.near(around)
    scored = []
    for index, place in enumerate(places):
        if not frame.covers(place):
            continue
        hidden = sum([place.shared(other) for other in others])
        hidden += _TEXT * sum([place.shared(text) for text in texts])
        cost = hidden / place.area + _ORDER * index
        scored.append((cost - (_HEAD_START if index == before else 0.0), Placement(index, place)))
    return scored


def _cheapest(scored: Sequence[tuple[float, Placement]]) -> Placement | None:
    return min(scored)[1] if scored else None


def _cells(rect: Rect) -> Iterator[tuple[int, int]]:
    for x in range(rect.x0 // _CELL_PX, (rect.x1 - 1) // _CELL_PX + 1):
        for y in range(rect.y0 // _CELL_PX, (rect.y1 - 1) // _CELL_PX + 1):
            yield x, y


def _at(x: int, y: int, size: tuple[int, int]) -> Rect:
    return Rect(x, y, x + size[0], y + size[1])
