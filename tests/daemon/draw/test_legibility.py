"""Whether it can be read: size and contrast of letters, and colours for the colour-blind."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.config.settings import COLOURS
from daemon.draw import glyphs
from daemon.frame import plane
from tests.daemon.draw.frames import blank, changed, drawn, planes, rgb, view


@pytest.mark.parametrize("label", ["surprise", "sad"])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080), (3840, 2160)])
def test_text_is_large_and_stands_out(label: str, width: int, height: int) -> None:
    """Ink against plate: WCAG's 4.5, in letters of at least 1.6 % of the frame's height."""
    image = blank(width, height)
    side = height // 4
    drawn(image, view((width // 3, height // 2, side, side), label), bars=False)
    picture = image.to_ndarray(format="rgb24")
    plate = picture[height // 2 - height // 36 : height // 2, width // 3 :][:, :side]
    levels = np.sort([luminance(pixel) for pixel in plate.reshape(-1, 3)])
    assert (levels[-20] + 0.05) / (levels[19] + 0.05) >= 4.5
    top = changed(planes(blank(width, height)), image).y0
    assert height // 2 - top >= 0.016 * height


def luminance(pixel: NDArray[np.uint8]) -> float:
    value = pixel / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("width", [40, 80, 160, 640])
@pytest.mark.parametrize("font_px", [0, 24, 400])
def test_text_fits_the_frame(width: int, font_px: int) -> None:
    """The plate's right end is in the picture: past the last letter its colour comes once more."""
    image = blank(width, 120, luma=50)
    drawn(image, view((width // 2, 70, 20, 40), age_s=9.0), font_px=font_px, bars=False)
    box_only = blank(width, 120, luma=50)
    touched = changed(planes(box_only), image)
    assert touched.y0 < 66, "there is a plate above the box"
    row = plane(image, 0)[touched.y0, touched.x0 : touched.x1]
    assert len({*row.tolist()} - {50}) <= 2, (
        "no letter is cut: the plate's edge row holds only grounds"
    )
    column = plane(image, 0)[touched.y0 : 66, touched.x1 - 1]
    assert len(np.unique(column)) == 1


def test_strips_share_a_baseline_and_halve_evenly() -> None:
    one, other = glyphs.render_text("happy", 17), glyphs.render_text("93 %", 17)
    assert one.height == other.height
    for strip in (one, other, glyphs.column(("ang", "sad"), 13, 16)):
        assert strip.luma.max() == glyphs.OPAQUE
        assert strip.luma.min() == 0
        assert strip.chroma.shape == (strip.height // 2, strip.width // 2)
        assert strip.chroma.sum() * 4 == pytest.approx(int(strip.luma.sum()), rel=0.05)


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("matrix", SIGHT.values(), ids=SIGHT.keys())
def test_the_default_colours_differ_for_the_colour_blind(matrix: list[list[float]]) -> None:
    """Every pair is at least 15 apart in CIELAB (1976), where 2.3 is just noticeable."""

    def seen(colour: str) -> NDArray[np.float32]:
        value = np.array(rgb(colour)) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(matrix) @ linear, 0, 1).astype(np.float32)
        return np.asarray(cv2.cvtColor(linear[None, None], cv2.COLOR_LRGB2LAB)[0, 0])

    for one, other in combinations(COLOURS, 2):
        apart = float(np.linalg.norm(seen(COLOURS[one]) - seen(COLOURS[other])))
        assert apart >= 15, f"{one} and {other} are {apart:.1f} apart"
