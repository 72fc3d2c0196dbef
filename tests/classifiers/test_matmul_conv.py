"""Kernels' gradients as matrix products are those of the convolution."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from classifiers.expression.architectures import build
from classifiers.expression.training.matmul_conv import MatmulConv, use_matmul_gradients
from tests.nets import SMALL


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(4, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(MatmulConv.apply, (maps, kernels))


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_net_learns_the_same_by_matmul(name: str) -> None:
    """In bfloat16, but for its rounding; in float32 to the bit, as nothing is done otherwise."""
    torch.manual_seed(0)
    plain = build(name, {**SMALL[name], "dropout": 0.0})
    other = deepcopy(plain)
    use_matmul_gradients(other)
    assert other.state_dict().keys() == plain.state_dict().keys()
    changed = [layer for layer in other.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert any(type(layer) is not torch.nn.Conv2d for layer in changed)
    x = torch.randn(16, 1, 44, 44).to(memory_format=torch.channels_last)
    for low in (True, False):
        found = [gradients(net, x, low) for net in (plain, other)]
        for one, two in zip(*found, strict=True):
            if low:
                assert (one - two).norm() <= 0.05 * one.norm() + 1e-4
            else:
                assert torch.equal(one, two)


def gradients(net: torch.nn.Module, x: torch.Tensor, low: bool) -> list[torch.Tensor]:
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        net(x).float().logsumexp(1).sum().backward()
    return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
