"""Begin a net with the weights of a narrower one (Net2Net, Chen et al. 2016, arXiv:1511.05641)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from operator import le
from pathlib import Path
from typing import Any

import torch
from torch import nn

from classifiers import checkpoint
from classifiers.errors import CheckpointError
from classifiers.expression.classifier import load_net

CHAINS = "vgg10"
"""The architecture that can be widened: without shortcuts, whose sums tie channels together."""


def begin_with(net: nn.Module, weights: Path, architecture: str, options: dict[str, Any]) -> str:
    """Load `weights` into `net`, widened where they are narrower; returns their SHA-256.

    Raises CheckpointError for another architecture, for a net that is wider than `net` anywhere,
    and as `load_net`.
    """
    record = checkpoint.read_record(weights)
    if record.architecture != architecture:
        raise CheckpointError(
            f"start: {weights} is a {record.architecture}; accepted: weights of a {architecture}"
        )
    narrow = load_net(weights, record).module
    fitting = _shapes(narrow) == _shapes(net)
    if not fitting and (architecture != CHAINS or not _fits_in(narrow, net)):
        raise CheckpointError(
            f"start: {weights} has {record.options}, the recipe {options}; accepted: the same, "
            f"or of a {CHAINS} with no layer wider than the recipe's"
        )
    net.load_state_dict(narrow.state_dict() if fitting else widened(narrow, net))
    return record.sha256


def widened(narrow: nn.Module, wide: nn.Module) -> dict[str, torch.Tensor]:
    """The state of `narrow` in the shapes of `wide`: both chains of the same layers.

    The net computes the same: some channels are repeated, and a repeated channel's outgoing weights
    are split at random between its copies, so that they sum to the old one. At random, since copies
    that are equal in everything would stay equal in training.
    """
    state = {name: value.clone() for name, value in wide.state_dict().items()}
    came_from = torch.zeros(1, dtype=torch.int64)  # the old channel of each of the last layer
    layers = zip(_layers(narrow), _layers(wide), strict=True)
    for (name, old), (_, new) in layers:
        if isinstance(old, nn.BatchNorm2d):
            for key, value in old.state_dict().items():
                state[f"{name}.{key}"] = value[came_from] if value.ndim else value
            continue
        weight = old.weight.detach()
        points = weight.shape[1] // (int(came_from.max()) + 1)  # inputs of one channel, flattened
        taken = (came_from[:, None] * points + torch.arange(points)).flatten()
        came_from = _doubled(len(weight), len(new.weight))
        dealt = _dealt(taken, len(came_from))
        state[f"{name}.weight"] = weight[came_from][:, taken] * dealt.view(
            *dealt.shape, *(1,) * (weight.ndim - 2)
        )
        if old.bias is not None:
            state[f"{name}.bias"] = old.bias.detach()[came_from]
    return state


def _layers(net: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            yield name, layer


def _doubled(before: int, after: int) -> torch.Tensor:
    """Of each of `after` channels, which of `before` it repeats: all of them, then some again."""
    return torch.cat([torch.arange(before), torch.randperm(after) % before])[:after]


def _dealt(taken: torch.Tensor, rows: int) -> torch.Tensor:
    """Random shares [rows, len(taken)]: in a row those of inputs with the same origin sum to 1."""
    shares = torch.rand(rows, len(taken)) * 2.0 - 0.5
    origins = int(taken.max()) + 1
    sums = torch.zeros(rows, origins).index_add_(1, taken, shares)
    counts = torch.bincount(taken, minlength=origins)
    return shares + ((1.0 - sums) / counts)[:, taken]


def _shapes(net: nn.Module) -> list[torch.Size]:
    return [value.shape for value in net.state_dict().values()]


def _fits_in(narrow: nn.Module, wide: nn.Module) -> bool:
    pairs = zip_longest(_shapes(narrow), _shapes(wide), fillvalue=())
    return all(len(a) == len(b) and all(map(le, a, b)) for a, b in pairs)
