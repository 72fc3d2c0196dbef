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

OPAQUE = 128  # 255 * 128 still fits an int16, so blending needs no wider numbers.
_WEIGHT = 0.015  # Stroke added around a glyph, of its size: the regular cut is thin on video.

Alpha = NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A mask of coverage, 0..OPAQUE: `luma` int16 [h, w], h and w even, and `chroma` at half."""

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


@lru_cache(maxsize=1024)
def text(words: str, size_px: int) -> Strip:
    """`words` on one line at `size_px` an em. All strips of one size share height and baseline."""
    font = _font(size_px)
    left, _, right, _ = font.getbbox(words, anchor="ls")
    _, top, _, bottom = font.getbbox("bdpgy", anchor="ls")
    edge = 1 + int(size_px * _WEIGHT)
    width, height = right - min(0, left) + 2 * edge, bottom - top + 2 * edge
    picture = Image.new("L", (int(width + 1) // 2 * 2, int(height + 1) // 2 * 2))
    ImageDraw.Draw(picture).text(
        (edge - min(0, left), edge - top),
        words,
        fill=255,
        font=font,
        anchor="ls",
        stroke_width=size_px * _WEIGHT,
    )
    return _strip(np.asarray(picture))


@lru_cache(maxsize=1024)
def plate_text(words: str, size_px: int) -> Strip:
    """`words` as `text` gives them, with room around."""
    strip = text(words, size_px)
    side, above = even(0.3 * size_px), max(2, even(0.15 * size_px))
    return Strip(
        np.pad(strip.luma, ((above, above), (side, side))),
        np.pad(strip.chroma, ((above // 2,) * 2, (side // 2,) * 2)),
    )


@lru_cache(maxsize=64)
def column(lines: tuple[str, ...], size_px: int, pitch_px: int) -> Strip:
    """`lines` below one another, flush left, each centred in its own `pitch_px` (even)."""
    strips = [text(line, size_px) for line in lines]
    mask = np.zeros(
        (pitch_px * len(lines), max((strip.width for strip in strips), default=0)), np.int16
    )
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


def _strip(mask: NDArray[np.uint8]) -> Strip:
    alpha = (mask.astype(np.int16) * OPAQUE + 127) // 255
    return Strip(alpha, _half(alpha))


def _half(alpha: Alpha) -> Alpha:
    height, width = alpha.shape
    if not alpha.size:
        return np.zeros((height // 2, width // 2), np.int16)
    return np.asarray(
        cv2.resize(alpha, (width // 2, height // 2), interpolation=cv2.INTER_AREA), np.int16
    )
