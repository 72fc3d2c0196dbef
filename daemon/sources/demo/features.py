"""Lips, mouth, nostrils, eyes, brows and glasses: what is painted on the lit skin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.sources.demo.grid import Grid, Picture, Plane, darken, ellipse, paint, ribbon
from daemon.sources.demo.people import Person
from daemon.sources.demo.pose import Pose, Units, curve

_INSIDE = (0.17, 0.06, 0.06)
_LASHES = (0.09, 0.06, 0.05)


def lips(
    g: Grid, person: Person, p: Pose, picture: Picture, skin: NDArray[np.floating[Any]]
) -> None:
    bare = skin * np.array([0.80, 0.55, 0.54], np.float32)
    painted = skin * np.array([0.74, 0.34, 0.36], np.float32)
    colour = bare + (painted - bare) * person.lip_colour
    strength = 0.65 + 0.35 * person.lip_colour
    paint(picture, strength * g.fill(p.upper_lip, blur=0.8), colour * 0.88)
    paint(picture, strength * g.fill(p.lower_lip, blur=0.9), colour)


def mouth(g: Grid, p: Pose, au: Units, picture: Picture) -> None:
    """The line between the lips; in an open mouth the teeth and the tongue."""
    line = (p.lip_inner_top + p.lip_inner_bottom) / 2
    seam = g.strokes(line, width=3.0, blur=0.7, mirror=False)
    paint(picture, 0.85 * np.clip(seam, 0, 1), (0.20, 0.09, 0.08))
    if p.open_units < 1:
        return
    opening = g.fill(np.vstack([p.lip_inner_top, p.lip_inner_bottom[::-1]]), blur=0.4)
    inside = np.empty_like(picture)
    inside[:] = _INSIDE
    top, bottom = float(p.lip_inner_top[20, 1]), float(p.lip_inner_bottom[20, 1])
    if au[26] > 0.4:
        tongue = g.fill(ellipse(0, bottom + 3, 24, 14 * au[26]), blur=2.5)
        paint(inside, 0.8 * tongue, (0.55, 0.26, 0.25))
    upper = 9 * au[12] + 7 * au[10] + 6 * au[20] + 5 * au[25] - 7 * au[26] * (1 - au[12])
    if upper > 1:
        edge = p.lip_inner_top.copy()
        edge[:, 1] = 0.3 * np.maximum(edge[:, 1], top)
        edge[:, 1] += 0.7 * (top + upper - 0.004 * edge[:, 0] ** 2)
        row = g.fill(np.vstack([np.subtract(p.lip_inner_top, [0, 8]), edge[::-1]]), blur=0.5)
        shade = np.clip(1.05 - (g.x / 62) ** 2, 0.3, 1) * np.clip(0.7 + (g.y - top) / 14, 0.7, 1)
        paint(inside, row, _teeth(g, shade, width=10.0, shift=5.0, white=(0.93, 0.90, 0.85)))
    lower = 7 * au[20] + (4 * au[10] + 6 * au[23]) * au[25] - 3 * au[12]
    if lower > 1:
        edge = p.lip_inner_bottom - np.array([0, lower], np.float32)
        row = g.fill(np.vstack([np.add(p.lip_inner_bottom, [0, 8]), edge[::-1]]), blur=0.5)
        shade = np.clip(1.05 - (g.x / 50) ** 2, 0.3, 1) + 0 * g.y
        paint(inside, row, _teeth(g, shade, width=7.0, shift=3.5, white=(0.80, 0.77, 0.72)))
    paint(picture, opening, inside)


def _teeth(
    g: Grid, shade: Plane, *, width: float, shift: float, white: tuple[float, float, float]
) -> Picture:
    gaps = 1 - 0.14 * np.exp(-((((g.x + shift) % width) - shift) ** 2) / 0.5)
    return np.asarray(np.array(white) * (shade * gaps)[..., None], np.float32)


def nostrils(g: Grid, person: Person, au: Units, picture: Picture) -> None:
    a9, n = au[9], person.nose
    wide = a9 + 0.4 * au[12]
    holes = g.fill(ellipse(9.5 * n + wide, 75 - 4 * a9, 5.2 + wide, 2.6), blur=1.0, mirror=True)
    paint(picture, 0.75 * holes, (0.16, 0.08, 0.07))
    wing = curve(
        [(21 * n + 2 * wide, 62 - 3 * wide), (26 * n + 2 * wide, 70), (20 * n + wide, 78)], 12
    )
    darken(picture, g.strokes(wing, width=3.4, blur=1.2), 0.35)
    darken(picture, g.fill(ellipse(0, 81, 22 * n, 4.5), blur=3), 0.22)


def eyes(g: Grid, person: Person, p: Pose, au: Units, picture: Picture) -> None:
    darken(picture, 0.5 * g.bumps(45, -6, 22, 12) + 0.5 * g.bumps(28, 0, 8, 12), 0.24)
    opening = g.fill(np.vstack([p.upper_lid, p.lower_lid[::-1]]), blur=0.4, mirror=True)
    lid = float(p.upper_lid[12, 1])
    # The ball is darker towards the corners and in the shade of the upper lid.
    shade = np.clip(1 - ((np.abs(g.x) - 50) / 34) ** 2, 0.4, 1)
    shade = shade * np.clip(0.55 + (g.y - lid) / 9, 0.5, 1)
    ball = np.asarray(np.array([0.86, 0.83, 0.80]) * shade[..., None], np.float32)
    y = 0.5 - 0.5 * au[5]
    iris = np.array(person.iris, np.float32) / 255
    for rx, ry, down, blur, colour in (
        (9.6, 9.6, 0.0, 0.5, iris * 0.45),
        (7.4, 7.2, 0.8, 1.0, iris),
        (4.2, 4.2, 0.0, 0.4, iris * 0 + 0.03),
    ):
        paint(ball, g.fill(ellipse(50, y + down, rx, ry), blur=blur, mirror=True), colour)
    ball *= (0.55 + 0.45 * np.clip((g.y - lid) / 6, 0, 1))[..., None]
    sparks = (ellipse(47, y - 3.4, 1.9, 1.9), ellipse(-53, y - 3.4, 1.9, 1.9))
    paint(ball, 0.95 * g.fill(*sparks, blur=0.4), (1, 1, 1))
    paint(picture, opening, ball)
    lash = g.strokes(p.upper_lid, width=3.6, blur=0.6)
    paint(picture, 0.9 * np.clip(lash, 0, 1), _LASHES)
    rim = g.strokes(p.lower_lid, width=1.8, blur=0.6)
    paint(picture, 0.5 * np.clip(rim, 0, 1), (0.25, 0.14, 0.12))


def brows(g: Grid, person: Person, p: Pose, picture: Picture, hairs: Plane) -> None:
    s = np.linspace(0, 1, len(p.brow))
    width = 2 * person.brow * np.interp(s, [0, 0.1, 0.5, 0.8, 1], [3.2, 5.0, 4.6, 2.8, 0.7])
    mask = g.fill(ribbon(p.brow, width), blur=1.1, mirror=True)
    colour = np.minimum(np.array(person.hair, np.float32) / 255 * 0.55, 0.24)
    paint(picture, np.clip(mask * (0.82 + 0.12 * hairs), 0, 0.95), colour)


def glasses(g: Grid, picture: Picture) -> None:
    outer = g.fill(ellipse(51, 6, 37, 28), blur=0.5, mirror=True)
    hole = g.fill(ellipse(51, 6, 33.5, 24.5), blur=0.5, mirror=True)
    bridge = g.strokes(curve([(-16, 0), (0, -4), (16, 0)]), width=4, blur=0.4, mirror=False)
    arm = g.strokes(curve([(84, 0), (98, -2), (112, -2)]), width=5, blur=0.4)
    paint(picture, 0.92 * np.clip(outer - hole + bridge + arm, 0, 1), (0.10, 0.09, 0.10))
