"""How faces are changed before a net trains on them."""

from __future__ import annotations

from dataclasses import fields

import torch

from classifiers.expression.training.augment import Augmentation, augment, mix
from classifiers.expression.tta import standardise


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
