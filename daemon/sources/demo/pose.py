"""From muscle movements to the outlines of a face.

Expressions are mixtures of action units (AU) of the Facial Action Coding System; the mixtures
follow the prototypes of Ekman, Friesen & Hager, "FACS Investigator's Guide" (2002), table 10-2;
their weights are fitted so that a net which learnt from photographs tells them apart.
Between two expressions the weights are mixed, so a change looks like muscles moving.

Face coordinates: origin midway between the eyes, x to the picture's right, y down, the eyes
100 units apart. Only the half with x > 0 is described; the other one mirrors it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.floating[Any]]
"""[n, 2] float32 of x, y in face coordinates."""


class Units(dict[int, float]):
    """Action unit -> weight 0..1 (a little more is an exaggeration); 0 where one is left out.

    43 closes the eyes.
    """

    def __missing__(self, unit: int) -> float:
        return 0.0


EXPRESSIONS: dict[str, Units] = {
    "neutral": Units({7: 0.25, 17: 0.3}),  # a face at rest has some tone
    "happy": Units({6: 0.8, 12: 1.0, 25: 1.0}),
    "surprise": Units({1: 1.0, 2: 1.0, 5: 0.8, 25: 1.0, 26: 1.0}),
    "sad": Units({1: 1.3, 4: 0.3, 6: 0.25, 7: 0.2, 15: 1.4, 17: 0.3, 20: 0.3, 43: 0.4}),
    "angry": Units(
        {4: 1.3, 5: 0.3, 7: 0.8, 9: 1.2, 10: 1.0, 15: 0.6, 17: 0.1, 23: 1.0, 25: 1.0, 26: 0.55}
    ),
    "fear": Units({1: 1.3, 2: 0.2, 4: 0.3, 5: 1.1, 7: 0.3, 20: 0.9, 25: 0.85, 26: 0.45}),
    "disgust": Units({4: 0.4, 7: 0.4, 9: 1.5, 10: 1.3, 15: 1.4, 17: 1.2}),
}


def mix(a: Units, b: Units, share: float) -> Units:
    """Action units on the way from `a` (share 0) to `b` (share 1)."""
    return Units({au: a[au] * (1 - share) + b[au] * share for au in sorted({*a, *b})})


@dataclass(frozen=True, slots=True)
class Pose:
    """Outlines of the half face with x > 0, and of the whole mouth from left to right."""

    brow: Points  # middle line, inner end first
    upper_lid: Points  # inner corner to outer corner
    lower_lid: Points
    lid_crease: Points
    lip_top: Points  # left corner to right corner
    lip_inner_top: Points
    lip_inner_bottom: Points
    lip_bottom: Points
    nasolabial: Points
    mouth_corner: tuple[float, float]
    open_units: float  # height of the mouth's opening
    chin_y: float

    @property
    def upper_lip(self) -> Points:
        return np.vstack([self.lip_top, self.lip_inner_top[::-1]])

    @property
    def lower_lip(self) -> Points:
        return np.vstack([self.lip_inner_bottom, self.lip_bottom[::-1]])

    @property
    def below_lip_y(self) -> float:
        """Height of the ledge between lower lip and chin."""
        return float(self.lip_bottom[20, 1]) + 7


def curve(points: list[tuple[float, float]], n: int = 24) -> Points:
    """A smooth line of n points through the given ones (Catmull-Rom)."""
    p = np.asarray(points, np.float32)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, len(points) - 1, n, dtype=np.float32)
    k = np.minimum(t.astype(int), len(points) - 2)
    f = (t - k)[:, None]
    a, b, c, d = p[k], p[k + 1], p[k + 2], p[k + 3]
    line = 2 * b + (c - a) * f + (2 * a - 5 * b + 4 * c - d) * f**2
    return np.asarray(0.5 * (line + (3 * b - a - 3 * c + d) * f**3), np.float32)


def pose(au: Units, *, lips: float = 1.0) -> Pose:
    """Outlines under the given action units; `lips` scales the fullness of the lips."""
    a1, a2, a4, a9 = au[1], au[2], au[4], au[9]
    brow = curve(
        [
            (18 - 5 * a4, -22 - 13 * a1 + 10 * a4 + 4 * a9),
            (36 - 3 * a4, -29 - 8 * a1 - 6 * a2 + 8 * a4 + 3 * a9),
            (60 - 1 * a4, -33 - 14 * a2 + 5 * a4 + 3 * a1),
            (84, -20 - 10 * a2 + 2 * a4 + 5 * a1),
        ]
    )

    shut = min(1.0, au[43])
    lift = max(0.0, 8.4 + 6.5 * au[5] - 1.5 * au[7] - 2.0 * au[6] - 1.0 * a4 - 1.5 * a9) * (
        1 - shut
    )
    drop = 6.6 + 1.0 * au[5] - 3.0 * au[6] - 3.0 * au[7] - 2.0 * a9 - 1.0 * shut
    s = np.linspace(0, 1, 24, dtype=np.float32)
    bow = np.clip(np.sin(np.pi * s**0.92), 0, 1) ** 0.8
    base = np.stack([27 + 47 * s, 4 - 5 * s], 1)
    droop = 3.0 * a1 * a4 * s**2
    upper = base + np.stack([0 * s, droop - lift * bow + drop * shut * bow], 1)
    lower = base + np.stack([0 * s, drop * np.clip(np.sin(np.pi * s**1.1), 0, 1) ** 0.9], 1)
    gap = 6.0 - 2.0 * au[5] - 2.5 * a4 + 2.5 * a1 + 4 * shut
    crease = upper - np.stack([0 * s, gap * np.sin(np.pi * np.clip(s, 0.06, 0.96)) ** 0.5], 1)

    jaw = au[26]
    corner_x = 39 + 12 * au[12] + 10 * au[20] - 4 * au[23] - 6 * jaw - 3 * au[17] + 2 * au[10]
    corner_y = 112 - 15 * au[12] + 9 * au[15] + 4 * au[20] + 7 * jaw - 2 * au[17] - 2 * au[10]
    thin = (1 - 0.5 * au[23]) * (1 - 0.25 * au[12]) * lips
    part = au[25]
    raised = 7 * au[10] + 4 * a9 + 3 * au[17]
    top_y = 113 - raised - 3.5 * part - 2 * part * au[12] + 2 * au[15]
    bottom_y = 113 - 0.6 * raised * (1 - part) + 6 * part + 30 * jaw - 3 * au[17] + 2 * au[15]
    bottom_y += 6 * part * au[12] + 3 * part * au[20]
    open_units = max(0.0, bottom_y - top_y) if part + jaw > 0 else 0.0
    if open_units == 0:
        bottom_y = top_y
    q = np.linspace(-1, 1, 41, dtype=np.float32)
    x = q * corner_x

    def arch(y: float, power: float, edge: float = 1.0) -> Points:
        rise = (1 - np.abs(q) ** power) ** edge
        return np.stack([x, corner_y + (y - corner_y) * rise], 1).astype(np.float32)

    round_mouth = 0.5 * min(1.0, jaw)
    inner_top = arch(top_y, 1.9 + round_mouth, 1 - 0.5 * round_mouth)
    inner_bottom = arch(bottom_y, 2.2 + round_mouth, 1 - 0.5 * round_mouth)
    cupid = 2.5 * np.exp(-((q / 0.12) ** 2)) - 1.2 * np.exp(-(((np.abs(q) - 0.3) / 0.18) ** 2))
    full = np.clip(1 - np.abs(q), 0, 1) ** 0.75
    lip_top = inner_top + np.stack([0 * q, -9.5 * thin * full + cupid * thin], 1)
    plump = np.clip(1 - q**2, 0, 1) ** 0.9
    lip_bottom = inner_bottom + np.stack([0 * q, 13 * thin * (1 + 0.1 * au[17]) * plump], 1)

    chin_y = 183 + 27 * jaw - 4 * au[17]
    fold_x = corner_x + 13
    nasolabial = curve(
        [
            (27 + 3 * au[10], 60 - 6 * a9 - 4 * au[10]),
            (36 + 4 * au[12], 76 - 5 * au[12] - 4 * a9),
            (fold_x - 2 + 4 * au[12], corner_y - 16),
            (fold_x + 1, corner_y + 8),
        ]
    )
    return Pose(
        brow,
        upper.astype(np.float32),
        np.maximum(lower, upper).astype(np.float32),
        crease.astype(np.float32),
        lip_top.astype(np.float32),
        inner_top,
        np.maximum(inner_bottom, inner_top),
        lip_bottom.astype(np.float32),
        nasolabial,
        (float(corner_x), float(corner_y)),
        float(open_units),
        float(chin_y),
    )
