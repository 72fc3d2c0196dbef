"""A net begun with a narrower one: the same answers, room to differ, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers import checkpoint
from classifiers.errors import CheckpointError
from classifiers.expression.architectures import VGG10, build
from classifiers.expression.training.widen import begin_with
from tests.nets import OPTIONS, record, save_tiny

WIDE: dict[str, Any] = {"widths": [4, 6, 20, 16], "hidden": 17, "dropout": 0.0}


def begun(weights: Path, options: dict[str, Any], architecture: str = "vgg10") -> torch.nn.Module:
    torch.manual_seed(5)
    net = build(architecture, options)
    begin_with(net, weights, architecture, options)
    return net


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "narrow.safetensors")


@pytest.mark.parametrize("options", [OPTIONS, WIDE])
def test_it_says_the_same_as_the_narrow_net(narrow: Path, options: dict[str, Any]) -> None:
    """At first, evaluated and in training, where every batch is normalised by its own."""
    x = torch.randn(16, 1, 44, 44)
    plain, wide = begun(narrow, OPTIONS), begun(narrow, options)
    for mode in (True, False):
        expected, got = plain.train(mode)(x), wide.train(mode)(x)
        assert expected.std() > 0.01
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_doubles_say_the_same_at_first_and_learn_differently(narrow: Path) -> None:
    net = begun(narrow, WIDE)
    assert isinstance(net, VGG10)
    x = torch.randn(32, 1, 44, 44)
    third = net.features[:15]  # to the third block's first convolution: 20 channels made of 8
    said = third.eval()(x).mean((0, 2, 3)).round(decimals=4)
    assert (len(said), len(said.unique())) == (20, 8)
    net.train()(x)[:, 0].sum().backward()
    grad = net.get_parameter("features.14.weight").grad
    assert grad is not None
    steps = grad.flatten(1)
    assert torch.cdist(steps, steps).fill_diagonal_(1.0).min() > 0.0


@pytest.mark.parametrize(
    ("options", "architecture", "said"),
    [
        ({**OPTIONS, "widths": [4, 4, 8, 4]}, "vgg10", "no layer wider than the recipe's"),
        ({"widths": [4, 4, 4, 4, 4, 4]}, "resnet17", "accepted: weights of a resnet17"),
    ],
)
def test_what_does_not_fit_is_named(
    narrow: Path, options: dict[str, Any], architecture: str, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said) as error:
        begun(narrow, options, architecture)
    assert str(narrow) in str(error.value)


def test_a_record_that_describes_no_net_is_named(narrow: Path) -> None:
    told = narrow.with_suffix(".json")
    told.write_text(told.read_text().replace('"hidden"', '"hiden"'))
    with pytest.raises(CheckpointError, match=r"vgg10 has no options .*hiden") as error:
        begun(narrow, OPTIONS)
    assert str(told.name) in str(error.value)


def test_a_net_with_shortcuts_begins_with_its_own_widths_alone(tmp_path: Path) -> None:
    options = {"widths": [4] * 6}
    weights = tmp_path / "small.safetensors"
    net = build("resnet17", options)
    checkpoint.save(weights, net, record(architecture="resnet17", options=options))
    same = begun(weights, options, "resnet17")
    torch.testing.assert_close(same.state_dict(), net.state_dict())
    with pytest.raises(CheckpointError, match="or of a vgg10"):
        begun(weights, {"widths": [4, 4, 4, 4, 4, 8]}, "resnet17")
