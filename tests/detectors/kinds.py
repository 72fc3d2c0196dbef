"""Every kind of detector that there is."""

from __future__ import annotations

from typing import cast

from detectors import store
from detectors.base import Detector
from detectors.select import Backend, Range, make
from detectors.yunet import YuNet
from tests.shared import MODELS

KINDS = ["mediapipe short", "mediapipe full", "yunet", "yunet by opencv", "haar"]
"""`yunet` is by OpenVINO where that is installed."""


def build(kind: str, min_score: float = 0.5) -> Detector:
    if kind == "yunet by opencv":
        return YuNet(store.load("yunet", MODELS), min_score=min_score)
    backend, _, range = kind.partition(" ")
    return make(
        cast(Backend, backend),
        range=cast(Range, range or "full"),
        min_score=min_score,
        models=MODELS,
        pull=False,
        log=lambda _: None,
    )
