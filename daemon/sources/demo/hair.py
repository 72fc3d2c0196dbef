"""What surrounds a drawn face and does not move with it: hair, ears and neck."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from daemon.sources.demo.grid import Grid, Picture, Plane, ellipse, mirrored, paint
from daemon.sources.demo.people import Person
from daemon.sources.demo.pose import Points, curve


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`back` with `back_alpha` lies behind the face, hair (`strands`) over it where `cap` is 1."""

    back: Picture
    back_alpha: Plane
    strands: Picture
    cap: Plane
    neck: Plane


def surroundings(g: Grid, person: Person, rng: np.random.Generator) -> Surroundings:
    skin = np.array(person.skin, np.float32) / 255
    w = person.width
    strands = _strands(g, person, rng)
    half = 62.0 if person.jaw >= 1 else 54.0
    neck = g.fill(_neck(half), blur=1.0)
    throat = np.empty((*g.shape, 3), np.float32)
    throat[:] = skin
    throat *= (0.85 * np.clip(1 - (np.abs(g.x - 8) / (half + 30)) ** 2.2, 0.25, 1))[..., None]
    ears = g.fill(ellipse(111 * w, 20, 13, 32), blur=1.0, mirror=True)
    shade = 0.74 - 0.28 * g.bumps(110 * w, 22, 6, 18)
    back = throat
    paint(back, ears, skin * np.array([0.95, 0.82, 0.78], np.float32) * shade[..., None])
    alpha = np.maximum(neck, ears)
    if person.style == "long":
        fall = g.fill(_fall(w), blur=2, mirror=True)
        hair = strands * 0.7
        paint(hair, neck, throat)
        back, alpha = hair, np.maximum(fall, neck)
    return Surroundings(back, alpha, strands, _cap(g, person), neck)


def _neck(half: float) -> Points:
    """Down to a round collar."""
    side = curve([(half, 90), (half - 3, 140), (half, 178), (half + 16, 212)], 20)
    collar = np.linspace(1, -1, 24)
    end = np.stack([(half + 16) * collar, 212 + 36 * np.sqrt(1 - collar**2)], 1)
    return np.vstack([side, end, mirrored(side)[::-1]]).astype(np.float32)


def _fall(w: float) -> Points:
    """Long hair on one side, down before the shoulder."""
    side = curve(
        [
            (0, -184), (80 * w, -160), (120 * w, -70), (130 * w, 30), (133 * w, 130),
            (128, 205), (108, 255), (82, 262), (66, 232), (58, 180),
        ],
        80,
    )  # fmt: skip
    return np.vstack([side, [[50, 100], [0, 60]]]).astype(np.float32)


def _cap(g: Grid, person: Person) -> Plane:
    """Where hair lies on the head."""
    w = person.width
    if person.style == "bald":
        return np.zeros(g.shape, np.float32)
    low, rise = {"short": (-16, 186), "long": (60, 184), "bun": (-6, 178)}[person.style]
    outer = curve(
        [(116 * w, low), (121 * w, -52), (110 * w, -118), (66 * w, 16 - rise), (0, -rise)], 40
    )
    hairline = {
        "short": [(0, -94), (48, -97), (76, -88), (90 * w, -58), (99 * w, -30)],
        "long": [(0, -108), (34, -98), (68, -74), (88 * w, -36), (97 * w, 14)],
        "bun": [(0, -98), (46, -95), (78, -76), (96 * w, -42)],
    }[person.style]
    inner = curve([*hairline, (106 * w, low)], 40)
    half = np.vstack([outer, inner])
    # One outline, so that no seam shows where the halves meet.
    whole = np.vstack([half[:40], mirrored(half[:40])[::-1], mirrored(half[40:])[::-1], half[40:]])
    cap = g.fill(whole, blur=1.6)
    if person.style == "bun":
        cap = np.maximum(cap, g.fill(ellipse(0, -184, 40, 26), blur=1.5))
    return cap


def _strands(g: Grid, person: Person, rng: np.random.Generator) -> Picture:
    """Hair that runs from the crown outwards."""
    noise = rng.standard_normal((64, 720)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=1.0, sigmaY=12)
    noise /= noise.std()
    dx, dy = np.broadcast_arrays(g.x, g.y + 60)
    angle = (np.arctan2(dx, -dy) + np.pi) * (719 / (2 * np.pi))
    radius = np.clip(np.hypot(dx, dy) / 5, 0, 63)
    grain = cv2.remap(noise, angle.astype(np.float32), radius.astype(np.float32), cv2.INTER_LINEAR)
    sheen = 0.5 * g.bump(-34, -146, 60, 16)
    tone = 0.86 + 0.13 * grain + sheen - 0.25 * np.clip((g.x + 60) / 200, 0, 1)
    colour = np.array(person.hair, np.float32) / 255
    return np.asarray(colour * np.clip(tone, 0.3, 1.8)[..., None], np.float32)
