"""Random changes to a whole batch of faces at once, on whatever device it lies."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch
import torch.nn.functional as F

from classifiers.expression.tta import standardise


@dataclass(frozen=True)
class Augmentation:
    """How far a face may be changed. Shifts and sizes are fractions of the face."""

    rotate_deg: float = 12.0
    shift: float = 0.08
    scale: float = 0.12
    aspect: float = 0.0
    gamma: float = 0.35
    clip: float = 0.15
    degrade: float = 0.25
    erase: float = 0.25

    def weakened(self, strength: float) -> Augmentation:
        """All of it times `strength`, 0 to 1."""
        return Augmentation(*(strength * value for value in astuple(self)))


def augment(faces: torch.Tensor, field_px: int, out_px: int, how: Augmentation) -> torch.Tensor:
    """Change uint8 faces [N, S, S]; returns standardised float32 [N, 1, out_px, out_px].

    A window of about field_px of the face's S pixels is drawn with out_px; fewer are cheaper.
    Light first, then the standardisation that the daemon applies too, then geometry in one
    resampling. Draws from torch's global generator.
    """
    x = _light(faces.float() / 255.0, how)
    x = _degrade(x, how.degrade)
    x = standardise(x * 255.0)  # [N, 1, S, S]
    x = _warp(x, field_px, out_px, how)
    return _erase(x, how.erase)


def _uniform(n: int, low: float, high: float, like: torch.Tensor) -> torch.Tensor:
    return torch.empty(n, device=like.device).uniform_(low, high)


def _light(x: torch.Tensor, how: Augmentation) -> torch.Tensor:
    """Gamma and exposure that clips, which standardising a crop cannot undo. x: 0..1 [N, S, S]."""
    n = len(x)
    gamma = _uniform(n, -how.gamma, how.gamma, x).exp().view(n, 1, 1)
    gain = 1.0 + _uniform(n, -how.clip, 2 * how.clip, x).view(n, 1, 1)
    lift = _uniform(n, -how.clip, how.clip, x).view(n, 1, 1)
    return (x.clamp_min(1e-4).pow(gamma) * gain + lift).clamp(0.0, 1.0)


def _degrade(x: torch.Tensor, share: float) -> torch.Tensor:
    """Make a share of the batch look like a small, far face: fewer pixels, and noise."""
    n, size = x.shape[0], x.shape[-1]
    few = round(n * share)
    if not few:
        return x
    pick = torch.randperm(n, device=x.device)[:few]
    small_px = int(torch.randint(size // 3, size * 9 // 10, ()).item())
    small = F.interpolate(x[pick].unsqueeze(1), small_px, mode="area")
    back = F.interpolate(small, size, mode="bilinear", align_corners=False).squeeze(1)
    noisy = back + torch.randn_like(back) * _uniform(few, 0.0, 0.05, x).view(few, 1, 1)
    x = x.clone()
    x[pick] = noisy.clamp(0.0, 1.0)
    return x


def _warp(x: torch.Tensor, field_px: int, out_px: int, how: Augmentation) -> torch.Tensor:
    """Rotate, scale, shift, mirror and crop in one bilinear resampling."""
    n, size = x.shape[0], x.shape[-1]
    angle = _uniform(n, -how.rotate_deg, how.rotate_deg, x) * (math.pi / 180.0)
    mirror = torch.where(_uniform(n, 0.0, 1.0, x) < 0.5, -1.0, 1.0)
    zoom = field_px / size * _uniform(n, 1.0 - how.scale, 1.0 + how.scale, x)
    squeeze = _uniform(n, -how.aspect, how.aspect, x).exp()
    wide, high = zoom * squeeze, zoom / squeeze
    dx, dy = _uniform(n, -how.shift, how.shift, x) * 2, _uniform(n, -how.shift, how.shift, x) * 2
    cos, sin = angle.cos(), angle.sin()
    across = torch.stack([cos * wide * mirror, -sin * high, dx], 1)
    down = torch.stack([sin * wide * mirror, cos * high, dy], 1)
    theta = torch.stack([across, down], 1)  # [N, 2, 3]
    grid = F.affine_grid(theta, [n, 1, out_px, out_px], align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def mix(
    x: torch.Tensor, targets: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blend each face and its target with those of another (mixup, arXiv:1710.09412).

    x: [N, 1, S, S]; targets: [N, 7]. The share comes from a beta distribution with both
    parameters `strength`, one draw a batch; the larger part is the face's own.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    share = max(share, 1.0 - share)
    other = torch.randperm(len(x), device=x.device)
    return torch.lerp(x[other], x, share), torch.lerp(targets[other], targets, share)


def _erase(x: torch.Tensor, share: float) -> torch.Tensor:
    """Cover a rectangle in a share of the batch (Zhong et al. 2017, arXiv:1708.04896)."""
    n, size = x.shape[0], x.shape[-1]
    height = _uniform(n, 0.15, 0.4, x).view(n, 1) * size
    width = _uniform(n, 0.15, 0.4, x).view(n, 1) * size
    top = _uniform(n, 0.0, 1.0, x).view(n, 1) * (size - height)
    left = _uniform(n, 0.0, 1.0, x).view(n, 1) * (size - width)
    at = torch.arange(size, device=x.device).view(1, size)
    rows = (at >= top) & (at < top + height)
    columns = (at >= left) & (at < left + width)
    chosen = (_uniform(n, 0.0, 1.0, x) < share).view(n, 1, 1)
    hole = (rows.unsqueeze(2) & columns.unsqueeze(1) & chosen).unsqueeze(1)
    return x.masked_fill(hole, 0.0)
