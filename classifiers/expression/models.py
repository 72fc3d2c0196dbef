"""Networks that read one grey face: float32 [N, 1, S, S], S in 32..47, to logits [N, 7]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from classifiers.expression import LABELS


class VGG10(nn.Module):
    """Four blocks of two 3x3 conv-BN-ReLU and a max-pool, then two linear layers.

    After Simonyan & Zisserman 2015 (arXiv:1409.1556), with batch normalisation. `widths` are
    the channels of the four blocks; the full net is (64, 128, 256, 512), 5.7 M parameters.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 512), hidden: int = 512, dropout: float = 0.3
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1
        for width in widths:
            for _ in range(2):
                layers += [
                    nn.Conv2d(previous, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                previous = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(previous * 4, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(LABELS)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)  # [N, widths[-1], 2, 2]
        return self.head(x)  # type: ignore[no-any-return]  # [N, 7]


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"vgg10": VGG10}


def build(architecture: str, options: dict[str, Any]) -> nn.Module:
    """Return a fresh, untrained net. Raises KeyError for a name that is not in ARCHITECTURES."""
    return ARCHITECTURES[architecture](**options)
