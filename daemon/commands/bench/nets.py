"""Faces a second: every test-time mode by every engine, on the device that the daemon reads on."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from classifiers.errors import EngineError
from classifiers.expression import TTA, Device, EngineSetting
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.crop import FACE_PX
from classifiers.expression.engines import installed
from classifiers.expression.engines.cuda import cuda_fault
from classifiers.expression.oom import explain_oom
from classifiers.expression.tta import VIEW_COUNT
from daemon.commands.bench.record import FaceRate
from daemon.config.settings import ExpressionSettings


@dataclass(frozen=True, slots=True)
class Variant:
    """One test-time mode on one engine."""

    expression: ExpressionSettings
    engine: EngineSetting
    device: Device
    tta: TTA

    def __str__(self) -> str:
        return f"{self.tta}, {self.engine}"

    @explain_oom(EngineError, 'set expression.device = "cpu"')
    def measure(self, seconds: float) -> FaceRate:
        """Time batches of `max_batch` faces for about `seconds`."""
        expression = self.expression
        classifier = ExpressionClassifier.load(
            expression.weights, device=self.device, tta=self.tta, engine=self.engine
        )
        rng = np.random.default_rng(0)
        faces = rng.integers(0, 256, (expression.max_batch, FACE_PX, FACE_PX), dtype=np.uint8)
        view_indices = np.arange(len(faces))  # without them `temporal` would read as `none`
        a_second = len(faces) / once_s(lambda: classifier.predict(faces, view_indices), seconds)
        return FaceRate(
            classifier.engine, self.tta, classifier.view_count, len(faces), round(a_second, 1)
        )


def variants(expression: ExpressionSettings) -> list[Variant]:
    """Every mode by every engine of the processor, or of the card where the daemon takes that."""
    device: Device = "cpu"
    engines: tuple[EngineSetting, ...] = installed()
    if expression.engine != "openvino" and expression.device != "cpu" and not cuda_fault():
        # By `auto` a card computes in bfloat16, where it has that.
        device, engines = "cuda", ("auto", "torch")
    return [Variant(expression, engine, device, tta) for tta in VIEW_COUNT for engine in engines]


def once_s(work: Callable[[], object], seconds: float) -> float:
    """Median wall time of one call, over about `seconds`."""
    end_s = time.perf_counter() + seconds
    work()  # warms caches
    times_s: list[float] = []
    while not times_s or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - began_s)
    return statistics.median(times_s)
