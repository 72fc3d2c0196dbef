"""Muon's step against what its definition says, by singular values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from classifiers.expression.architectures import build
from classifiers.expression.training import optimizers
from classifiers.expression.training.optimizers import Muon, orthogonal
from classifiers.expression.training.recipe import Recipe


@pytest.mark.parametrize("shape", [(16, 72), (72, 16), (32, 32), (8, 9)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 0.01
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = s > 0.03 * s.max()  # the least ones are lifted only partly
    found = u.T @ orthogonal(matrix) @ v.T
    assert (found.diagonal()[kept] - 1.0).abs().max() < 0.5
    assert (found - torch.diag(found.diagonal())).abs().max() < 0.01


def test_nothing_to_go_by_is_no_step() -> None:
    assert not orthogonal(torch.zeros(4, 9)).any()


def test_a_step_goes_against_the_gradient_as_far_whatever_its_size() -> None:
    steps = []
    for scale in (1.0, 1000.0):
        kernel = nn.Parameter(torch.randn(16, 8, 3, 3, generator=torch.manual_seed(1)))
        kernel.grad = scale * torch.randn(kernel.shape, generator=torch.manual_seed(2))
        before = kernel.detach().clone()
        Muon([kernel], lr=0.1, weight_decay=0.5).step()
        steps.append(kernel.detach() - (1.0 - 0.1 * 0.5) * before)
        assert float((steps[-1] * kernel.grad).sum()) < 0.0
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-5)
    assert float(steps[0].norm()) == pytest.approx(0.1 * 16**0.5, rel=0.2)


def test_momentum_carries_on_where_the_gradient_is_gone() -> None:
    kernel = nn.Parameter(torch.randn(4, 2, 3, 3, generator=torch.manual_seed(1)))
    muon = Muon([kernel], lr=0.1, weight_decay=0.0)
    kernel.grad = torch.randn(kernel.shape, generator=torch.manual_seed(2))
    start = kernel.detach().clone()
    muon.step()
    first = kernel.detach() - start
    kernel.grad.zero_()
    muon.step()
    second = kernel.detach() - start - first
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("architecture", ["vgg10", "resnet17", "resnet18"])
def test_every_parameter_has_one_optimizer_and_muon_has_the_kernels(architecture: str) -> None:
    net = build(
        architecture, {"widths": [8, 8, 16, 16, 16, 16][: 6 if "17" in architecture else 4]}
    )
    recipe = Recipe(architecture=architecture, epochs=1, optimizer="muon", weight_decay=0.01)
    sgd, muon = optimizers.make(net, recipe)
    groups = [group for optimizer in (sgd, muon) for group in optimizer.param_groups]
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())
    kernels = [p for group in muon.param_groups for p in group["params"]]
    assert [id(p) for p in kernels] == [id(p) for p in net.parameters() if p.ndim == 4]
    for group in sgd.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.01 if parameter.ndim == 2 else 0.0)


def test_without_momentum_a_step_is_the_gradient() -> None:
    net = nn.Linear(3, 2)
    recipe = Recipe("vgg10", epochs=1, momentum=0.0, learning_rate=0.1, weight_decay=0.0)
    (sgd,) = optimizers.make(net, recipe)
    before = net.bias.detach().clone()
    net(torch.ones(1, 3)).sum().backward()
    sgd.step()
    torch.testing.assert_close(net.bias.detach(), before - 0.1)
