"""Measure an expression net on a split: `affectd evaluate expression`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.base import Classifier
from classifiers.expression.data import Faces
from classifiers.expression.tta import TTA, mean_probabilities


@torch.inference_mode()
def probabilities(
    net: nn.Module,
    faces: Faces,
    crop_px: int,
    tta: TTA,
    device: str,
    temperature: float = 1.0,
    batch: int = 64,
) -> NDArray[np.float32]:
    """Class probabilities of every face, float32 [N, 7]. Leaves the net in eval mode."""
    net.eval()
    parts = [
        mean_probabilities(net, torch.from_numpy(part).to(device), crop_px, tta, temperature).cpu()
        for part in np.array_split(faces.images, max(1, len(faces.images) // batch))
    ]
    return torch.cat(parts).numpy().astype(np.float32)


def classify(classifier: Classifier, faces: Faces, batch: int = 64) -> NDArray[np.float32]:
    """What a classifier that reads faces makes of a split, float32 [N, 7]."""
    parts = np.array_split(faces.images, max(1, len(faces.images) // batch))
    return np.concatenate([classifier.predict(part) for part in parts])


def accuracy(guessed: NDArray[np.float32], faces: Faces) -> float:
    """Share of faces whose likeliest class is their label, 0..1."""
    return float((guessed.argmax(1) == faces.labels).mean())


def fit_temperature(guessed: NDArray[np.float32], faces: Faces) -> float:
    """The temperature that makes `guessed` (at temperature 1) likeliest (arXiv:1706.04599)."""
    logits = torch.from_numpy(guessed).clamp_min(1e-12).log().double()
    labels = torch.from_numpy(faces.labels)
    tried = np.geomspace(0.25, 4.0, 400)
    losses = [float(nn.functional.cross_entropy(logits / t, labels)) for t in tried]
    return float(tried[int(np.argmin(losses))])
