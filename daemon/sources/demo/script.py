"""Who shows what, where and when in `demo://`: everything is a function of media time.

Each face goes through EXPRESSIONS in the order of ORDER, EACH_S seconds each, the first
CHANGE_S of which it needs to change. Face i is i * STAGGER steps ahead, so that neighbours
rarely show the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from daemon.sources.demo.people import PEOPLE, Person

ORDER = ("neutral", "happy", "surprise", "sad", "angry", "fear", "disgust")
EACH_S = 4.0
CHANGE_S = 0.6
CHANGE_STEPS = 6
"""A change is drawn in this many steps, so that its pictures can be kept."""
STAGGER = 2.35
BLINK_S = 0.2

NECK_Y = 215.0
"""Where a head turns, in face coordinates."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a face shows: `share` of the way from one expression to the next, lids `shut`."""

    before: str
    now: str
    share: float
    shut: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a head is: eyes' middle in pixels, pixels per unit, tilt in radians."""

    x_px: float
    y_px: float
    px_per_unit: float
    tilt: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point in face coordinates; the head turns about its neck."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        dy = y - NECK_Y
        u = self.px_per_unit
        return self.x_px + u * (x * c - dy * s), self.y_px + u * (NECK_Y + x * s + dy * c)


@dataclass(frozen=True, slots=True)
class Actor:
    """One face of a scene and its constants of movement."""

    index: int
    person: Person
    home_x_px: float
    home_y_px: float
    px_per_unit: float
    phases: tuple[float, float, float, float]

    def look(self, t_s: float) -> Look:
        steps = (t_s + CHANGE_S) / EACH_S + self.index * STAGGER
        k = math.floor(steps)
        into_s = (steps - k) * EACH_S
        # Rounding must not leave a face at 0.9999 of a change that is over.
        step = min(CHANGE_STEPS, math.floor(into_s / CHANGE_S * CHANGE_STEPS + 1e-6))
        share = step / CHANGE_STEPS
        shut = 0.0
        if share >= 1.0:
            blink_s = (t_s + 1.7 * self.index + 1.0) % (3.3 + 0.45 * self.index)
            if blink_s < BLINK_S:
                shut = 1.0 if BLINK_S / 4 <= blink_s < BLINK_S * 3 / 4 else 0.5
        return Look(ORDER[(k - 1) % len(ORDER)], ORDER[k % len(ORDER)], share, shut)

    def place(self, t_s: float) -> Place:
        a, b, c, d = self.phases
        span = 250 * self.px_per_unit
        return Place(
            self.home_x_px + 0.10 * span * math.sin(t_s * 0.43 + a),
            self.home_y_px + 0.05 * span * math.sin(t_s * 0.61 + b),
            self.px_per_unit * (1 + 0.07 * math.sin(t_s * 0.29 + c)),
            math.radians(4.5) * math.sin(t_s * 0.53 + d),
        )


def cast(faces: int, width_px: int, height_px: int, seed: int) -> list[Actor]:
    """The actors of a scene, back row first."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(len(PEOPLE))
    rows = 1 if faces <= 3 else 2
    actors = []
    for row in range(rows):
        members = range(row * faces // rows, (row + 1) * faces // rows)
        px_per_unit = min(0.37 * height_px / 250, 0.62 * width_px / len(members) / 250)
        if rows == 2:
            px_per_unit = min(px_per_unit, 0.29 * height_px / 250)
        for column, i in enumerate(members):
            middle = (column + 0.5) / len(members) * width_px
            eyes = height_px * (0.42 if rows == 1 else 0.25 + 0.46 * row)
            phases = tuple(float(v) for v in rng.uniform(0, 2 * math.pi, 4))
            actors.append(Actor(i, PEOPLE[people[i]], middle, eyes, px_per_unit, phases))  # type: ignore[arg-type]
    return actors
