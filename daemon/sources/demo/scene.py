"""The picture of a `demo://` scene: a room, and heads warped into its Y, U and V planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.sources.demo.face import Head
from daemon.sources.demo.grid import LEFT, TOP
from daemon.sources.demo.pose import EXPRESSIONS, mix
from daemon.sources.demo.script import Actor, Look, Place

Bytes = NDArray[np.uint8]

SPRITE_MAX_PX_PER_UNIT = 1.0
"""Larger heads are enlarged from this: a bound on time and memory (0.45 MB each)."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """A picture with transparency: Y, U, V (BT.601, limited range) and alpha, [h, w, 4]."""

    yuva: Bytes
    left: float  # face coordinates of the picture's top left corner
    top: float
    px_per_unit: float


def sprite(rgba: Bytes, left: float, top: float, px_per_unit: float) -> Sprite:
    """From RGBA uint8 [h, w, 4]; what is transparent all around is cut off."""
    x0, y0, width, height = cv2.boundingRect(np.ascontiguousarray(rgba[..., 3]))
    rgba = rgba[y0 : y0 + (height & ~1), x0 : x0 + (width & ~1)]
    left, top = left + x0 / px_per_unit, top + y0 / px_per_unit
    y, u, v = yuv_planes(np.ascontiguousarray(rgba[..., :3]))
    size = y.shape[::-1]
    yuva = np.dstack([y, cv2.resize(u, size), cv2.resize(v, size), rgba[..., 3]])
    # A transparent rim in the colours of the edge: warping blends the edge with what lies beyond.
    yuva = cv2.copyMakeBorder(yuva, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    yuva[[0, -1], :, 3] = yuva[:, [0, -1], 3] = 0
    left, top = left - 1 / px_per_unit, top - 1 / px_per_unit
    return Sprite(yuva, left, top, px_per_unit)


def yuv_planes(rgb: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Y [h, w], U and V [h/2, w/2] of an RGB picture of even size, BT.601, limited range."""
    height, width = rgb.shape[:2]
    stacked = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    u, v = stacked[height:].reshape(2, height // 2, width // 2)
    return stacked[:height], u, v


class Scene:
    """Draws the actors at a media time.

    Keeps every head that it has drawn: at most 56 a face, for every expression, its blinks and
    the changes, which is 25 MB a face at 1280x720.
    """

    def __init__(self, actors: list[Actor], width_px: int, height_px: int, seed: int) -> None:
        self._actors = actors
        self._size = (width_px, height_px)
        self._room = yuv_planes(_room(width_px, height_px, seed))
        self._heads = {
            a.index: Head(a.person, min(SPRITE_MAX_PX_PER_UNIT, a.px_per_unit), seed + a.index)
            for a in actors
        }
        self._drawn: dict[tuple[int, str, str, float, float], Sprite] = {}
        self._bodies = [self._body(actor) for actor in actors]

    def draw(self, t_s: float) -> Bytes:
        """The scene at media time t_s as I420, uint8 [height * 3 / 2, width]."""
        width, height = self._size
        out = np.empty((height * 3 // 2, width), np.uint8)
        y = out[:height]
        u, v = out[height:].reshape(2, height // 2, width // 2)
        for plane, room in zip((y, u, v), self._room, strict=True):
            plane[:] = room
        for actor, body in zip(self._actors, self._bodies, strict=True):
            place = actor.place(t_s)
            upright = Place(place.x_px, place.y_px, place.px_per_unit, 0.25 * place.tilt)
            _lay(body, upright, y, u, v)
            _lay(self.head(actor, actor.look(t_s)), place, y, u, v)
        return out

    def head(self, actor: Actor, look: Look) -> Sprite:
        """The head of one of the actors, drawn when it is first asked for."""
        # Both ends of a change are pictures of one expression alone.
        before = look.now if look.share == 1 else look.before
        now = look.before if look.share == 0 else look.now
        share = look.share if before != now else 1.0
        key = (actor.index, before, now, share, look.shut)
        found = self._drawn.get(key)
        if found is None:
            eased = 0.5 - 0.5 * math.cos(math.pi * share)
            units = mix(EXPRESSIONS[before], EXPRESSIONS[now], eased)
            if look.shut:
                units[43] = max(look.shut, units[43])
            scale = min(SPRITE_MAX_PX_PER_UNIT, actor.px_per_unit)
            found = sprite(self._heads[actor.index].draw(units), LEFT, TOP, scale)
            self._drawn[key] = found
        return found

    def _body(self, actor: Actor) -> Sprite:
        scale = 0.5 * min(SPRITE_MAX_PX_PER_UNIT, actor.px_per_unit)
        left, top, width, height = -280.0, 200.0, 560.0, 1000.0
        size = (round(height * scale), round(width * scale))
        x = ((np.arange(size[1], dtype=np.float32) + 0.5) / scale + left)[None, :]
        y = ((np.arange(size[0], dtype=np.float32) + 0.5) / scale + top)[:, None]
        # Shoulders fall away from the neck as a rounded slope.
        slope = 226 + 0.16 * np.abs(x) + 92 * (np.abs(x) / 262) ** 6
        edge = np.clip((y - slope) * scale + 0.5, 0, 1) * np.clip((268 - np.abs(x)) * scale, 0, 1)
        light = 0.95 - 0.30 * np.abs((x + 50) / 300) ** 2 - 0.0006 * np.minimum(y - 230, 300)
        collar = np.exp(-(((np.hypot(x / 1.85, y - 214) - 41) / 4) ** 2))
        arms = np.exp(-(((np.abs(x) - 185 + 0.05 * (y - 300)) / 10) ** 2)) * np.clip(
            (y - 330) / 60, 0, 1
        )
        light = light * (1 - 0.25 * collar) * (1 - 0.3 * arms)
        rgba = np.empty((*size, 4), np.uint8)
        rgba[..., :3] = np.clip(np.array(actor.person.shirt) * light[..., None], 0, 255)
        rgba[..., 3] = edge * 255
        return sprite(rgba, left, top, scale)


def _lay(s: Sprite, place: Place, y: Bytes, u: Bytes, v: Bytes) -> None:
    """Blend a sprite into the planes where its place says."""
    k = place.px_per_unit / s.px_per_unit
    c, n = k * math.cos(place.tilt), k * math.sin(place.tilt)
    turn = np.array([[c, -n, 0], [n, c, 0]])
    turn[:, 2] = place.at(s.left, s.top)
    height, width = s.yuva.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ turn.T
    left, top = (int(max(0, e)) & ~1 for e in np.floor(corners.min(0)))
    right = min(y.shape[1], (int(np.ceil(corners[:, 0].max())) + 1) & ~1)
    bottom = min(y.shape[0], (int(np.ceil(corners[:, 1].max())) + 1) & ~1)
    if right <= left or bottom <= top:
        return
    # In our coordinates pixel i covers i..i+1; for cv2 its middle is at i.
    turn[:, 2] += turn[:, :2] @ [0.5, 0.5] - 0.5 - [left, top]
    warped = cv2.warpAffine(s.yuva, turn, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    luma, _, _, alpha = cv2.split(warped)
    _blend(y[top:bottom, left:right], luma, alpha)
    half = (slice(top // 2, bottom // 2), slice(left // 2, right // 2))
    small = cv2.resize(warped, (u[half].shape[1], u[half].shape[0]), interpolation=cv2.INTER_AREA)
    _, warped_u, warped_v, alpha = cv2.split(small)
    _blend(u[half], warped_u, alpha)
    _blend(v[half], warped_v, alpha)


def _blend(target: Bytes, over: Bytes, alpha: Bytes) -> None:
    kept = cv2.multiply(target, cv2.bitwise_not(alpha), scale=1 / 255)
    cv2.add(cv2.multiply(over, alpha, scale=1 / 255), kept, target)


def _room(width_px: int, height_px: int, seed: int) -> Bytes:
    """A wall, a window and a lamp out of focus, RGB uint8: nothing with the look of a face."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, width_px, dtype=np.float32)[None, :]
    y = np.linspace(0, 1, height_px, dtype=np.float32)[:, None]
    walls = ((122, 132, 138), (140, 132, 120), (118, 130, 120), (132, 126, 140))
    wall = np.array(walls[int(rng.integers(len(walls)))], np.float32)
    light = 1.08 - 0.30 * x - 0.22 * y

    def panel(l_: float, t: float, r: float, b: float, soft: float) -> NDArray[np.float32]:
        across = 1 / (1 + np.exp(-(x - l_) / soft)) / (1 + np.exp((x - r) / soft))
        down = 1 / (1 + np.exp(-(y - t) / soft)) / (1 + np.exp((y - b) / soft))
        return np.asarray(across * down, np.float32)

    at = float(rng.uniform(0.02, 0.5))
    picture = wall * light[..., None]
    picture += panel(at, -0.2, at + 0.26, 0.62, 0.012)[..., None] * np.array([62, 62, 56])
    picture -= panel(-0.2, 0.80, 1.2, 1.2, 0.02)[..., None] * np.array([34, 36, 38])
    picture += rng.standard_normal((height_px, width_px, 1)).astype(np.float32) * 1.0
    return np.clip(picture, 0, 255).astype(np.uint8)
