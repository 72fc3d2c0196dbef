"""Test-time augmentation: several views of each face, made on the device, and their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import get_args

import torch
from torch.nn.functional import interpolate

from classifiers.errors import CheckpointError
from classifiers.expression import TTA, StaticTTA

STATIC_TTA: tuple[StaticTTA, ...] = get_args(StaticTTA)

VIEW_COUNT: dict[TTA, int] = {"none": 1, "flip": 2, "scales": 3, "ten_crop": 10, "temporal": 1}
"""How many views of a face each mode reads."""

# Views of one scale by number, as torchvision's `TenCrop` orders them: corners top left, top right,
# bottom left, bottom right, then the centre; from 5 on the same of the mirrored face.
CUTS: dict[TTA, tuple[int, ...]] = {
    "none": (4,),
    "flip": (4, 9),
    "ten_crop": tuple(range(10)),
    "temporal": (4,),
}

# The ten over time: centre, its mirror, then opposite corners in pairs, each pair one plain and one
# mirrored, so that any few in a row lie far apart.
TEMPORAL_ORDER = (4, 9, 0, 7, 1, 8, 3, 6, 2, 5)


def standardise(faces: torch.Tensor) -> torch.Tensor:
    """Shift and scale each face by its own mean and deviation.

    faces: [N, S, S], any real dtype, range 0..255. Returns float32 [N, 1, S, S].
    A data set's mean would make every dim face look sad; see docs/crop-contract.md.
    """
    x = faces.unsqueeze(1).float()
    deviation, mean = torch.std_mean(x, dim=(1, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (deviation + 1.0)  # one grey level keeps a flat crop flat


def views(x: torch.Tensor, crop_px: int, tta: TTA) -> torch.Tensor:
    """Cut the views of `tta` out of [N, C, S, S]; returns [T, N, C, crop_px, crop_px].

    For `temporal` it is the centre, its first look. Cuts are slices; only the final stack copies.
    """
    if tta == "scales":
        return _scales(x, crop_px)
    last = x.shape[-1] - crop_px
    middle = round(last / 2)
    places = ((0, 0), (0, last), (last, 0), (last, last), (middle, middle))
    sides = (x, x.flip(-1))
    cuts = []
    for number in CUTS[tta]:
        mirrored, place = divmod(number, len(places))
        top, left = places[place]
        cuts.append(sides[mirrored][..., top : top + crop_px, left : left + crop_px])
    return torch.stack(cuts)


def _scales(x: torch.Tensor, crop_px: int) -> torch.Tensor:
    """The whole face, its centre mirrored, and a part that is as much nearer as the whole is
    farther: [3, N, C, crop_px, crop_px]."""
    near = round(crop_px * crop_px / x.shape[-1])
    resize = partial(interpolate, size=(crop_px, crop_px), mode="bilinear", antialias=True)
    return torch.stack([resize(x), _centre(x, crop_px).flip(-1), resize(_centre(x, near))])


def _centre(x: torch.Tensor, px: int) -> torch.Tensor:
    first = round((x.shape[-1] - px) / 2)
    return x[..., first : first + px, first : first + px]


def temporal_view(x: torch.Tensor, crop_px: int, view_indices: torch.Tensor) -> torch.Tensor:
    """Cut one view of each of [N, C, S, S]: that at its index in TEMPORAL_ORDER, which repeats.

    view_indices: int64 [N], from 0, on the device of `x`. Returns [1, N, C, crop_px, crop_px].
    """
    which = _temporal_order(x.device)[view_indices % len(TEMPORAL_ORDER)]
    return views(x, crop_px, "ten_crop")[which, torch.arange(len(x), device=x.device)][None]


@cache  # A copy to a graphics card would make each batch wait for it.
def _temporal_order(device: torch.device) -> torch.Tensor:
    """TEMPORAL_ORDER, int64 [10]."""
    return torch.tensor(TEMPORAL_ORDER, device=device)


def mean_probabilities(
    net: Callable[[torch.Tensor], torch.Tensor],
    faces: torch.Tensor,
    crop_px: int,
    tta: TTA,
    view_indices: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean class probabilities over the views, not calibrated.

    net: float32 [B, 1, crop_px, crop_px] to logits [B, 7]. faces: uint8 [N, S, S] on its device.
    view_indices: int64 [N] there, how many readings of each one's track are averaged already;
    `temporal` goes by them, and None is zeros.
    Returns float32 [N, 7], rows summing to 1.
    """
    x = standardise(faces)
    if tta == "temporal" and view_indices is not None:
        x = temporal_view(x, crop_px, view_indices)
    else:
        x = views(x, crop_px, tta)
    x = x.flatten(0, 1)  # [T N, 1, c, c]
    logits = net(x.contiguous(memory_format=torch.channels_last)).float()
    return logits.view(VIEW_COUNT[tta], len(faces), -1).softmax(-1).mean(0)


def with_temperature(mean: torch.Tensor, temperature: float) -> torch.Tensor:
    """Calibrate probabilities [N, 7]: flatter by a temperature above 1, unchanged by 1.

    Temperature scaling as in Guo et al. 2017 (arXiv:1706.04599), on the log of a mean.
    """
    if temperature == 1.0:
        return mean
    return (mean.clamp_min(1e-12).log() / temperature).softmax(-1)


UNCHANGED: Mapping[str, float] = dict.fromkeys(STATIC_TTA, 1.0)
"""The temperatures of what is not calibrated."""


def temperature_of(temperatures: Mapping[str, float], tta: TTA) -> float:
    """The temperature of a mode; `temporal` has that of `none`, which shows one view too.

    Each has its own: the mean of fewer views is surer than that of more, and no more often right.
    """
    return temperatures["none" if tta == "temporal" else tta]


def need_modes(path: Path, temperatures: Mapping[str, float]) -> None:
    """Raise CheckpointError for temperatures that are not those of all STATIC_TTA."""
    if wrong := sorted({*STATIC_TTA} ^ {*temperatures}):
        raise CheckpointError(f"{path}: temperature; missing or unknown: {wrong}")
