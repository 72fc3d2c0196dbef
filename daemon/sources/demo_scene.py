"""The picture of a `demo://` scene: a room, and heads warped into its Y, U and V planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.sources.demo_canvas import LEFT, TOP
from daemon.sources.demo_face import Head
from daemon.sources.demo_pose import EXPRESSIONS, mix
from daemon.sources.demo_script import NECK_Y, Actor, Look, Place

Bytes = NDArray[np.uint8]

SPRITE_MAX_PX_PER_UNIT = 1.0
"""Larger heads are enlarged from this: a bound on time and memory (0.45 MB a picture)."""


@dataclass(frozen=True, slots=True)
class Sprite:
    """A picture with transparency as planes: y and a [h, w], u, v and half_a [h/2, w/2]."""

    y: Bytes
    u: Bytes
    v: Bytes
    a: Bytes
    half_a: Bytes
    left: float  # face coordinates of the picture's top left corner
    top: float
    px_per_unit: float


def sprite(rgba: Bytes, left: float, top: float, px_per_unit: float) -> Sprite:
    """Planes (BT.601, limited range) of an RGBA picture; an odd last row or column is cut."""
    rgba = rgba[: rgba.shape[0] & ~1, : rgba.shape[1] & ~1]
    y, u, v = yuv_planes(np.ascontiguousarray(rgba[..., :3]))
    a = np.ascontiguousarray(rgba[..., 3])
    half_a = cv2.resize(a, (a.shape[1] // 2, a.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return Sprite(y, u, v, a, half_a, left, top, px_per_unit)


def yuv_planes(rgb: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Y [h, w], U and V [h/2, w/2] of an RGB picture of even size, BT.601, limited range."""
    height, width = rgb.shape[:2]
    stacked = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    u, v = stacked[height:].reshape(2, height // 2, width // 2)
    return stacked[:height], u, v


class Scene:
    """Draws the actors at a media time. Keeps every head picture it has drawn."""

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
            _lay(self._head(actor, actor.look(t_s)), place, y, u, v)
        return out

    def _head(self, actor: Actor, look: Look) -> Sprite:
        before = look.now if look.settled else look.before
        key = (actor.index, before, look.now, look.share, look.shut)
        found = self._drawn.get(key)
        if found is None:
            eased = 0.5 - 0.5 * math.cos(math.pi * look.share)
            units = mix(EXPRESSIONS[before], EXPRESSIONS[look.now], eased)
            if look.shut:
                units[43] = look.shut
            scale = min(SPRITE_MAX_PX_PER_UNIT, actor.px_per_unit)
            found = sprite(self._heads[actor.index].draw(units), LEFT, TOP, scale)
            self._drawn[key] = found
        return found

    def _body(self, actor: Actor) -> Sprite:
        scale = 0.5 * min(SPRITE_MAX_PX_PER_UNIT, actor.px_per_unit)
        left, top, width, height = -320.0, 170.0, 640.0, 520.0
        size = (round(height * scale), round(width * scale))
        x = ((np.arange(size[1], dtype=np.float32) + 0.5) / scale + left)[None, :]
        y = ((np.arange(size[0], dtype=np.float32) + 0.5) / scale + top)[:, None]
        # Shoulders fall away from the neck as a rounded slope.
        slope = 226 + 0.16 * np.abs(x) + 92 * (np.abs(x) / 262) ** 6
        edge = np.clip((y - slope) * scale + 0.5, 0, 1) * np.clip((268 - np.abs(x)) * scale, 0, 1)
        light = 0.95 - 0.30 * np.abs((x + 50) / 300) ** 2 - 0.0006 * (y - 230)
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
    x0, y0 = place.at(s.left, s.top)
    turn = np.array([[c, -n, x0], [n, c, y0]])
    height, width = s.a.shape
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]) @ turn.T
    left, top = (int(max(0, e)) & ~1 for e in np.floor(corners.min(0)))
    right = min(y.shape[1], int(np.ceil(corners[:, 0].max())) + 1 & ~1)
    bottom = min(y.shape[0], int(np.ceil(corners[:, 1].max())) + 1 & ~1)
    if right <= left or bottom <= top:
        return
    _blend(s.y, s.a, turn, 1, (left, top, right, bottom), y)
    half = (left // 2, top // 2, right // 2, bottom // 2)
    alpha = None
    for source, plane in ((s.u, u), (s.v, v)):
        alpha = _blend(source, s.half_a if alpha is None else alpha, turn, 2, half, plane)


def _blend(
    source: Bytes, a: Bytes, turn: NDArray[np.float64], step: int,
    window: tuple[int, int, int, int], plane: Bytes,
) -> Bytes:  # fmt: skip
    """Warp one plane and its transparency into a window of the picture; returns the alpha.

    `step` is 1 for luma and 2 for chroma. An `a` of the window's size is taken as warped.
    """
    left, top, right, bottom = window
    size = (right - left, bottom - top)
    # Pixel centres: sprite pixel i lies at i + 0.5.
    m = turn.copy()
    m[:, 2] = turn[:, 2] / step + m[:, :2] @ [0.5, 0.5] - 0.5 - [left, top]
    warped = cv2.warpAffine(source, m, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if a.shape == source.shape:
        a = cv2.warpAffine(a, m, size, flags=cv2.INTER_LINEAR)
    target = plane[top:bottom, left:right]
    kept = cv2.multiply(target, cv2.bitwise_not(a), scale=1 / 255)
    target[:] = cv2.add(cv2.multiply(warped, a, scale=1 / 255), kept)
    return a


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
