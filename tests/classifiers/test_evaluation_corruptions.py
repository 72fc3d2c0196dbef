"""What a camera does to a face, against cases that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression.evaluation.corruptions import (
    blur,
    contrast,
    corruptions,
    costs,
    dim,
    fewer_pixels,
    jitter,
    jpeg,
    lift,
    move,
    passes,
)

Images = NDArray[np.uint8]

ALL = [
    pytest.param(change, id=f"{corruption.name} {name}")
    for corruption in corruptions(7)
    for name, change in corruption.variants
]


@pytest.fixture
def faces() -> Images:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


def dot(x: int, y: int) -> Images:
    """One face, black but for a square of 3x3 whose middle is x, y."""
    face = np.zeros((1, 48, 48), np.uint8)
    face[0, y - 1 : y + 2, x - 1 : x + 2] = 255
    return face


def middle(faces: Images) -> tuple[float, float]:
    """The centre of gravity of the first face, x and y."""
    rows, columns = np.indices((48, 48))
    weight = faces[0] / faces[0].sum(dtype=np.float64)
    return float((weight * columns).sum()), float((weight * rows).sum())


@pytest.mark.parametrize("change", ALL)
def test_each_is_a_pure_function_of_faces(change: object, faces: Images) -> None:
    assert callable(change)
    before = faces.copy()
    first, second = change(faces), change(faces)
    assert first.shape == faces.shape
    assert first.dtype == np.uint8
    assert np.array_equal(faces, before)
    assert np.array_equal(first, second)
    assert not np.array_equal(first, faces)
    assert change(faces[:0]).shape == (0, 48, 48)


@pytest.mark.parametrize("change", ALL)
def test_a_face_does_not_depend_on_its_neighbours(change: object, faces: Images) -> None:
    """All but the jitter, whose draws go in order, and which begins with the same one."""
    assert callable(change)
    assert np.array_equal(change(faces)[0], change(faces[:1])[0])


def test_light() -> None:
    face = np.full((1, 48, 48), 100, np.uint8)
    face[0, :24] = 200  # mean 150
    flat = contrast(face, 0.35)
    assert set(flat[0, :24].ravel()) == {168}  # 150 + 0.35 x 50 = 167.5, to even
    assert set(flat[0, 24:].ravel()) == {132}  # 132.5, to even
    assert set(np.unique(dim(face, 0.4))) == {40, 80}
    assert set(np.unique(lift(face, 0.45))) == {215, 255}  # 100 + 114.75; 314.75 is clipped


def test_a_flat_face_stays_flat_in_all_but_light() -> None:
    face = np.full((2, 48, 48), 77, np.uint8)
    for change in (
        blur(face, 1.2),
        fewer_pixels(face, 16),
        jpeg(face, 30),
        move(face, 0.15, -0.15, 1.15, 30.0),
        jitter(face, 0.15, 0.15, 0),
        contrast(face, 0.35),
    ):
        assert np.abs(change.astype(int) - 77).max() <= 1


def test_blur_spreads_by_its_sigma() -> None:
    face = np.zeros((1, 48, 48), np.uint8)
    face[0, :, 24] = 255  # a line, whose profile becomes the Gaussian
    profile = blur(face, 1.2)[0, 24].astype(float)
    x = np.arange(48) - 24.0
    assert np.average(x**2, weights=profile) ** 0.5 == pytest.approx(1.2, abs=0.06)


def test_fewer_pixels_keep_only_block_means() -> None:
    """Stripes of one pixel vanish at half the size; blocks of three survive at a third."""
    stripes = np.zeros((1, 48, 48), np.uint8)
    stripes[0, :, ::2] = 200
    assert set(np.unique(fewer_pixels(stripes, 24))) == {100}
    step = np.zeros((1, 48, 48), np.uint8)
    step[0, :, 24:] = 240
    coarse = fewer_pixels(step, 16)[0, 0]
    # The middles of the third-size pixels lie 1.5 px beside the step: a ramp of 3 px between.
    assert coarse[22:26].tolist() == [0, 80, 160, 240]


@pytest.mark.parametrize(
    ("how", "to"),
    [
        ({"right": 0.125}, (36, 20)),
        ({"right": -0.125}, (24, 20)),
        ({"down": 0.125}, (30, 26)),
        ({"down": -0.125}, (30, 14)),
        ({"clockwise_deg": 90.0}, (27, 30)),
        ({"clockwise_deg": -90.0}, (20, 17)),
        ({"larger": 2.0}, (36.5, 16.5)),
    ],
)
def test_where_a_point_goes(how: dict[str, float], to: tuple[float, float]) -> None:
    """From 30, 20, which is 6.5 right of the middle at 23.5 and 3.5 above it."""
    assert middle(move(dot(30, 20), **how)) == pytest.approx(to, abs=0.05)


def test_the_border_goes_on() -> None:
    face = np.zeros((1, 48, 48), np.uint8)
    face[0, :, 0] = 90
    assert set(np.unique(move(face, right=0.25)[0, :, :12])) == {90}


def test_jitter_is_seeded_and_within_its_bounds() -> None:
    faces = np.repeat(dot(24, 24), 200, axis=0)
    moved = jitter(faces, 0.15, 0.0, 1)
    assert not np.array_equal(moved, jitter(faces, 0.15, 0.0, 2))
    at = np.array([middle(moved[i : i + 1]) for i in range(len(moved))]) - 24
    assert np.abs(at).max() <= 0.15 * 48 + 0.1
    assert np.abs(at).max() > 0.13 * 48  # of 400 uniform draws, one comes near
    assert abs(np.corrcoef(at.T)[0, 1]) < 0.3  # right and down by draws of their own


def test_jitter_enlarges_within_its_bounds() -> None:
    """A dot 19.5 px right of the middle comes to 16.6 to 22.4."""
    moved = jitter(np.repeat(dot(43, 24), 200, axis=0), 0.0, 0.15, 1)
    right = np.array([middle(moved[i : i + 1])[0] for i in range(len(moved))]) - 23.5
    assert (right.min(), right.max()) == pytest.approx((19.5 * 0.85, 19.5 * 1.15), abs=0.3)


def test_a_jpeg_of_less_quality_loses_more(faces: Images) -> None:
    poor, good = (np.abs(jpeg(faces, q).astype(int) - faces).mean() for q in (30, 90))
    assert poor > 2 * good


def test_costs_are_means_over_both_signs(faces: Images) -> None:
    """A reader that is right about the first k faces, k falling by one with each pass."""
    labels = np.zeros(len(faces), np.int64)
    asked: list[Images] = []

    def read(images: Images) -> NDArray[np.float32]:
        asked.append(images)
        guessed = np.zeros((len(images), 7), np.float32)
        guessed[: len(asked) % 6, 0] = 1.0
        guessed[len(asked) % 6 :, 1] = 1.0
        return guessed

    clean = np.full(len(faces), True)
    found = {cost.name: cost for cost in costs(read, faces, labels, clean, seed=7)}
    assert len(asked) == passes()
    assert [len(cost.variants) for cost in found.values()] == [0] * 7 + [4, 2, 0, 2, 2, 2]
    assert found["contrast x0.35"].accuracy == pytest.approx(1 / 5)  # the first pass
    assert found["contrast x0.35"].lost == pytest.approx(4 / 5)
    shift = found["shift ±15 %"]
    assert shift.variants == pytest.approx({"left": 2 / 5, "right": 3 / 5, "up": 4 / 5, "down": 1})
    assert shift.accuracy == pytest.approx(0.7)
    # The first two faces are always read right, the others but in three, two, one of the four.
    lost = np.array([0, 0, 1, 2, 3]) / 4
    assert shift.error == pytest.approx(lost.std(ddof=1) / 5**0.5)
    aims = {name: 100 * cost.aim for name, cost in found.items() if cost.aim is not None}
    assert list(aims.values()) == [1, 1, 1, 1, 5, 2, 3]
    assert not any(found[name].met for name in aims)
    assert all(cost.met is None for name, cost in found.items() if name not in aims)
    gained = costs(read, faces, labels, ~clean, seed=7)
    assert all(cost.met for cost in gained if cost.aim is not None)
