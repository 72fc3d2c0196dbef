"""What is measured of a face, and what counts as poor."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.classify.quality import EYES_PER_NOSE, assess, blur, why_poor, yaw_deg
from daemon.reading import Quality
from detectors.base import Box, Detection

BOX = Box(10.0, 20.0, 90.4, 81.2)


def face(seed: int, contrast: float = 40.0) -> NDArray[np.uint8]:
    """48x48 with detail at every scale, as a natural picture has: amplitude falls as 1/f."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(48, 48)))
    fy, fx = np.meshgrid(np.fft.fftfreq(48), np.fft.fftfreq(48), indexing="ij")
    grey = np.fft.ifft2(spectrum / np.maximum(np.hypot(fx, fy), 1 / 48)).real
    grey = (grey - grey.mean()) / grey.std()
    return np.asarray(np.clip(np.rint(128 + contrast * grey), 0, 255), np.uint8)


@pytest.mark.parametrize("seed", range(8))
def test_blur_rises_with_every_step_of_smoothing(seed: int) -> None:
    sharp = face(seed)
    smoothed = [cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (0.5, 0.8, 1.2, 2, 3, 5)]
    values = [blur(sharp), *(blur(np.asarray(face, np.uint8)) for face in smoothed)]
    assert all(a < b for a, b in pairwise(values)), values
    assert values[0] < 0.3
    assert values[-1] > 0.85


def test_blur_is_blind_to_brightness_and_contrast() -> None:
    assert blur(face(1, contrast=40)) == pytest.approx(blur(face(1, contrast=20)), abs=0.03)
    darker = (face(1) // 2 + 20).astype(np.uint8)
    assert blur(darker) == pytest.approx(blur(face(1)), abs=0.03)


def test_a_flat_crop_is_featureless() -> None:
    assert blur(np.full((48, 48), 130, np.uint8)) == 1.0


@pytest.mark.parametrize("turn_deg", [-60.0, -20.0, 0.0, 35.0, 80.0])
@pytest.mark.parametrize("roll_deg", [-30.0, 0.0, 20.0])
def test_yaw_of_a_projected_head(turn_deg: float, roll_deg: float) -> None:
    """Eyes at +-0.5 in the head's plane, the nose below and before them, seen from far away."""
    turn, roll = math.radians(turn_deg), math.radians(roll_deg)
    depth = 1.0 / EYES_PER_NOSE

    def seen(x: float, y: float, z: float) -> tuple[float, float]:
        x = x * math.cos(turn) + z * math.sin(turn)
        return (
            100 + 40 * (x * math.cos(roll) - y * math.sin(roll)),
            100 + 40 * (x * math.sin(roll) + y * math.cos(roll)),
        )

    eyes = (seen(-0.5, 0, 0), seen(0.5, 0, 0))
    assert yaw_deg(eyes, seen(0, 0.6, depth)) == pytest.approx(turn_deg, abs=0.1)


def test_assess_measures_the_shorter_side_and_needs_landmarks_for_yaw() -> None:
    eyes = ((40.0, 50.0), (70.0, 50.0))
    quality = assess(Detection(BOX, 0.8, eyes, (65.0, 70.0)), face(2))
    assert quality.face_px == 81
    assert quality.yaw_deg is not None
    assert quality.yaw_deg > 0
    assert quality.blur == blur(face(2))
    assert quality.score == 0.8
    assert assess(Detection(BOX, 0.8), face(2)).yaw_deg is None


@pytest.mark.parametrize(
    ("quality", "why"),
    [
        (Quality(32, 0.85, 55.0, 0.9), None),
        (Quality(32, 0.85, None, 0.9), None),
        (Quality(31, 0.1, 0.0, 0.9), "small"),
        (Quality(99, 0.86, 0.0, 0.9), "blurred"),
        (Quality(99, 0.1, 56.0, 0.9), "turned"),
        (Quality(99, 0.1, -56.0, 0.9), "turned"),
        (Quality(31, 0.86, 56.0, 0.9), "small"),
        (Quality(99, 0.86, 56.0, 0.9), "blurred"),
    ],
)
def test_each_limit_makes_poor_by_itself(quality: Quality, why: str | None) -> None:
    assert why_poor(quality, min_face_px=32, max_blur=0.85, max_yaw_deg=55.0) == why
