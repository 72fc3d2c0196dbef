"""What changes a net's parameters: SGD for all of them, or Muon for the convolutions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from classifiers.expression.training.recipe import Recipe

_QUINTIC = 3.4445, -4.7750, 2.0315  # of x, x^3 and x^5 for each singular value x
_ROUNDS = 5
_LEAST = 1e-12  # keeps a zero gradient from dividing by zero


def make(net: nn.Module, recipe: Recipe, device: str = "cpu") -> list[Optimizer]:
    """The optimizers of `net` on `device`; each parameter belongs to one of them."""
    by_dimensions: dict[int, list[nn.Parameter]] = {}
    for parameter in net.parameters():
        by_dimensions.setdefault(parameter.ndim, []).append(parameter)
    kernels = by_dimensions.pop(4, []) if recipe.optimizer == "muon" else []
    groups = [
        {"params": some, "weight_decay": recipe.weight_decay if dimensions > 1 else 0.0}
        for dimensions, some in by_dimensions.items()
    ]
    momentum = recipe.momentum
    sgd = SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=momentum,
        nesterov=momentum > 0.0,
        fused=True if device == "cuda" else None,
    )
    return [sgd, Muon(kernels, lr=recipe.learning_rate)] if kernels else [sgd]


class Muon(Optimizer):
    """Nesterov momentum, made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    For kernels, [out, in, h, w], taken as matrices of `out` rows. Each step takes
    `lr * weight_decay` of a kernel away. `torch.optim.Muon` takes matrices only, and computes in
    bfloat16, which many processors emulate.
    """

    def __init__(
        self,
        kernels: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(kernels, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step. Raises TypeError for a closure, which is not needed here."""
        if closure is not None:
            raise TypeError("Muon.step takes no closure")
        for group in self.param_groups:
            for kernel in group["params"]:
                state = self.state[kernel]
                if not state:
                    state["momentum"] = torch.zeros_like(kernel)
                mean = state["momentum"].mul_(group["momentum"]).add_(kernel.grad)
                ahead = kernel.grad.add(mean, alpha=group["momentum"]).flatten(1)
                longer = max(1.0, len(ahead) / ahead.shape[1]) ** 0.5
                kernel.mul_(1.0 - group["lr"] * group["weight_decay"])
                kernel.sub_(orthogonal(ahead).view_as(kernel), alpha=group["lr"] * longer)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """About U V^T of a matrix U S V^T, float32 [m, n]: its singular values come near 1.

    By the quintic Newton-Schulz iteration of Muon, which needs products only. It is run on the
    smaller Gram matrix G, since X (X^T X)^k is G^k X: of a wide kernel that costs less than half.
    """
    a, b, c = _QUINTIC
    tall = len(matrix) > matrix.shape[1]
    x = matrix.t() if tall else matrix
    gram = x @ x.t()
    length = gram.norm().sqrt() + _LEAST  # at least the greatest singular value
    gram = gram / length.square()
    turn = torch.eye(len(x), device=x.device)
    for left in reversed(range(_ROUNDS)):
        bend = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        bend.diagonal().add_(a)
        turn = bend @ turn
        if left:
            gram = bend @ gram @ bend
    found: torch.Tensor = turn @ (x / length)
    return found.t() if tall else found
