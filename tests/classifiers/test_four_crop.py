"""Four crops that share a net's first layers, against crops cut from the picture."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from classifiers.expression.architectures import FaceNet, build
from classifiers.expression.classifier import fuse
from classifiers.expression.four_crop import FourCrop
from classifiers.expression.tta import mean_probabilities, standardise, tta_module, views
from tests.nets import SMALL

SIDES = {"vgg10": 12, "resnet17": 12, "resnet25": 12, "resnet18": 48}  # of the maps of 48 px


@pytest.fixture
def faces() -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (3, 48, 48), generator=generator, dtype=torch.uint8)


def net(architecture: str) -> FaceNet:
    """A net with norms that do something, as after training."""
    torch.manual_seed(1)
    made = build(architecture, SMALL[architecture])
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 1.5),
            ):
                assert value is not None
                nn.init.uniform_(value, low, high)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return made.eval()


@pytest.mark.parametrize("architecture", SMALL)
@torch.inference_mode()
def test_early_and_late_are_the_whole_net(architecture: str, faces: torch.Tensor) -> None:
    plain = net(architecture)
    four = FourCrop(plain, 44)
    x = views(standardise(faces), 44, "none")[0]
    assert torch.equal(four.late(four.early(x)), plain(x))
    names = {name for name, _ in plain.named_parameters()}
    parts = [name for part in (four.early, four.late) for name, _ in part.named_parameters()]
    assert sorted(parts) == sorted(names)


@pytest.mark.parametrize("architecture", SMALL)
@torch.inference_mode()
def test_maps_are_cropped_where_four_pixels_are_a_whole_number_of_theirs(architecture: str) -> None:
    maps = FourCrop(net(architecture), 44).early(torch.zeros(1, 1, 48, 48))
    assert maps.shape[-1] == SIDES[architecture]


@pytest.mark.parametrize("architecture", SMALL)
@torch.inference_mode()
def test_away_from_the_borders_a_shared_map_is_that_of_each_crop(
    architecture: str, faces: torch.Tensor
) -> None:
    """Only there may it differ: a crop cut from the picture has zeros around it."""
    four = FourCrop(net(architecture), 44)
    x = standardise(faces)
    shared = four.early(torch.cat([x, x.flip(-1)]))
    side = shared.shape[-1] * 44 // 48
    cuts = [shared[:3, :, :side, :side], shared[3:, :, :side, :side]]
    cuts += [shared[:3, :, -side:, -side:], shared[3:, :, -side:, -side:]]
    margin = 5 if architecture == "resnet18" else 4  # what borders reach
    inside = slice(margin, -margin)
    for cut, view in zip(cuts, views(x, 44, "four_crop"), strict=True):
        plain = four.early(view)
        assert plain.shape == cut.shape
        assert torch.allclose(cut[..., inside, inside], plain[..., inside, inside], atol=1e-5)
        assert not torch.allclose(cut, plain, atol=1e-5)


@pytest.mark.parametrize("crop_px", [44, 40])
@torch.inference_mode()
def test_without_padding_nothing_differs_but_by_rounding(faces: torch.Tensor, crop_px: int) -> None:
    """With 1x1 convolutions there is nothing around a crop to know, and the two ways agree."""
    plain = net("vgg10")
    for name, layer in list(plain.named_modules()):
        if isinstance(layer, nn.Conv2d):
            narrow = nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=False)
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, narrow)
    got = mean_probabilities(tta_module(plain, crop_px, "four_crop"), faces, crop_px, "four_crop")
    cuts = views(standardise(faces), crop_px, "four_crop")
    each = [plain(view).softmax(1) for view in cuts]
    assert torch.allclose(got, torch.stack(each).mean(0), atol=1e-5)


@pytest.mark.parametrize("architecture", SMALL)
@torch.inference_mode()
def test_a_face_and_its_mirror_image_are_read_alike(architecture: str, faces: torch.Tensor) -> None:
    """Not to the bit: the corners of the one are the other corners of the other."""
    four = FourCrop(net(architecture), 44)
    x = standardise(faces)
    logits, mirrored = four(x).view(4, 3, 7), four(x.flip(-1)).view(4, 3, 7)
    assert torch.allclose(logits[[1, 0, 3, 2]], mirrored, atol=1e-5)
    got, same = (mean_probabilities(four, f, 44, "four_crop") for f in (faces, faces.flip(-1)))
    assert torch.allclose(got, same, atol=1e-5)
    assert torch.allclose(got.sum(1), torch.ones(3))


@torch.inference_mode()
def test_a_face_does_not_know_its_batch_and_norms_may_be_folded(faces: torch.Tensor) -> None:
    made = net("resnet17")
    whole = FourCrop(made, 44)(standardise(faces)).view(4, 3, 7)
    alone = FourCrop(made, 44)(standardise(faces[1:2])).view(4, 7)
    assert torch.allclose(whole[:, 1], alone, atol=1e-5)
    folded = FourCrop(fuse(made), 44)(standardise(faces)).view(4, 3, 7)
    assert torch.allclose(whole, folded, atol=1e-4)
