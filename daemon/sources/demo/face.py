"""One drawn head: forms as a height field in soft light, then paint, folds and features.

The skin is lit from a height field (skull, sockets, nose, cheeks, lips), so that a raised
cheek or a furrow changes light and shade as it does on a photograph, which is what a net
trained on photographs reads.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.sources.demo import features
from daemon.sources.demo.grid import Grid, Picture, Plane, ellipse, mirrored, paint
from daemon.sources.demo.hair import surroundings
from daemon.sources.demo.people import Person
from daemon.sources.demo.pose import Points, Pose, Units, curve, pose

LIGHT = (-0.30, -0.48, 0.82)
"""Towards the lamp: from the upper left, before the face."""

_CONTOUR = 60


class Head:
    """A person's head at one scale; `seed` fixes the grain of skin and hair."""

    def __init__(self, person: Person, px_per_unit: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        g = self._grid = Grid(px_per_unit)
        self._person = person
        self._around = surroundings(g, person, rng)
        fine = cv2.GaussianBlur(rng.standard_normal(g.shape).astype(np.float32), (0, 0), 1.2)
        self._grain = 1 + 0.02 * fine
        hairs = rng.standard_normal(g.shape).astype(np.float32)
        hairs = cv2.GaussianBlur(hairs, (0, 0), sigmaX=1.6 * g.scale, sigmaY=0.5 * g.scale + 0.2)
        self._brow_hairs = hairs / hairs.std()

    def draw(self, units: Units) -> NDArray[np.uint8]:
        """Head, hair and neck under these action units, RGBA uint8 [h, w, 4]."""
        g, person = self._grid, self._person
        p = pose(units, lips=person.lips)
        outline = _contour(person, p.chin_y)
        folds = _folds(g, person, p, units)
        light, gloss = _light(g, _forms(g, person, p, units, outline) - 1.9 * folds)
        light *= 1 - 0.38 * np.clip(folds, 0, 1.2)
        skin = np.array(person.skin, np.float32) / 255
        picture = _complexion(g, person, skin)
        features.lips(g, person, p, picture, skin)
        picture *= (light * self._grain)[..., None]
        picture += (0.10 * gloss)[..., None]
        features.mouth(g, p, units, picture)
        features.nostrils(g, person, units, picture)
        features.eyes(g, person, p, units, picture)
        features.brows(g, person, p, picture, self._brow_hairs)
        if person.glasses:
            features.glasses(g, picture)
        return self._assemble(picture, outline)

    def _assemble(self, picture: Picture, outline: Points) -> NDArray[np.uint8]:
        """The face over neck and ears, hair over the face."""
        g, around = self._grid, self._around
        head = around.back.copy()
        shadow = g.fill(outline + np.array([8, 20], np.float32), blur=9)
        head *= (1 - 0.55 * shadow * around.neck)[..., None]
        face = g.fill(outline, blur=0.6)
        paint(head, face, picture)
        fringe = np.clip(g.blurred(around.cap, 5) * 1.3, 0, 1) * (1 - around.cap)
        head *= (1 - 0.30 * fringe)[..., None]
        paint(head, around.cap, around.strands)
        out = np.empty((*g.shape, 4), np.uint8)
        out[..., :3] = np.clip(head * 255 + 0.5, 0, 255)
        alpha = np.maximum(np.maximum(around.back_alpha, face), around.cap)
        out[..., 3] = np.clip(alpha * 255 + 0.5, 0, 255)
        return out


def _contour(person: Person, chin_y: float) -> Points:
    """From the crown over the cheek with x > 0 to the chin, and back."""
    w, j, low = person.width, person.width * person.jaw, chin_y - 58
    half = curve(
        [
            (0, -168), (52 * w, -158), (92 * w, -118), (107 * w, -60), (110 * w, 0),
            (105 * w, 58), (90 * j, 58 + 0.46 * low), (61 * j, 58 + 0.80 * low),
            (27 * j, 58 + 0.97 * low), (0, chin_y),
        ],
        _CONTOUR,
    )  # fmt: skip
    return np.vstack([half, mirrored(half)[::-1]])


def _complexion(g: Grid, person: Person, skin: NDArray[np.floating[Any]]) -> Picture:
    picture = np.empty((*g.shape, 3), np.float32)
    picture[:] = skin
    warm = 0.5 * g.bumps(60, 52, 26, 20) + 0.5 * g.bump(0, 64, 20, 14)
    paint(picture, 0.35 * np.clip(warm, 0, 1), skin * [1.0, 0.82, 0.80])
    if person.stubble:
        beard = g.fill(ellipse(0, 140, 84, 62), blur=14)
        paint(picture, person.stubble * beard, skin * [0.55, 0.56, 0.6])
    return picture


def _forms(g: Grid, person: Person, p: Pose, au: Units, outline: Points) -> Plane:
    """Height of the face towards the viewer, in units."""
    right = outline[:_CONTOUR]
    half = np.interp(g.y[:, 0], right[:, 1], right[:, 0]).astype(np.float32)[:, None]
    r = np.clip(np.abs(g.x) / np.maximum(half, 1), 0, 1)
    h = 78 * np.sqrt(np.clip(1 - r**2.3, 0, 1)) * np.clip(half / 80, 0, 1) ** 0.6
    h = g.blurred(h.astype(np.float32), 3)
    h -= 9 * g.bumps(46, 4, 24, 15)  # sockets
    h += 5 * g.bumps(48, -30 + 6 * au[4], 30, 9) + 3 * g.bump(0, -32, 20, 12)
    cheek_y = 52 - 12 * au[6] - 5 * au[9] - 4 * au[10]
    h += (7 + 8 * au[6] + 4 * au[12]) * g.bumps(60, cheek_y, 23, 18)
    h -= 5 * g.bumps(76, 108, 20, 24) * (1 - 0.5 * au[12])
    n = person.nose
    tip_y = 66 - 4 * au[9]
    h += 11 * g.bump(0, 10, 11, 30) * np.clip((g.y + 40) / 60, 0, 1)
    h += 13 * g.bump(0, tip_y - 16, 12 * n, 20) + 12 * g.bump(0, tip_y - 2, 11 * n, 9)
    wing_x = 20 * n + 2 * au[9] + 3 * au[12]
    h += (9 + 3 * au[9]) * g.bumps(wing_x, tip_y + 3 - 4 * au[9], 7, 7)
    h += 7 * g.bump(0, 112, 42, 22)  # the teeth behind the lips
    h -= 2.5 * g.bump(0, 90, 4.5, 8)  # philtrum
    h += 4 * g.fill(p.upper_lip, blur=2.6) + 6.5 * g.fill(p.lower_lip, blur=3.2)
    h -= (5 + 2 * au[17]) * g.bump(0, p.below_lip_y + 1, 30, 6)
    h += (9 + 3 * au[17]) * g.bump(0, (p.below_lip_y + p.chin_y) / 2 + 5, 24, 17)
    return h


def _light(g: Grid, height: Plane) -> tuple[Plane, Plane]:
    """Shade and gloss of a height field in units."""
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=g.scale / 8)
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=g.scale / 8)
    inverse = 1 / np.sqrt(gx**2 + gy**2 + 1)
    lx, ly, lz = (np.array(LIGHT) / np.linalg.norm(LIGHT)).tolist()
    toward = (-gx * lx - gy * ly + lz) * inverse
    hollow = height - _coarse_blur(height, 14 * g.scale)
    light = 0.36 + 0.80 * np.clip(toward, 0, 1) + 0.012 * np.clip(hollow, -14, 8)
    # Blinn's half vector between the lamp and the viewer.
    hx, hy, hz = (np.array([lx, ly, lz + 1]) / np.linalg.norm([lx, ly, lz + 1])).tolist()
    gloss = np.clip((-gx * hx - gy * hy + hz) * inverse, 0, 1) ** 24
    return np.clip(light, 0.12, 1.25).astype(np.float32), gloss.astype(np.float32)


def _coarse_blur(plane: Plane, deviation_px: float) -> Plane:
    """A wide blur at a quarter of the size: nobody sees the difference."""
    small = cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(0.3, deviation_px / 4))
    wide: Plane = cv2.resize(small, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return wide


def _folds(g: Grid, person: Person, p: Pose, au: Units) -> Plane:
    """Wrinkles, 0..1 and a little more: age makes them, muscles deepen them."""
    folds = np.zeros(g.shape, np.float32)

    def add(
        strength: float, *lines: Points, width: float, blur: float, mirror: bool = True
    ) -> None:
        if strength > 0.02:
            np.add(
                folds,
                strength * g.strokes(*lines, width=width, blur=blur, mirror=mirror),
                out=folds,
            )

    age, a4 = person.age, au[4]
    smile = 0.95 * au[12] + 0.7 * au[10] + 0.5 * au[9] + 0.35 * au[20] + 0.35 * au[15]
    add(0.12 + 0.3 * age + smile, p.nasolabial, width=5, blur=2.2)
    bag = p.lower_lid[3:-1] + np.array([0, 8], np.float32)
    add(0.25 + 0.3 * age + 0.6 * au[6] + 0.3 * (au[7] + au[9]), bag, width=3, blur=1.6)
    add(0.8, p.lid_crease, width=2.4, blur=0.7)
    crows = [
        curve([(80, k - 2), (88, 2.2 * k - 5), (97, 3.6 * k - 7)], 10) for k in (-3.0, 0.0, 3.5)
    ]
    add(0.1 * age + 0.7 * au[6] + 0.2 * au[7], *crows, width=2.2, blur=0.9)
    y = float(p.brow[0, 1])
    frown = curve([(7 - 1.5 * a4, y - 8), (8 - 1.5 * a4, y + 4), (6, y + 18)], 12)
    add(0.1 * age + 0.95 * a4 + 0.3 * au[9], frown, width=4, blur=1.3)
    lift = max(au[1], au[2])
    # The inner brow alone wrinkles the middle of the forehead, in short roofs.
    reach, roof = (62, 0) if au[2] > 0.35 * au[1] else (34, 5)
    rows = [
        curve(
            [
                (-reach, y + 3 + roof), (-reach / 2, y), (0, y + 2 - roof),
                (reach / 2, y), (reach, y + 3 + roof),
            ]
        )
        for y in (-58 - 6 * lift, -69 - 5 * lift, -80 - 4 * lift)
    ]  # fmt: skip
    add(0.2 * age + 0.5 * lift, *rows, width=2.6, blur=1.5, mirror=False)
    scrunch = [curve([(2, 4 + k), (9, 1 + k), (17, 6 + k)], 10) for k in (-8.0, 0.0, 8.0)]
    add(0.9 * au[9], *scrunch, width=3, blur=1.0)
    x, y = p.mouth_corner
    dimple = curve([(x - 1, y - 5), (x + 3, y), (x + 2, y + 6)], 8)
    add(0.5 + 0.4 * au[12], dimple, width=4, blur=1.6)
    droop = curve([(x + 1, y + 2), (x + 6, y + 12), (x + 5, y + 24)], 10)
    add(0.8 * au[15] + 0.2 * age, droop, width=4, blur=1.8)
    y = p.below_lip_y
    ledge = curve([(-26, y + 3), (0, y - 1), (26, y + 3)], 14)
    add(0.35 + 0.5 * au[17], ledge, width=6, blur=2.5, mirror=False)
    return folds
