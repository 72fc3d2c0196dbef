"""An expression net that learnt nothing, as small as can be, with its record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from classifiers import checkpoint
from classifiers.checkpoint import Record
from classifiers.expression import LABELS
from classifiers.expression.models import build

OPTIONS: dict[str, Any] = {"widths": [4, 4, 8, 8], "hidden": 8, "dropout": 0.0}


def record(**changes: Any) -> Record:
    """The record of a tiny net, but for `changes`."""
    plain: dict[str, Any] = {
        "name": "tiny",
        "family": "expression",
        "architecture": "vgg10",
        "options": OPTIONS,
        "labels": list(LABELS),
        "input_px": 48,
        "crop_px": 44,
        "normalisation": "per_crop",
        "temperature": 1.0,
        "unknown_below": 0.0,
        "data_set": "none",
        "data_sha256": "",
        "recipe": {},
        "seed": 3,
        "commit": "",
    }
    return Record(**{**plain, **changes})


def tiny(seed: int = 3, options: dict[str, Any] = OPTIONS) -> torch.nn.Module:
    """The net itself, the same for one seed."""
    torch.manual_seed(seed)
    return build("vgg10", options)


def save_tiny(path: Path, seed: int = 3, **changes: Any) -> Path:
    """Write a tiny net and its record, in which `changes` stand; returns `path`."""
    written = record(seed=seed, **changes)
    checkpoint.save(path, tiny(seed, written.options), written)
    return path
