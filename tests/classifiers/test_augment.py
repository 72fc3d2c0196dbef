"""How faces are changed before a net trains on them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.expression.training.augment import Augmentation, augment, mix
from classifiers.expression.tta import standardise

FACES = 400


def only(**changes: float) -> Augmentation:
    """These changes alone; without any a face is only mirrored."""
    still: dict[str, Any] = dict.fromkeys((f.name for f in fields(Augmentation)), 0.0)
    return Augmentation(**{**still, **changes})


def changed(face: NDArray[np.float64], **changes: float) -> NDArray[np.float64]:
    """One face, [48, 48] of 0..255, FACES times over, [FACES, 44, 44]: one pixel is one of it."""
    torch.manual_seed(0)
    faces = torch.from_numpy(face.astype(np.uint8)).repeat(FACES, 1, 1)
    return augment(faces, 44, 44, only(**changes)).squeeze(1).double().numpy()


def where_a_dot_goes(**changes: float) -> NDArray[np.float64]:
    """How far right and down of the middle a dot comes to lie, that was at 8, -12: [FACES, 2]."""
    down, right = np.indices((48, 48)) - 23.5
    x = changed(255 * np.exp(-((right - 8) ** 2 + (down + 12) ** 2) / 4), **changes)
    weight = x - x.min((1, 2), keepdims=True)
    weight /= weight.sum((1, 2), keepdims=True)
    down, right = np.indices((44, 44)) - 21.5
    return np.stack([(weight * right).sum((1, 2)), (weight * down).sum((1, 2))], 1)


def assert_reach(found: NDArray[np.float64], least: float, most: float, slack: float = 0.1) -> None:
    """All lie within these bounds, and some near each of them."""
    near = (most - least) / 10
    assert least - slack <= found.min() <= least + near
    assert most - near <= found.max() <= most + slack


def test_half_of_the_faces_are_mirrored() -> None:
    found = where_a_dot_goes()
    assert np.allclose(abs(found[:, 0]), 8, atol=0.05)
    assert np.allclose(found[:, 1], -12, atol=0.05)
    assert 0.4 < (found[:, 0] < 0).mean() < 0.6


def test_shift_moves_both_ways_by_at_most_its_share_of_the_face() -> None:
    right, down = where_a_dot_goes(shift=0.1).T
    assert_reach(abs(right), 8 - 4.8, 8 + 4.8)
    assert_reach(down, -12 - 4.8, -12 + 4.8)


def test_rotation_turns_about_the_middle_by_at_most_its_degrees() -> None:
    right, down = where_a_dot_goes(rotate_deg=20).T
    assert np.allclose(np.hypot(right, down), np.hypot(8, 12), atol=0.05)
    stood = np.degrees(np.arctan2(8, 12))
    assert_reach(np.degrees(np.arctan2(abs(right), -down)), stood - 20, stood + 20, 0.3)


def test_scale_brings_all_nearer_to_the_middle_or_further_away() -> None:
    right, down = where_a_dot_goes(scale=0.2).T
    assert np.allclose(abs(right) / 8, -down / 12, atol=0.02)
    assert_reach(-down, 12 / 1.2, 12 / 0.8)


def test_aspect_widens_by_as_much_as_it_flattens() -> None:
    right, down = where_a_dot_goes(aspect=0.2).T
    assert np.allclose(abs(right) * -down, 8 * 12, atol=1.0)
    assert_reach(-down, 12 * np.exp(-0.2), 12 * np.exp(0.2))


def between(levels: tuple[float, ...], **changes: float) -> NDArray[np.float64]:
    """Where the middle levels of a face of bands, 0..1, come to lie between the outer ones.

    [FACES, len(levels) - 2]. All that standardising can undo shows nothing here.
    """
    face = np.repeat(np.round(255 * np.array(levels)), 48 // len(levels))
    face = np.pad(face, (0, 48 - len(face)), mode="edge")
    rows = 48 // len(levels) * np.arange(len(levels)) + 24 // len(levels) - 2
    found = changed(np.repeat(face[:, None], 48, axis=1), **changes)[:, rows, 22]
    low, high = found[:, :1], found[:, -1:]
    inner: NDArray[np.float64] = (found[:, 1:-1] - low) / (high - low)
    return inner


def test_gamma_bends_the_levels_within_its_bounds() -> None:
    levels = (0.0, 128 / 255, 1.0)
    assert np.allclose(between(levels), 128 / 255, atol=0.01)
    low, high = (128 / 255) ** np.exp([0.4, -0.4])
    assert_reach(between(levels, gamma=0.4), low, high, 0.01)


def test_clip_burns_out_and_drowns_within_its_bounds() -> None:
    """By a gain of 0.8 to 1.4 and a lift of -0.2 to 0.2; levels that both leave apart stay so."""
    quarter, _, three_quarters = between((0.0, 0.25, 0.5, 0.75, 1.0), clip=0.2).T
    assert 0.0 <= quarter.min() < 0.05
    assert 0.36 < quarter.max() <= 0.44  # of a lift alone 0.31
    assert 0.95 < three_quarters.max() <= 1.0
    assert np.allclose(between((0.3, 0.5, 0.7), clip=0.1), 0.5, atol=0.01)


def test_degrade_blurs_its_share_of_the_faces() -> None:
    wave = np.cos(np.arange(48) / 3) + 0.3 * (-1) ** np.arange(48)
    face = np.repeat(128 + 80 * wave[:, None], 48, axis=1)
    plain, found = changed(face)[0], changed(face, degrade=0.25)
    other = abs(found - plain).max((1, 2)) > 1e-3
    assert other.sum() == FACES / 4
    alike = np.array([np.corrcoef(one.ravel(), plain.ravel())[0, 1] for one in found[other]])
    assert 0.8 < alike.min() < alike.max() < 0.995


def test_erase_covers_a_rectangle_in_its_share_of_the_faces() -> None:
    face = np.random.default_rng(0).uniform(0, 256, (48, 48))
    assert (changed(face) != 0).all()
    covered = changed(face, erase=0.3) == 0
    chosen = covered.any((1, 2))
    assert 0.25 < chosen.mean() < 0.35
    for axis in (1, 2):
        sides = covered.any(axis).sum(1)[chosen]
        assert_reach(sides, 0.15 * 44, 0.4 * 44, 1.0)
    heights, widths = (covered.any(axis).sum(1) for axis in (2, 1))
    assert (covered.sum((1, 2)) == heights * widths).all()


def test_every_change_has_a_test() -> None:
    assert {f.name for f in fields(Augmentation)} == {
        *("rotate_deg", "shift", "scale", "aspect", "gamma", "clip", "degrade", "erase")
    }


def test_augmented_faces_differ_but_repeat_with_the_seed() -> None:
    faces = torch.randint(0, 256, (8, 48, 48), dtype=torch.uint8)

    def augmented(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return augment(faces, 44, 40, Augmentation())

    assert augmented(1).shape == (8, 1, 40, 40)
    assert torch.equal(augmented(1), augmented(1))
    assert not torch.allclose(augmented(1), augmented(2), atol=0.1)
    assert torch.isfinite(augmented(1)).all()


def test_no_augmentation_is_the_centre_crop() -> None:
    faces = torch.randint(0, 256, (4, 48, 48), dtype=torch.uint8)
    still = Augmentation(*[0.0] * len(fields(Augmentation)))
    torch.manual_seed(0)
    got = augment(faces, 44, 44, still)
    centre = standardise(faces)[:, :, 2:46, 2:46]
    same = [
        torch.allclose(g, c, atol=0.02) or torch.allclose(g, c.flip(-1), atol=0.02)
        for g, c in zip(got, centre, strict=True)
    ]
    assert all(same)


def test_with_mixup_the_larger_part_of_a_face_is_its_own() -> None:
    """So that what is counted as right is what the face shows most of."""
    x, targets = torch.randn(8, 1, 4, 4), torch.eye(8)
    for seed in range(50):
        torch.manual_seed(seed)
        mixed = mix(x, targets, 0.2)[1]
        assert (mixed.argmax(1) == torch.arange(8)).all()
