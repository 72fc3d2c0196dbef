"""Text as alpha masks, ready to be blended onto the planes of a picture.

The letters are Aileron's (CC0), which Pillow carries inside itself: no font file to find, ship
or configure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

OPAQUE_BITS = 7
OPAQUE = 1 << OPAQUE_BITS  # 255 * 128 still fits an int16, so blending needs no wider numbers.
_FINER = 4  # Drawn this much larger and averaged: keeps shapes and spaces true at 10 px.
_WEIGHT = 0.015  # Stroke added around a glyph, of its size: the regular cut is thin on video.

Alpha = NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A mask of coverage, 0..OPAQUE: `luma` int16 [h, w], h and w even, `chroma` at half size."""

    luma: Alpha
    chroma: Alpha

    @property
    def width(self) -> int:
        return int(self.luma.shape[1])

    @property
    def height(self) -> int:
        return int(self.luma.shape[0])


def even(value: float) -> int:
    """`value` to the nearest even number: chroma has one sample for two pixels."""
    return 2 * round(value / 2)


def render_text(words: str, size_px: int) -> Strip:
    """`words` on one line at `size_px` an em. All strips of one size share height and baseline."""
    size = size_px * _FINER
    font, stroke = _font(size), size * _WEIGHT
    left, _, right, _ = font.getbbox(words, anchor="ls")
    _, top, _, bottom = font.getbbox("bdpgy", anchor="ls")
    edge, unit = _FINER + int(stroke), 2 * _FINER
    width, height = right - min(0, left) + 2 * edge, bottom - top + 2 * edge
    picture = Image.new("L", (-int(-width // unit) * unit, -int(-height // unit) * unit))
    ImageDraw.Draw(picture).text(
        (edge - min(0, left), edge - top),
        words,
        fill=255,
        font=font,
        anchor="ls",
        stroke_width=stroke,
    )
    fine = np.asarray(picture)
    wanted = picture.width // _FINER, picture.height // _FINER
    mask = cv2.resize(fine, wanted, interpolation=cv2.INTER_AREA)
    alpha = (mask.astype(np.int16) * OPAQUE + 127) // 255
    return Strip(alpha, _half(alpha))


@lru_cache(maxsize=1024)
def plate_text(words: str, size_px: int) -> Strip:
    """`words` as `render_text` gives them, with a margin."""
    strip = render_text(words, size_px)
    side, above, below = even(0.3 * size_px), max(2, even(0.2 * size_px)), even(0.1 * size_px)
    luma = np.pad(strip.luma, ((above, below), (side, side)))
    return Strip(luma, _half(luma))


def column(lines: tuple[str, ...], size_px: int, pitch_px: int) -> Strip:
    """One or more `lines`, below one another, flush left, each centred in its own `pitch_px`, which
    is even."""
    strips = [render_text(line, size_px) for line in lines]
    mask = np.zeros((pitch_px * len(lines), max(strip.width for strip in strips)), np.int16)
    for index, strip in enumerate(strips):
        spare = (pitch_px - strip.height) // 2
        top, cut = index * pitch_px + max(0, spare), max(0, -spare)
        rows = strip.luma[cut : cut + pitch_px]
        mask[top : top + len(rows), : strip.width] = rows
    return Strip(mask, _half(mask))


@lru_cache(maxsize=64)
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which the overlay needs")
    return font


def _half(alpha: Alpha) -> Alpha:
    height, width = alpha.shape
    return np.asarray(
        cv2.resize(alpha, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.int16
    )
