"""Four views of a face that share a net's first layers."""

from __future__ import annotations

import torch
from torch import nn

from classifiers.expression.architectures import FaceNet


class FourCrop(nn.Module):
    """Reads the top left and the bottom right of each face and of its mirror image.

    So every corner of the face is seen once, two of them mirrored. The net's first `net.shared`
    layers see the whole face; their maps are cut instead of the picture, which costs about a third
    of `ten_crop`. At its edges such a view knows what lies beyond, where one cut from the picture
    is padded with zeros; so its logits differ a little.

    `early` and `late` are the two parts of `net`, with its parameters and its layers' names.
    """

    early: nn.Module
    late: nn.Module

    def __init__(self, net: FaceNet, crop_px: int, shared: int | None = None) -> None:
        """shared: layers to share; None: as many as `net` says."""
        super().__init__()
        shared = net.shared if shared is None else shared
        self.early, self.late = nn.Sequential(), nn.Sequential()
        self.early.add_module("features", net.features[:shared])
        self.late.add_module("features", net.features[shared:])
        self.late.add_module("head", net.head)
        self.crop_px = crop_px

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Standardised faces [N, 1, S, S] to the logits of their views, [4 N, 7], view by view."""
        maps = self.early(torch.cat([x, x.flip(-1)]))  # [2 N, C, s, s]
        side = maps.shape[-1] * self.crop_px // x.shape[-1]
        first, last = slice(None, side), slice(-side, None)
        views = torch.cat([maps[..., first, first], maps[..., last, last]])
        return self.late(views)  # type: ignore[no-any-return]
