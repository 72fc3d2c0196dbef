"""The nets: layers as their names count them, any size of face, fused as trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from classifiers.expression.architectures import ARCHITECTURES, build
from classifiers.expression.classifier import fuse
from tests.nets import SMALL


@pytest.mark.parametrize(("name", "layers"), [("vgg10", 10), ("resnet17", 17), ("resnet25", 25)])
def test_a_nets_number_counts_its_convolutions_and_linear_layers(name: str, layers: int) -> None:
    net = build(name, {})
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in net.modules()) == layers


def test_resnet18_counts_as_he_et_al_do_without_its_shortcuts() -> None:
    net = build("resnet18", SMALL["resnet18"])
    counted = [
        name
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in name
    ]
    assert len(counted) == 18


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("size_px", [32, 40, 44, 47])
def test_faces_of_each_size_give_seven_logits_fused_or_not(name: str, size_px: int) -> None:
    torch.manual_seed(0)
    net = build(name, SMALL[name])
    x = torch.randn(3, 1, size_px, size_px)
    net(x)  # moves the running means away from where fusing would change nothing
    net.eval()
    with torch.inference_mode():
        plain = net(x)
        fused = fuse(net)(x)
    assert plain.shape == (3, 7)
    assert torch.allclose(plain, fused, atol=1e-4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_linear_layer_has_its_dropout_before_it(name: str) -> None:
    net = build(name, {**SMALL[name], "dropout": 0.4})
    layers = list(net.modules())
    linear = [at for at, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    assert len(linear) == (2 if name == "vgg10" else 1)
    for at in linear:
        before = layers[at - 1]
        assert isinstance(before, nn.Dropout)
        assert before.p == 0.4
