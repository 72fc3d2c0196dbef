"""Networks that read one grey face: float32 [N, 1, S, S], S in 32..47, to logits [N, 7]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from classifiers.expression import LABELS


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.1, inplace=True)


def _conv(
    side: int,
    before: int,
    width: int,
    *,
    stride: int = 1,
    activation: Callable[[], nn.Module] | None = _relu,
) -> list[nn.Module]:
    layers: list[nn.Module] = [
        nn.Conv2d(before, width, side, stride=stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(width),
    ]
    return layers if activation is None else [*layers, activation()]


def _head(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(width, len(LABELS))
    )


class FaceNet(nn.Module):
    """Its `features`, a sequence of layers, and then its `head`."""

    def __init__(self, features: Sequence[nn.Module], head: nn.Sequential) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)  # [N, C, s, s]
        return self.head(x)  # type: ignore[no-any-return]  # [N, 7]


class VGG10(FaceNet):
    """Four blocks of two 3x3 conv-BN-ReLU and a max-pool, then two linear layers.

    After Simonyan & Zisserman 2015 (arXiv:1409.1556), with batch normalisation. `widths` are
    the channels of the four blocks; the full net is (64, 128, 256, 512), 5.7 M parameters.
    """

    def __init__(
        self, widths: Sequence[int] = (64, 128, 256, 512), hidden: int = 512, dropout: float = 0.3
    ) -> None:
        layers: list[nn.Module] = []
        previous = 1
        for width in widths:
            layers += [*_conv(3, previous, width), *_conv(3, width, width), nn.MaxPool2d(2)]
            previous = width
        head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(previous * 4, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(LABELS)),
        )
        super().__init__(layers, head)


class DarknetBlock(nn.Module):
    """A 1x1 convolution to half the channels, a 3x3 back, and the shortcut around both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(1, width, width // 2, activation=_leaky),
            *_conv(3, width // 2, width, activation=_leaky),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class DarknetResNet(FaceNet):
    """A stem and five stages, each a 3x3 convolution of stride 2 and then residual blocks.

    After Redmon & Farhadi 2018 (arXiv:1804.02767). Convolutions and the linear layer counted,
    `blocks` of (1, 1, 1, 1, 1) make ResNet17 and (1, 2, 2, 2, 2) ResNet25. `widths` are the
    channels of the stem and the five stages.
    """

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256, 512, 1024),
        blocks: Sequence[int] = (1, 1, 1, 1, 1),
        dropout: float = 0.3,
    ) -> None:
        stem, *stages = widths
        layers = _conv(3, 1, stem, activation=_leaky)
        for before, width, number in zip(widths, stages, blocks, strict=False):
            layers += _conv(3, before, width, stride=2, activation=_leaky)
            layers += [DarknetBlock(width) for _ in range(number)]
        super().__init__(layers, _head(widths[-1], dropout))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_conv(3, before, width, stride=stride), *_conv(3, width, width, activation=None)
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            self.shortcut.extend(_conv(1, before, width, stride=stride, activation=None))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.body(x))


class ResNet18(FaceNet):
    """Four stages of two basic blocks behind a 3x3 stem of stride 1, as used on CIFAR."""

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512), dropout: float = 0.3) -> None:
        layers = _conv(3, 1, widths[0])
        before = widths[0]
        for stage, width in enumerate(widths):
            layers += [BasicBlock(before, width, 2 if stage else 1), BasicBlock(width, width, 1)]
            before = width
        super().__init__(layers, _head(before, dropout))


ARCHITECTURES: dict[str, Callable[..., FaceNet]] = {
    "vgg10": VGG10,
    "resnet17": partial(DarknetResNet, blocks=(1, 1, 1, 1, 1)),
    "resnet25": partial(DarknetResNet, blocks=(1, 2, 2, 2, 2)),
    "resnet18": ResNet18,
}


def build(architecture: str, options: dict[str, Any]) -> FaceNet:
    """Return a fresh, untrained net. Raises KeyError for a name that is not in ARCHITECTURES."""
    return ARCHITECTURES[architecture](**options)
