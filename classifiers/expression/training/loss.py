"""What training minimises. Targets are distributions, so mixed and taught labels fit as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F

from classifiers.expression import LABELS

ALPHA = {
    "angry": 0.6,
    "disgust": 1.0,
    "fear": 0.8,
    "happy": 0.4,
    "sad": 0.8,
    "surprise": 0.4,
    "neutral": 0.6,
}
"""Weight of each class in the adaptive loss: rare and often confused ones count more."""

GAMMA = 2.0
"""How strongly the adaptive loss plays down easy faces (as the focal loss, arXiv:1708.02002)."""


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    """Targets float32 [N, 7] that put everything on the labels, int64 [N]."""
    return F.one_hot(labels, len(LABELS)).float()


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean cross entropy of logits [N, 7] against smoothed targets [N, 7]; a scalar.

    smoothing: share of each target that is spread evenly over the classes (arXiv:1512.00567).
    """
    return F.cross_entropy(logits, targets, label_smoothing=smoothing)


def adaptive(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean of alpha * (1 - exp(-CE))^gamma * CE over the faces; a scalar.

    CE is that of logits [N, 7] against smoothed targets [N, 7]. Alpha is that of the true class,
    for a mixed target the mean of its classes' by their shares.
    """
    ce = F.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")  # [N]
    alpha = targets @ _alphas(targets.device)  # [N]
    return (alpha * (1.0 - torch.exp(-ce)).pow(GAMMA) * ce).mean()


@cache  # A copy to a graphics card would make each step wait for it.
def _alphas(device: torch.device) -> torch.Tensor:
    """ALPHA in the order of LABELS, float32 [7]."""
    return torch.tensor([ALPHA[label] for label in LABELS], device=device)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]] = {
    "cross_entropy": cross_entropy,
    "adaptive": adaptive,
}
