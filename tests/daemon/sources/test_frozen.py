"""Pictures that stand still, and those that only nearly do."""

from __future__ import annotations

import av
import numpy as np
import pytest

from daemon.frame import plane
from daemon.sources.frozen import LONGEST_PATIENCE_S, STILL_LEVELS, Stillness

RANDOM = np.random.default_rng(7)
SCENE = RANDOM.integers(16, 235, (48, 64)).astype(np.uint8)


def picture(luma: np.ndarray = SCENE) -> av.VideoFrame:
    image = av.VideoFrame(luma.shape[1], luma.shape[0], "yuv420p")
    plane(image, 0)[:] = luma
    return image


def noisy(levels: int) -> av.VideoFrame:
    """The scene, each pixel off by at most so many levels, and one by just as many."""
    noise = RANDOM.integers(-levels, levels + 1, SCENE.shape)
    noise[0, 0] = levels
    return picture(np.clip(SCENE.astype(int) + noise, 0, 255).astype(np.uint8))


def found_after_s(images: list[av.VideoFrame], timeout_s: float = 5.0, fps: int = 10) -> float:
    """When the first picture is called frozen; -1 if none is."""
    stillness = Stillness(timeout_s)
    stillness.begin(100.0)
    for index, image in enumerate(images):
        if stillness.is_frozen(image, 100.0 + index / fps):
            return index / fps
    return -1.0


def test_the_same_picture_is_found_in_time() -> None:
    assert found_after_s([picture()] * 100) == pytest.approx(5.0, abs=0.1)
    assert found_after_s([noisy(5) for _ in range(30)] + [picture()] * 100) <= 3.0 + 5.0 + 1.1


def test_a_still_picture_that_is_encoded_anew_is_the_same() -> None:
    assert found_after_s([noisy(STILL_LEVELS // 2) for _ in range(100)]) > 0.0


def test_the_noise_of_a_sensor_is_life() -> None:
    assert found_after_s([noisy(STILL_LEVELS + 1) for _ in range(300)]) == -1.0


def test_one_picture_that_differs_is_enough() -> None:
    """A clock in the picture that goes on once in a while, between two looks of a second."""
    clock = SCENE.copy()
    clock[5:9, 5:8] ^= 128
    shown = [picture(clock if index // 43 % 2 else SCENE) for index in range(300)]
    assert found_after_s(shown) == -1.0


def test_a_decoder_may_fill_the_memory_of_a_picture_anew() -> None:
    shown, stillness = picture(), Stillness(5.0)
    stillness.begin(0.0)
    for second in range(30):
        plane(shown, 0)[:] = 16 + 5 * second
        assert not stillness.is_frozen(shown, float(second))


def test_zero_never_finds_anything() -> None:
    assert found_after_s([picture()] * 1000, timeout_s=0.0) == -1.0


def test_what_stands_still_by_nature_is_opened_ever_more_rarely() -> None:
    stillness = Stillness(5.0)
    now_s = 0.0
    found_s: list[float] = []
    stillness.begin(now_s)
    while len(found_s) < 12:
        now_s += 0.5
        if stillness.is_frozen(picture(), now_s):
            found_s.append(now_s)
            now_s += 3.0
            stillness.begin(now_s)
    gaps_s = np.diff([0.0, *found_s])
    assert gaps_s[:4] == pytest.approx([5, 13, 23, 43], abs=1.0)
    assert gaps_s[-1] <= LONGEST_PATIENCE_S + 5.0

    # A scene that stands still between the keyframes of a slow camera is given time too.
    stillness.begin(now_s)
    for _ in range(30):
        now_s += 0.5
        assert not stillness.is_frozen(picture(), now_s)
    assert not stillness.is_frozen(noisy(9), now_s)
    assert stillness.patience_s > 5.0

    # Once it has moved for a while, it is watched as before.
    for _ in range(40):
        now_s += 0.5
        assert not stillness.is_frozen(noisy(9), now_s)
    assert stillness.patience_s == 5.0


def test_another_size_is_another_picture() -> None:
    stillness = Stillness(5.0)
    stillness.begin(0.0)
    half = picture(SCENE[:24, :32].copy())
    assert not any(
        stillness.is_frozen(half if int(s) % 8 < 4 else picture(), s) for s in np.arange(0, 60, 0.5)
    )
