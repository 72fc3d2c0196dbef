"""The geometry of the crop: framing, turning, shrinking, borders and range."""

from __future__ import annotations

import math
import tracemalloc

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression.crop import FACE_PX, FRAMINGS, SLACK_RAD, Framing, crop

WHOLE = Framing(side=1.0, shift=(0.0, 0.0))


def pattern(seed: int = 1) -> NDArray[np.uint8]:
    """A 48x48 picture with as much detail as a face, none of it symmetric."""
    noise = np.random.default_rng(seed).normal(size=(FACE_PX, FACE_PX))
    soft = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(np.clip(128 + 60 * soft / soft.std(), 0, 255), np.uint8)


def place(
    face: NDArray[np.uint8], centre: tuple[float, float], side: float, roll_deg: float
) -> NDArray[np.uint8]:
    """A 640x480 plane with the face in it, enlarged to `side` and turned clockwise."""
    matrix = cv2.getRotationMatrix2D((FACE_PX / 2 - 0.5,) * 2, -roll_deg, side / FACE_PX)
    matrix[:, 2] += np.array(centre) - FACE_PX / 2
    turned = cv2.warpAffine(face, matrix, (640, 480), flags=cv2.INTER_CUBIC, borderValue=128)
    return np.asarray(turned, np.uint8)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(a.astype(float) - b).mean())


def test_a_48_px_face_stays_as_it_is() -> None:
    face = pattern()
    assert (crop(face, (0, 0, 48, 48), None, WHOLE, True) == face).all()


@pytest.mark.parametrize("times", [2, 5, 8])
def test_whole_multiples_are_averaged_back_exactly(times: int) -> None:
    face = pattern()
    large = face.repeat(times, 0).repeat(times, 1)
    side = FACE_PX * times
    got = crop(large, (0, 0, side, side), None, WHOLE, True)
    assert np.abs(got.astype(int) - face).max() <= (0 if times != 5 else 1)


@pytest.mark.parametrize("roll_deg", [-35.0, -10.0, 0.0, 10.0, 35.0, 170.0])
@pytest.mark.parametrize("side", [60.0, 133.0, 290.0])
@pytest.mark.parametrize("framing", [WHOLE, Framing(side=0.9, shift=(0.1, -0.15))])
def test_a_tilt_beyond_the_slack_is_turned_back(
    roll_deg: float, side: float, framing: Framing
) -> None:
    """The window is shifted along the face, not along the picture."""
    face = pattern()
    slack_deg = math.degrees(SLACK_RAD)
    centre = 300.0, 230.0
    luma = place(face, centre, side, roll_deg)
    angle = math.radians(roll_deg)
    half = side / 5
    eyes = (
        (centre[0] - half * math.cos(angle), centre[1] - half * math.sin(angle)),
        (centre[0] + half * math.cos(angle), centre[1] + half * math.sin(angle)),
    )
    box = (centre[0] - side / 2, centre[1] - side / 2, side, side)
    left = math.copysign(min(abs(roll_deg), slack_deg), roll_deg)
    expected = crop(place(face, centre, side, left), box, None, framing, True)
    got = crop(luma, box, eyes, framing, True)
    inner = np.s_[6:-6, 6:-6]  # corners show what lies around the face
    assert difference(got[inner], expected[inner]) < 4.0
    if abs(roll_deg) > slack_deg:
        level = crop(luma, box, None, framing, True)
        assert difference(level[inner], expected[inner]) > 15.0


@pytest.mark.parametrize("side", [100.0, 230.0, 400.0, 700.0])
def test_fine_stripes_of_a_large_face_become_grey_and_no_pattern(side: float) -> None:
    luma = np.zeros((720, 720), np.uint8)
    luma[::2, 1::2] = luma[1::2, ::2] = 255
    got = crop(luma, (5.3, 8.1, side, side), None, WHOLE, True)
    assert abs(got.mean() - 127.5) < 3
    # The rightmost and lowest samples may repeat the border; averaging leaves little of it.
    assert got.std() < 8


@pytest.mark.parametrize("side", [230.0, 500.0])
def test_noise_of_a_large_turned_face_becomes_grey_too(side: float) -> None:
    luma = np.random.default_rng(1).choice(np.array([0, 255], np.uint8), (720, 720))
    box = (360.0 - side / 2, 360.0 - side / 2, side, side)
    got = crop(luma, box, ((310.0, 330.0), (410.0, 390.0)), WHOLE, True)
    assert abs(got.mean() - 127.5) < 3
    assert got.std() < 127.5 / (side / FACE_PX) * 1.2  # as of the mean of all pixels beneath


def test_what_counts_of_a_box_are_its_middle_and_its_area() -> None:
    luma = pattern().repeat(4, 0).repeat(4, 1)
    square = crop(luma, (60, 50, 60, 60), None, FRAMINGS["yunet"], True)
    assert (crop(luma, (45, 60, 90, 40), None, FRAMINGS["yunet"], True) == square).all()
    assert (crop(luma, (70, 35, 40, 90), None, FRAMINGS["yunet"], True) == square).all()


def test_beyond_the_picture_its_border_goes_on() -> None:
    luma = np.full((100, 100), 90, np.uint8)
    luma[:, 0] = 200
    got = crop(luma, (-48, 20, 96, 48), None, Framing(96 / math.sqrt(96 * 48), (0, 0)), True)
    assert (got[:, :23] == 200).all()
    assert (got[:, 26:] == 90).all()
    for side in (240, 480):
        got = crop(luma, (-side / 2, 20, side, side), None, WHOLE, True)
        assert (got[:, :23] == 200).all()
        assert (got[:, 26:] == 90).all()
    assert (crop(luma, (500, 500, 40, 40), None, WHOLE, True) == 90).all()
    assert (crop(np.full((1, 1), 7, np.uint8), (-3, 0, 9, 9), None, WHOLE, True) == 7).all()


def test_limited_range_is_expanded() -> None:
    face = np.tile(np.arange(48, dtype=np.uint8) * 5 + 2, (48, 1))  # 2 .. 237
    got = crop(face, (0, 0, 48, 48), None, WHOLE, False)
    expected = np.clip(np.rint((face.astype(float) - 16) * 255 / 219), 0, 255)
    assert (got == expected).all()
    assert got.min() == 0
    assert got.max() == 255
    assert got.dtype == np.uint8


def test_a_padded_read_only_plane_is_not_copied() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (1080, 1984), dtype=np.uint8)
    rows.flags.writeable = False
    luma = rows[:, :1920]
    box = (1800.0, 700.0, 130.0, 130.0)
    expected = crop(luma.copy(), box, None, FRAMINGS["haar"], False)
    tracemalloc.start()
    got = crop(luma, box, None, FRAMINGS["haar"], False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (got == expected).all()
    assert peak < luma.nbytes / 4


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (0, 0, 10, -1), (math.nan, 0, 9, 9)])
def test_a_box_without_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="accepted are finite"):
        crop(pattern(), box, None, WHOLE, True)


@pytest.mark.parametrize("other", [(20.0, 20.0), (30.0, math.nan)])
def test_eyes_on_one_spot_or_nowhere_leave_the_face_unturned(other: tuple[float, float]) -> None:
    face = pattern()
    assert (crop(face, (0, 0, 48, 48), ((20.0, 20.0), other), WHOLE, True) == face).all()
