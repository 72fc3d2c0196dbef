"""What the layers of a net are fed: the ranges that an engine computing in int8 needs."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.expression.tta import standardise, views

FACES = 512  # of Training; with 256 the scores are the same
BATCH = 64


@torch.inference_mode()
def find_ranges(
    net: nn.Module, images: NDArray[np.uint8], crop_px: int, device: str
) -> dict[str, tuple[float, float]]:
    """Least and largest input of every convolution and linear layer, by its name.

    images: uint8 faces [N, 48, 48], of which FACES are drawn by chance. The first layer is left
    out: a face standardised by its own deviation has no bound, a few white pixels on black are
    40 of them, and with one channel that layer costs nothing in float32. So is a layer whose
    input never varies. `net` is on `device`; it is left in eval mode.
    """
    chosen = np.random.default_rng(0).permutation(len(images))[:FACES]
    faces = torch.from_numpy(images[np.sort(chosen)]).to(device)
    found: dict[str, tuple[float, float]] = {}

    def look(name: str, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        low, high = (float(v) for v in inputs[0].float().aminmax())
        before = found.get(name, (low, high))
        found[name] = (min(low, before[0]), max(high, before[1]))

    layers = {
        name: layer
        for name, layer in net.named_modules()
        if (isinstance(layer, nn.Conv2d) and layer.in_channels > 1) or isinstance(layer, nn.Linear)
    }
    hooks = [layer.register_forward_pre_hook(partial(look, name)) for name, layer in layers.items()]
    try:
        net.eval()
        for part in torch.split(faces, BATCH):
            net(views(standardise(part), crop_px, "none")[0])
    finally:
        for hook in hooks:
            hook.remove()
    rounded = {name: (round(low, 4), round(high, 4)) for name, (low, high) in found.items()}
    return {name: span for name, span in rounded.items() if span[0] < span[1]}
