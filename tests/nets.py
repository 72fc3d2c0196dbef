"""Untrained expression nets, as small as can be, and joints of them, with their records; and
what it takes to run them in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers import checkpoint
from classifiers.checkpoint import Record
from classifiers.expression import LABELS, engines, joint
from classifiers.expression.architectures import FaceNet, build
from classifiers.expression.joint import Joint, Member
from classifiers.expression.tta import STATIC_TTA

needs_openvino = pytest.mark.skipif(
    "openvino" not in engines.installed(), reason="the extra `cpu` is not installed"
)
OPTIONS: dict[str, Any] = {"widths": [4, 4, 8, 8], "hidden": 8, "dropout": 0.0}
SMALL: dict[str, dict[str, Any]] = {
    "vgg10": {"widths": [4, 8, 8, 16], "hidden": 16},
    "resnet17": {"widths": [4, 4, 8, 8, 16, 16]},
    "resnet25": {"widths": [4, 4, 8, 8, 16, 16]},
    "resnet18": {"widths": [4, 8, 8, 16]},
}
"""Options of a small net of each architecture."""


def alike(temperature: float) -> dict[str, float]:
    """The same temperature for all modes."""
    return dict.fromkeys(STATIC_TTA, temperature)


def record(**changes: Any) -> Record:
    """The record of a tiny net, with `changes` to its fields."""
    plain: dict[str, Any] = {
        "name": "tiny",
        "family": "expression",
        "architecture": "vgg10",
        "options": OPTIONS,
        "labels": list(LABELS),
        "input_px": 48,
        "crop_px": 44,
        "normalisation": "per_crop",
        "temperature": alike(1.0),
        "unknown_below": 0.0,
        "data_set": "none",
        "data_sha256": "",
        "recipe": {},
        "seed": 3,
        "commit": "",
    }
    return Record(**{**plain, **changes})


def tiny(seed: int = 3, options: dict[str, Any] = OPTIONS) -> FaceNet:
    """The net itself, the same for one seed."""
    torch.manual_seed(seed)
    return build("vgg10", options)


def save_tiny(path: Path, seed: int = 3, **changes: Any) -> Path:
    """Write a tiny net and its record, with `changes` to its fields; returns `path`."""
    written = record(seed=seed, **changes)
    checkpoint.save(path, tiny(seed, written.options), written)
    return path


def save_joint(
    path: Path, weights: dict[str, float], temperature: dict[str, float] | None = None
) -> Path:
    """Write a joint of the nets that lie beside it, by file name; returns `path`."""
    members = tuple(
        Member(net, checkpoint.read_record(path.parent / net).sha256, weight)
        for net, weight in weights.items()
    )
    known = temperature or alike(1.0)
    found = Joint("joint", members, known, 0.3, "holdout", "none", "", {}, "abc1234")
    joint.save(path, found)
    return path


def save_pair(folder: Path) -> Path:
    """Write a joint of two nets that differ in every way that nets can; returns its path."""
    own = {"none": 1.1, "flip": 1.2, "scales": 1.4, "ten_crop": 1.5}
    save_tiny(folder / "a.safetensors", seed=1, temperature=own)
    wider = {"widths": [4, 8, 8, 8], "hidden": 16, "dropout": 0.0}
    save_tiny(folder / "b.safetensors", seed=2, temperature=alike(0.7), crop_px=40, options=wider)
    common = {"none": 0.5, "flip": 0.6, "scales": 0.9, "ten_crop": 0.8}
    return save_joint(folder / "joint.json", {"a.safetensors": 0.3, "b.safetensors": 0.7}, common)
