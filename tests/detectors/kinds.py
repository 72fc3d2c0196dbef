"""Every kind of detector that there is."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from detectors import store
from detectors.base import Detector, Range
from detectors.select import Backend, resolve
from detectors.yunet import YuNet
from tests.shared import MODELS

KINDS = ["mediapipe short", "mediapipe full", "yunet", "yunet by opencv", "haar"]
"""`yunet` is by OpenVINO where that is installed."""


def build(kind: str, min_score: float = 0.5) -> Detector:
    if kind == "yunet by opencv":
        return YuNet(store.load("yunet", MODELS), min_score=min_score)
    backend, _, range = kind.partition(" ")
    return make(cast(Backend, backend), cast(Range, range or "full"), min_score)


def make(backend: Backend, range: Range, min_score: float = 0.5, models: Path = MODELS) -> Detector:
    """The detector of a backend whose model is there."""
    choice = resolve(
        backend, range=range, min_score=min_score, models=models, pull=False, log=lambda _: None
    )
    return choice.make()
