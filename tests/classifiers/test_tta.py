from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import ten_crop

from classifiers.expression import TTA
from classifiers.expression.architectures import VGG10
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.tta import (
    TEMPORAL_ORDER,
    VIEW_COUNT,
    mean_probabilities,
    standardise,
    temporal_view,
    views,
    with_temperature,
)
from tests.nets import save_tiny


@pytest.fixture
def faces() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 48, 48), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("crop_px", [44, 41, 40])
def test_ten_crops_are_those_of_torchvision(faces: torch.Tensor, crop_px: int) -> None:
    x = standardise(faces)
    crops = ten_crop(x, [crop_px, crop_px])
    for ours, theirs in zip(views(x, crop_px, "ten_crop"), crops, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("tta", get_args(TTA))
def test_every_mode_makes_its_number_of_views(faces: torch.Tensor, tta: TTA) -> None:
    assert views(standardise(faces), 44, tta).shape == (VIEW_COUNT[tta], 3, 1, 44, 44)


@pytest.mark.parametrize(("crop_px", "near"), [(44, 40), (47, 46), (41, 35), (32, 21)])
def test_three_scales_show_all_of_a_face_its_mirrored_centre_and_a_nearer_part(
    crop_px: int, near: int
) -> None:
    """Seen in a picture whose grey is the column, from -23.5 to 23.5."""
    columns = (torch.arange(48) - 23.5).expand(1, 1, 48, 48)
    far, mirrored, nearer = views(columns, crop_px, "scales")[:, 0, 0]
    assert far[0, -1] - far[0, 0] == pytest.approx(48 - 48 / crop_px, abs=0.5)
    assert torch.equal(mirrored[0], mirrored[0].sort(descending=True).values)
    assert mirrored[0, 0] - mirrored[0, -1] == crop_px - 1
    assert nearer[0, -1] - nearer[0, 0] == pytest.approx(near - 1, abs=0.5)
    for view in (far, mirrored, nearer):
        assert view.mean() == pytest.approx(0.0, abs=0.51)  # around the middle
        assert torch.allclose(view, view[:1])


def test_standardised_faces_do_not_know_their_light() -> None:
    """Half the contrast and another brightness change next to nothing."""
    ramp = torch.arange(48 * 48, dtype=torch.float32).view(1, 48, 48) / (48 * 48) * 200
    bright, dim = standardise(ramp), standardise(ramp * 0.5 + 40)
    assert bright.mean().abs() < 1e-5
    assert torch.allclose(bright, dim, atol=0.05)


def test_a_flat_face_is_all_zero_and_its_noise_stays_small() -> None:
    flat = torch.full((1, 48, 48), 77, dtype=torch.uint8)
    assert standardise(flat).abs().max() == 0
    flat[:, ::2] += 1
    assert 0.0 < standardise(flat).abs().max() < 0.5


def test_mean_of_crops_is_that_of_single_passes(faces: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = VGG10(widths=(4, 4, 8, 8), hidden=8).eval()
    with torch.inference_mode():
        got = mean_probabilities(net, faces, 44, "ten_crop")
        each = [net(crop).softmax(1) for crop in ten_crop(standardise(faces), [44, 44])]
    assert torch.allclose(got, torch.stack(each).mean(0), atol=1e-5)
    assert torch.allclose(got.sum(1), torch.ones(3))


def test_temperature_softens_without_changing_the_answer(faces: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = VGG10(widths=(4, 4, 8, 8), hidden=8).eval()
    with torch.inference_mode():
        mean = mean_probabilities(net, faces, 44, "flip")
    sharp, soft = with_temperature(mean, 0.1), with_temperature(mean, 2.0)
    assert torch.equal(sharp.argmax(1), soft.argmax(1))
    assert (sharp.max(1).values > soft.max(1).values).all()


def test_ten_looks_at_a_face_show_each_view_once(faces: torch.Tensor) -> None:
    x = standardise(faces)
    looks = [temporal_view(x, 44, torch.full((3,), index))[0] for index in range(20)]
    ten = views(x, 44, "ten_crop")
    assert sorted(TEMPORAL_ORDER) == list(range(10))
    assert torch.equal(torch.stack(looks), ten[[*TEMPORAL_ORDER, *TEMPORAL_ORDER]])
    assert torch.equal(looks[0], views(x, 44, "temporal")[0])
    assert torch.equal(looks[1], views(x, 44, "flip")[1])


@pytest.mark.parametrize("first", [2, 4, 6, 8])
def test_corners_come_in_pairs_opposite_and_mirrored(first: int) -> None:
    """So that two looks in a row see the whole face, once each way round."""
    seen = torch.stack([torch.arange(48).expand(48, 48), torch.arange(48)[:, None].expand(48, 48)])
    pair = [
        temporal_view(seen[None].float(), 44, torch.tensor([index]))[0, 0]
        for index in (first, first + 1)
    ]
    columns, rows = ({int(v) for x in pair for v in (x[i].min(), x[i].max())} for i in (0, 1))
    assert columns == rows == {0, 43, 4, 47}
    mirrored = [bool(x[0, 0, 0] > x[0, 0, -1]) for x in pair]
    assert mirrored == [False, True]


def test_each_face_of_a_batch_has_its_own_view(faces: torch.Tensor) -> None:
    torch.manual_seed(0)
    net = VGG10(widths=(4, 4, 8, 8), hidden=8).eval()
    view_indices = torch.tensor([0, 4, 13])
    with torch.inference_mode():
        got = mean_probabilities(net, faces, 44, "temporal", view_indices=view_indices)
        ten = views(standardise(faces), 44, "ten_crop")
        each = [
            net(ten[TEMPORAL_ORDER[t % 10], i : i + 1]).softmax(1)[0]
            for i, t in enumerate(view_indices)
        ]
        first = mean_probabilities(net, faces, 44, "temporal")
    assert torch.allclose(got, torch.stack(each), atol=1e-5)
    assert torch.equal(first, mean_probabilities(net, faces, 44, "none"))


def test_ten_looks_by_a_classifier_come_to_its_ten_crops(
    faces: torch.Tensor, tmp_path: Path
) -> None:
    weights, again = save_tiny(tmp_path / "tiny.safetensors"), faces[:1].repeat(10, 1, 1).numpy()
    looks, ten = (
        ExpressionClassifier.load(weights, device="cpu", tta=tta).predict(again, np.arange(10))
        for tta in ("temporal", "ten_crop")
    )
    assert looks.mean(0) == pytest.approx(ten[0], abs=1e-6)
    assert len(np.unique(looks, axis=0)) == 10
