"""Gradients of kernels as matrix products, where that is the faster way on a processor.

For small maps oneDNN computes the gradient of a 3x3 kernel in bfloat16 at a seventh of the speed of
its own matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

_FEW_POINTS = 32  # height times width of a map; in larger ones cutting out patches takes longer


def use_matmul_gradients(net: nn.Module) -> None:
    """Let `net`'s 3x3 convolutions of stride 1 do this where they compute in bfloat16."""
    for layer in net.modules():
        if type(layer) is nn.Conv2d and (
            (layer.kernel_size, layer.stride, layer.padding, layer.groups, layer.bias)
            == ((3, 3), (1, 1), (1, 1), 1, None)
        ):
            layer.__class__ = _MatmulConv2d


class _MatmulConv2d(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if input.shape[-2] * input.shape[-1] > _FEW_POINTS or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        low = torch.get_autocast_dtype("cpu")
        return MatmulConv.apply(input.to(low), self.weight.to(low))  # type: ignore[no-any-return]


class MatmulConv(torch.autograd.Function):
    """`conv2d` of maps [N, C, H, W] by kernels [K, C, 3, 3], padded by 1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, kernels)
        return functional.conv2d(x, kernels, padding=1)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of the input maps and of the kernels, from that of the output, [N, K, H, W]."""
        (slope,), (x, kernels) = slopes, ctx.saved_tensors
        one = [1, 1]
        of_maps = torch.ops.aten.convolution_backward(
            slope, x, kernels, None, one, one, one, False, [0, 0], 1, [True, False, False]
        )[0]
        (_, c, h, w), k = x.shape, len(kernels)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        shifted = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
        patches = torch.cat(shifted, -1).reshape(-1, 9 * c)  # [N H W, 9 C]
        product = slope.permute(0, 2, 3, 1).reshape(-1, k).t() @ patches
        return of_maps, product.view(k, 3, 3, c).permute(0, 3, 1, 2)
