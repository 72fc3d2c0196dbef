"""One drawn head: forms as a height field in soft light, then paint, folds and hair.

The skin is lit from a height field (skull, sockets, nose, cheeks, lips), so that a raised
cheek or a furrow changes light and shade as it does on a photograph, which is what a net
trained on photographs reads.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.sources.demo_people import Person
from daemon.sources.demo_pose import Points, Units, curve, pose

Plane = NDArray[np.float32]
"""[height, width] float32."""

LEFT, TOP, RIGHT, BOTTOM = -175.0, -215.0, 175.0, 285.0
"""What part of face coordinates a head picture covers; see demo_pose."""

LIGHT = np.array([-0.30, -0.48, 0.82], np.float32)


def head_size_px(px_per_unit: float) -> tuple[int, int]:
    """Width and height of the picture that `draw_head` makes."""
    return round((RIGHT - LEFT) * px_per_unit), round((BOTTOM - TOP) * px_per_unit)


class _Canvas:
    """A picture in face coordinates: masks and bumps at one scale."""

    def __init__(self, px_per_unit: float) -> None:
        self.scale = px_per_unit
        width, height = head_size_px(px_per_unit)
        self.shape = (height, width)
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / px_per_unit + LEFT)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / px_per_unit + TOP)[:, None]

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        at = (points - np.array([LEFT, TOP], np.float32)) * self.scale - 0.5
        return np.round(at * 16).astype(np.int32)

    def soften(self, mask: NDArray[np.uint8] | Plane, blur: float) -> Plane:
        """To float 0..1, blurred with a deviation of `blur` units."""
        soft = mask.astype(np.float32)
        if mask.dtype == np.uint8:
            soft /= 255
        if blur > 0:
            soft = cv2.GaussianBlur(soft, (0, 0), max(0.3, blur * self.scale))
        return soft

    def fill(self, *outlines: Points, blur: float = 0.0, mirror: bool = False) -> Plane:
        mask = np.zeros(self.shape, np.uint8)
        for points in outlines:
            cv2.fillPoly(mask, [self._fixed(points)], 255, cv2.LINE_AA, 4)
            if mirror:
                cv2.fillPoly(mask, [self._fixed(_mirrored(points))], 255, cv2.LINE_AA, 4)
        return self.soften(mask, blur)

    def strokes(self, *lines: Points, width: float, blur: float = 0.0, mirror: bool = True) -> Plane:
        """Lines that thin out towards both ends."""
        parts = []
        for points in lines:
            parts.append(_ribbon(points, width))
        return self.fill(*parts, blur=blur, mirror=mirror)

    def bump(self, x: float, y: float, sx: float, sy: float) -> Plane:
        """A Gaussian hill of height 1."""
        across = np.exp(-0.5 * ((self.x - x) / sx) ** 2)
        down = np.exp(-0.5 * ((self.y - y) / sy) ** 2)
        return across * down

    def bumps(self, x: float, y: float, sx: float, sy: float) -> Plane:
        """A hill at x and its mirror image."""
        across = np.exp(-0.5 * ((self.x - x) / sx) ** 2) + np.exp(
            -0.5 * ((self.x + x) / sx) ** 2
        )
        return across * np.exp(-0.5 * ((self.y - y) / sy) ** 2)


def _mirrored(points: Points) -> Points:
    return points * np.array([-1, 1], np.float32)


def _ribbon(points: Points, width: float, taper: float = 0.7) -> Points:
    """The outline of a line that is `width` units thick in its middle."""
    along = np.gradient(points, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-6
    s = np.linspace(0, 1, len(points), dtype=np.float32)
    half = 0.5 * width * np.clip(np.sin(np.pi * np.clip(s, 0.02, 0.98)), 0, 1) ** taper
    return np.vstack([points + across * half[:, None], (points - across * half[:, None])[::-1]])


def _ellipse(x: float, y: float, rx: float, ry: float, n: int = 40) -> Points:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False, dtype=np.float32)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], 1).astype(np.float32)


def _paint(picture: NDArray[np.float32], mask: Plane, colour: object) -> None:
    """Lay a colour (0..1 RGB, or a picture) over the picture where the mask is."""
    picture += (np.asarray(colour, np.float32) - picture) * mask[..., None]


def _outline(person: Person, chin_y: float) -> Points:
    """The face's contour, from the crown over the right cheek to the chin and back."""
    w, j = person.width, person.jaw
    half = curve(
        [
            (0, -168),
            (52 * w, -158),
            (92 * w, -118),
            (107 * w, -60),
            (110 * w, 0),
            (105 * w, 58),
            (90 * w * j, 58 + (chin_y - 58) * 0.46),
            (61 * w * j, 58 + (chin_y - 58) * 0.80),
            (27 * w * j, 58 + (chin_y - 58) * 0.97),
            (0, chin_y),
        ],
        60,
    )
    return np.vstack([half, _mirrored(half)[::-1]])


def draw_head(person: Person, units: Units, px_per_unit: float, seed: int) -> NDArray[np.uint8]:
    """Head, hair and neck, RGBA uint8 [h, w, 4], not premultiplied.

    `units` are action units with their weights, `px_per_unit` the scale of face coordinates
    (`head_size_px` gives the size), `seed` fixes the grain of skin and hair.
    """
    c = _Canvas(px_per_unit)
    rng = np.random.default_rng(seed)
    p = pose(units, lips=person.lips)
    au = lambda n: units.get(n, 0.0)  # noqa: E731
    outline = _outline(person, p.chin_y)
    face = c.fill(outline, blur=0.6)

    height = _forms(c, person, p, units)
    folds = _folds(c, person, p, units)
    height -= 1.9 * folds
    light, gloss = _light(c, height)
    light *= 1 - 0.38 * np.clip(folds, 0, 1.2)

    skin = np.array(person.skin, np.float32) / 255
    picture = np.empty((*c.shape, 3), np.float32)
    picture[:] = skin
    warm = 0.5 * c.bumps(60, 52, 26, 20) + 0.5 * c.bump(0, 64, 20, 14)
    _paint(picture, 0.35 * np.clip(warm, 0, 1), skin * [1.0, 0.82, 0.80])
    if person.stubble:
        beard = c.fill(_ellipse(0, 140, 84, 62), blur=14)
        _paint(picture, person.stubble * beard, skin * [0.55, 0.56, 0.6])
    _lips_paint(c, person, p, picture, skin)
    grain = cv2.GaussianBlur(rng.standard_normal(c.shape).astype(np.float32), (0, 0), 1.2)
    picture *= (light * (1 + 0.02 * grain))[..., None]
    picture += (0.10 * gloss)[..., None]

    _mouth(c, p, units, picture)
    _nostrils(c, person, units, picture)
    _eyes(c, person, p, units, picture)
    _brows(c, person, p, picture, rng)
    if person.glasses:
        _glasses(c, picture)
    del au
    return _assemble(c, person, picture, face, skin, rng, p.chin_y)


def _forms(c: _Canvas, person: Person, p, units: Units) -> Plane:
    au = lambda n: units.get(n, 0.0)  # noqa: E731
    outline = _outline(person, p.chin_y)
    right = outline[:60]
    half = np.interp(c.y[:, 0], right[:, 1], right[:, 0]).astype(np.float32)[:, None]
    r = np.clip(np.abs(c.x) / np.maximum(half, 1), 0, 1)
    h = 78 * np.sqrt(np.clip(1 - r**2.3, 0, 1)) * np.clip(half / 80, 0, 1) ** 0.6
    h = cv2.GaussianBlur(h.astype(np.float32), (0, 0), 3 * c.scale)
    h -= 9 * c.bumps(46, 4, 24, 15)  # sockets
    h += 5 * c.bumps(48, -30 + 6 * au(4), 30, 9) + 3 * c.bump(0, -32, 20, 12)
    cheek_y = 52 - 12 * au(6) - 5 * au(9) - 4 * au(10)
    h += (7 + 8 * au(6) + 4 * au(12)) * c.bumps(60, cheek_y, 23, 18)
    h -= 5 * c.bumps(76, 108, 20, 24) * (1 - 0.5 * au(12))
    n = person.nose
    tip_y = 66 - 4 * au(9)
    h += 11 * c.bump(0, 10, 11, 30) * np.clip((c.y + 40) / 60, 0, 1)
    h += 13 * c.bump(0, tip_y - 16, 12 * n, 20) + 12 * c.bump(0, tip_y - 2, 11 * n, 9)
    h += (9 + 3 * au(9)) * c.bumps(20 * n + 2 * au(9) + 3 * au(12), tip_y + 3 - 4 * au(9), 7, 7)
    h += 7 * c.bump(0, 112, 42, 22)  # the teeth behind the lips
    h -= 2.5 * c.bump(0, 90, 4.5, 8)  # philtrum
    upper = c.fill(np.vstack([p.lip_top, p.lip_inner_top[::-1]]), blur=2.6)
    lower = c.fill(np.vstack([p.lip_inner_bottom, p.lip_bottom[::-1]]), blur=3.2)
    h += 4 * upper + 6.5 * lower
    below = float(p.lip_bottom[20, 1]) + 8
    h -= (5 + 2 * au(17)) * c.bump(0, below, 30, 6)
    h += (9 + 3 * au(17)) * c.bump(0, (below + p.chin_y) / 2 + 5, 24, 17)
    return h


def _folds(c: _Canvas, person: Person, p, units: Units) -> Plane:
    """Wrinkles, 0..1 and a little more: age makes them, muscles deepen them."""
    au = lambda n: units.get(n, 0.0)  # noqa: E731
    age = person.age
    folds = np.zeros(c.shape, np.float32)

    def add(strength: float, *lines: Points, width: float, blur: float, mirror: bool = True) -> None:
        if strength > 0.02:
            np.add(
                folds, strength * c.strokes(*lines, width=width, blur=blur, mirror=mirror), out=folds
            )

    smile = 0.95 * au(12) + 0.7 * au(10) + 0.5 * au(9) + 0.35 * au(20) + 0.35 * au(15)
    add(0.12 + 0.3 * age + smile, p.nasolabial, width=5, blur=2.2)
    bag = p.lower_lid[3:-1] + np.array([0, 8], np.float32)
    add(0.25 + 0.3 * age + 0.6 * au(6) + 0.3 * au(7) + 0.3 * au(9), bag, width=3, blur=1.6)
    add(0.8, p.lid_crease, width=2.4, blur=0.7)
    feet = [
        curve([(80, -2 + k), (88, -5 + 2.2 * k), (97, -7 + 3.6 * k)], 10) for k in (-3.0, 0.0, 3.5)
    ]
    add(0.1 * age + 0.7 * au(6) + 0.2 * au(7), *feet, width=2.2, blur=0.9)
    inner = p.brow[0]
    frown = curve(
        [(7 - 1.5 * au(4), inner[1] - 8), (8 - 1.5 * au(4), inner[1] + 4), (6, inner[1] + 18)], 12
    )
    add(0.1 * age + 0.95 * au(4) + 0.3 * au(9), frown, width=4, blur=1.3)
    lift = max(au(1), au(2))
    reach = 62 if au(2) > 0.35 * au(1) else 34
    wave = 0 if au(2) > 0.35 * au(1) else -5
    rows = [
        curve([(-reach, y + 3 - wave), (-reach / 2, y), (0, y + 2 + wave), (reach / 2, y), (reach, y + 3 - wave)])
        for y in (-58.0 - 6 * lift, -69.0 - 5 * lift, -80.0 - 4 * lift)
    ]
    add(0.2 * age + 0.5 * lift, *rows, width=2.6, blur=1.5, mirror=False)
    scrunch = [curve([(2, 4 + k), (9, 1 + k), (17, 6 + k)], 10) for k in (-8.0, 0.0, 8.0)]
    add(0.9 * au(9), *scrunch, width=3, blur=1.0)
    x, y = p.mouth_corner
    add(0.5 + 0.4 * au(12), curve([(x - 1, y - 5), (x + 3, y), (x + 2, y + 6)], 8), width=4, blur=1.6)
    add(0.8 * au(15) + 0.2 * age, curve([(x + 1, y + 2), (x + 6, y + 12), (x + 5, y + 24)], 10), width=4, blur=1.8)
    below = float(p.lip_bottom[20, 1]) + 7
    add(0.35 + 0.5 * au(17), curve([(-26, below + 3), (0, below - 1), (26, below + 3)], 14), width=6, blur=2.5, mirror=False)
    if au(17) > 0.05:
        dots = np.random.default_rng(17).standard_normal(c.shape).astype(np.float32)
        dots = cv2.GaussianBlur(dots, (0, 0), 2.2 * c.scale) * 2.2 * c.scale * 3
        folds += 0.35 * au(17) * np.clip(dots, 0, 1) * c.bump(0, p.chin_y - 22, 18, 12)
    return folds


def _light(c: _Canvas, height: Plane) -> tuple[Plane, Plane]:
    """Shade and gloss of a height field in units."""
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=c.scale / 8)
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=c.scale / 8)
    inverse = 1 / np.sqrt(gx**2 + gy**2 + 1)
    lx, ly, lz = (LIGHT / np.linalg.norm(LIGHT)).tolist()
    toward = (-gx * lx - gy * ly + lz) * inverse
    hollow = height - cv2.GaussianBlur(height, (0, 0), 14 * c.scale)
    light = 0.36 + 0.80 * np.clip(toward, 0, 1) + 0.012 * np.clip(hollow, -14, 8)
    half = np.array([lx, ly, lz + 1], np.float32)
    half /= np.linalg.norm(half)
    gloss = np.clip((-gx * half[0] - gy * half[1] + half[2]) * inverse, 0, 1) ** 24
    return np.clip(light, 0.12, 1.25).astype(np.float32), gloss.astype(np.float32)


def _lips_paint(c: _Canvas, person: Person, p, picture: NDArray[np.float32], skin: object) -> None:
    red = np.asarray(skin) * [0.80, 0.55, 0.54]
    painted = np.asarray(skin) * [0.74, 0.34, 0.36]
    colour = red + (painted - red) * person.lip_colour
    upper = c.fill(np.vstack([p.lip_top, p.lip_inner_top[::-1]]), blur=0.8)
    lower = c.fill(np.vstack([p.lip_inner_bottom, p.lip_bottom[::-1]]), blur=0.9)
    strength = 0.65 + 0.35 * person.lip_colour
    _paint(picture, strength * upper, colour * 0.88)
    _paint(picture, strength * lower, colour)


def _mouth(c: _Canvas, p, units: Units, picture: NDArray[np.float32]) -> None:
    au = lambda n: units.get(n, 0.0)  # noqa: E731
    line = (p.lip_inner_top + p.lip_inner_bottom) / 2
    seam = c.strokes(line, width=3.0, blur=0.7, mirror=False)
    _paint(picture, 0.85 * np.clip(seam, 0, 1), (0.20, 0.09, 0.08))
    if p.open_px < 1:
        return
    opening = c.fill(np.vstack([p.lip_inner_top, p.lip_inner_bottom[::-1]]), blur=0.4)
    inside = np.empty_like(picture)
    inside[:] = (0.17, 0.06, 0.06)
    top = float(p.lip_inner_top[20, 1])
    bottom = float(p.lip_inner_bottom[20, 1])
    if au(26) > 0.4:
        tongue = c.fill(_ellipse(0, bottom + 3, 24, 14 * au(26)), blur=2.5)
        _paint(inside, 0.8 * tongue, (0.55, 0.26, 0.25))
    show = 9 * au(12) + 7 * au(10) + 6 * au(20) + 5 * au(25) - 7 * au(26) * (1 - au(12))
    if show > 1:
        arc = p.lip_inner_top.copy()
        arc[:, 1] = np.maximum(arc[:, 1], top) * 0.3 + (top + show - 0.004 * arc[:, 0] ** 2) * 0.7
        shelf = np.vstack([p.lip_inner_top - [0, 8], arc[::-1]]).astype(np.float32)
        teeth = c.fill(shelf, blur=0.5)
        dark = np.clip(1.05 - (c.x / 62) ** 2, 0.3, 1) * np.clip(0.7 + (c.y - top) / 14, 0.7, 1)
        white = np.array([0.93, 0.90, 0.85], np.float32) * dark[..., None]
        gaps = 1 - 0.14 * np.exp(-((((c.x + 5) % 10) - 5) ** 2) / 0.5)
        _paint(inside, teeth, white * gaps[..., None])
    low = 7 * au(20) + 4 * au(10) * au(25) - 3 * au(12)
    if low > 1:
        shelf = np.vstack([p.lip_inner_bottom + [0, 8], (p.lip_inner_bottom - [0, low])[::-1]])
        teeth = c.fill(shelf.astype(np.float32), blur=0.5)
        gaps = 1 - 0.14 * np.exp(-((((c.x + 3.5) % 7) - 3.5) ** 2) / 0.5)
        white = np.array([0.80, 0.77, 0.72], np.float32) * gaps[..., None]
        _paint(inside, teeth, white * np.clip(1.05 - (c.x / 50) ** 2, 0.3, 1)[..., None])
    _paint(picture, opening, inside)


def _nostrils(c: _Canvas, person: Person, units: Units, picture: NDArray[np.float32]) -> None:
    wide = units.get(9, 0.0) + 0.4 * units.get(12, 0.0)
    x, y = 9.5 * person.nose + wide, 75 - 4 * units.get(9, 0.0)
    holes = c.fill(_ellipse(x, y, 5.2 + wide, 2.6), blur=1.0, mirror=True)
    _paint(picture, 0.75 * holes, (0.16, 0.08, 0.07))
    wing = curve([(21 * person.nose + 2 * wide, 62 - 3 * wide), (26 * person.nose + 2 * wide, 70), (20 * person.nose + wide, 78)], 12)
    shade = c.strokes(wing, width=3.4, blur=1.2)
    picture *= (1 - 0.35 * shade)[..., None]
    base = c.fill(_ellipse(0, 81, 22 * person.nose, 4.5), blur=3)
    picture *= (1 - 0.22 * base)[..., None]


def _eyes(c: _Canvas, person: Person, p, units: Units, picture: NDArray[np.float32]) -> None:
    socket = c.bumps(45, -6, 22, 12) * 0.5 + c.bumps(28, 0, 8, 12) * 0.5
    picture *= (1 - 0.24 * np.clip(socket, 0, 1))[..., None]
    opening = c.fill(np.vstack([p.upper_lid, p.lower_lid[::-1]]), blur=0.4, mirror=True)
    ball = np.empty_like(picture)
    depth = np.clip(1 - (np.abs(np.abs(c.x) - 50) / 34) ** 2, 0.4, 1)
    lid = float(p.upper_lid[12, 1])
    under_lid = np.clip(0.55 + (c.y - lid) / 9, 0.5, 1)
    ball[:] = np.array([0.86, 0.83, 0.80], np.float32)
    ball *= (depth * under_lid)[..., None]
    y = 0.5 - 0.5 * units.get(5, 0.0)
    iris = np.array(person.iris, np.float32) / 255
    _paint(ball, c.fill(_ellipse(50, y, 9.6, 9.6), blur=0.5, mirror=True), iris * 0.45)
    _paint(ball, c.fill(_ellipse(50, y + 0.8, 7.4, 7.2), blur=1.0, mirror=True), iris * 1.0)
    _paint(ball, c.fill(_ellipse(50, y, 4.2, 4.2), blur=0.4, mirror=True), (0.03, 0.03, 0.03))
    ball *= (0.55 + 0.45 * np.clip((c.y - lid) / 6, 0, 1))[..., None]
    sparks = c.fill(_ellipse(47, y - 3.4, 1.9, 1.9), _ellipse(-53, y - 3.4, 1.9, 1.9), blur=0.4)
    _paint(ball, 0.95 * sparks, (1, 1, 1))
    _paint(picture, opening, ball)
    lash = c.strokes(p.upper_lid, width=3.6, blur=0.6)
    _paint(picture, 0.9 * np.clip(lash, 0, 1), (0.09, 0.06, 0.05))
    lower = c.strokes(p.lower_lid, width=1.8, blur=0.6)
    _paint(picture, 0.5 * np.clip(lower, 0, 1), (0.25, 0.14, 0.12))


def _brows(
    c: _Canvas, person: Person, p, picture: NDArray[np.float32], rng: np.random.Generator
) -> None:
    along = np.gradient(p.brow, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    s = np.linspace(0, 1, len(p.brow))
    half = person.brow * np.interp(s, [0, 0.1, 0.5, 0.8, 1], [3.2, 5.0, 4.6, 2.8, 0.7])[:, None]
    mask = c.fill(np.vstack([p.brow + across * half, (p.brow - across * half)[::-1]]).astype(np.float32), blur=1.1, mirror=True)
    hairs = rng.standard_normal(c.shape).astype(np.float32)
    hairs = cv2.GaussianBlur(hairs, (0, 0), sigmaX=1.6 * c.scale, sigmaY=0.5 * c.scale + 0.2)
    hairs /= hairs.std() + 1e-6
    colour = np.array(person.hair, np.float32) / 255 * 0.6
    _paint(picture, np.clip(mask * (0.82 + 0.12 * hairs), 0, 0.95), colour)


def _glasses(c: _Canvas, picture: NDArray[np.float32]) -> None:
    outer = c.fill(_ellipse(51, 6, 37, 28), blur=0.5, mirror=True)
    hole = c.fill(_ellipse(51, 6, 33.5, 24.5), blur=0.5, mirror=True)
    bridge = c.strokes(curve([(-16, 0), (0, -4), (16, 0)]), width=4, blur=0.4, mirror=False)
    arm = c.strokes(curve([(84, 0), (98, -2), (112, -2)]), width=5, blur=0.4)
    frame = np.clip(outer - hole + bridge + arm, 0, 1)
    _paint(picture, 0.92 * frame, (0.10, 0.09, 0.10))


def _assemble(
    c: _Canvas, person: Person, picture: NDArray[np.float32], face: Plane,
    skin: NDArray[np.float32], rng: np.random.Generator, chin_y: float,
) -> NDArray[np.uint8]:  # fmt: skip
    """Neck and ears behind the face, hair over it, and the outline of it all as alpha."""
    w = person.width
    neck_half = 60 * (0.92 if person.jaw < 1 else 1.04)
    half = neck_half + 6
    neck = c.fill(
        np.vstack(
            [
                [[-neck_half, 90], [neck_half, 90], [neck_half, 175], [half + 8, 212]],
                [[x, 212 + 36 * np.sqrt(1 - (x / (half + 8)) ** 2)] for x in np.linspace(half + 8, -half - 8, 24)],
                [[-half - 8, 212], [-neck_half, 175]],
            ]
        ).astype(np.float32),
        blur=1.0,
    )
    head = np.empty_like(picture)
    head[:] = skin
    round_neck = np.clip(1 - (np.abs(c.x - 8) / (neck_half + 30)) ** 2.2, 0.25, 1)
    shadow = 1 - 0.55 * c.fill(_outline(person, chin_y) + np.array([8, 20], np.float32), blur=9)
    head *= (0.85 * round_neck * shadow)[..., None]
    ears = c.fill(_ellipse(112 * w, 22, 14, 34), blur=1.0, mirror=True)
    ear_shade = 0.72 - 0.25 * c.bumps(112 * w, 24, 6, 18)
    _paint(head, ears, skin * np.array([0.95, 0.82, 0.78], np.float32) * ear_shade[..., None])
    alpha = np.maximum(neck, ears)
    behind, cap = _hair(c, person, rng)
    strands = _strands(c, rng, person)
    if behind is not None:
        back = strands * 0.7
        under = np.maximum(alpha, behind)
        # Long hair falls behind the neck and over the ears.
        base = back.copy()
        _paint(base, neck, head)
        head, alpha = base, under
    _paint(head, face, picture)
    alpha = np.maximum(alpha, face)
    if cap is not None:
        fringe = np.clip(c.soften(cap, 5) * 1.3, 0, 1) * (1 - cap)
        head *= (1 - 0.30 * fringe)[..., None]
        _paint(head, cap, strands)
        alpha = np.maximum(alpha, cap)
    out = np.empty((*c.shape, 4), np.uint8)
    out[..., :3] = np.clip(head * 255 + 0.5, 0, 255)
    out[..., 3] = np.clip(alpha * 255 + 0.5, 0, 255)
    return out


def _hair(c: _Canvas, person: Person, rng: np.random.Generator) -> tuple[Plane | None, Plane | None]:
    """What falls behind the face, and what lies over it."""
    w = person.width
    if person.style == "bald":
        return None, None
    low = {"short": -16.0, "long": 60.0, "bun": -6.0}[person.style]
    rise = {"short": 186.0, "long": 184.0, "bun": 178.0}[person.style]
    outer = curve([(116 * w, low), (121 * w, -52), (110 * w, -118), (66 * w, -rise + 16), (0, -rise)], 40)
    if person.style == "short":
        inner = curve([(0, -94), (48, -97), (76, -88), (90 * w, -58), (99 * w, -30), (106 * w, low)], 40)
    elif person.style == "long":
        inner = curve([(0, -108), (34, -98), (68, -74), (88 * w, -36), (97 * w, 14), (106 * w, low)], 40)
    else:
        inner = curve([(0, -98), (46, -95), (78, -76), (96 * w, -42), (106 * w, low)], 40)
    cap = c.fill(np.vstack([outer, inner]), blur=1.6, mirror=True)
    behind = None
    if person.style == "long":
        side = curve([(0, -184), (80 * w, -160), (122 * w, -70), (132 * w, 30), (136 * w, 130), (128, 215), (96, 262), (60, 270)], 60)
        behind = c.fill(np.vstack([side, [[0, 270]]]).astype(np.float32), blur=2, mirror=True)
    elif person.style == "bun":
        cap = np.maximum(cap, c.fill(_ellipse(0, -186, 40, 26), blur=1.5))
    return behind, cap


def _strands(c: _Canvas, rng: np.random.Generator, person: Person) -> NDArray[np.float32]:
    """Hair as a texture that runs from the crown outwards, RGB 0..1."""
    noise = rng.standard_normal((64, 720)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=1.0, sigmaY=12)
    noise /= noise.std()
    angle = (np.arctan2(c.x, -(c.y + 60) + 0 * c.x) + np.pi) * (719 / (2 * np.pi))
    radius = np.clip(np.hypot(c.x, c.y + 60) / 5, 0, 63)
    grain = cv2.remap(noise, angle.astype(np.float32), radius.astype(np.float32), cv2.INTER_LINEAR)
    sheen = c.bump(-34, -146, 60, 16) * 0.5
    tone = 0.86 + 0.16 * grain + sheen - 0.25 * np.clip((c.x + 60) / 200, 0, 1)
    return (np.array(person.hair, np.float32) / 255) * np.clip(tone, 0.3, 1.8)[..., None]
