"""Helpers for tests of whole streams: real detectors, and a classifier that a test can hold."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from classifiers.base import Classifier, Reads
from classifiers.expression import LABELS
from daemon.classify.batcher import Batcher
from daemon.classify.jobs import Job
from daemon.frame import Frame
from daemon.ladder import Ladder, rungs
from daemon.monitoring.metrics import Metrics
from daemon.sources.video import VideoSource
from detectors import select
from tests.shared import MODELS, VIDEO

WAIT_S = 60.0
TALKING = VIDEO / "sbia1a.mpg"  # 75 pictures, 360x288, one face that looks into the camera


@cache
def yunet() -> select.Choice:
    return select.resolve(
        "yunet", range="full", min_score=0.5, models=MODELS, pull=False, log=print
    )


def talking(count: int) -> list[Frame]:
    """The first pictures of the clip of one face, decoded anew."""
    source = VideoSource("lobby", str(TALKING), live=False, stop=threading.Event())
    try:
        return [frame for frame, _ in zip(source.frames(), range(count), strict=False)]
    finally:
        source.close()


def sure_of(label: str, p: float = 0.94) -> NDArray[np.float32]:
    """Probabilities, [7] summing to 1, of which `label` has `p`."""
    rest = (1.0 - p) / (len(LABELS) - 1)
    return np.array([p if name == label else rest for name in LABELS], np.float32)


@dataclass
class Known:
    """A classifier that gives the answers `says` in turn, then the last again and again; each call
    waits for `go`. A fake, since a real net cannot be held in mid-work, nor be made to answer as a
    test needs."""

    says: list[NDArray[np.float32]] = field(default_factory=lambda: [sure_of("happy")])
    fails: Exception | None = None
    name: str = "known-0000000"
    reads: Reads = "face"
    labels: tuple[str, ...] = LABELS
    device: str = "cpu"
    engine: str = "none"
    unknown_below: float = 0.4
    view_count: int = 1
    view_indices: list[int] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        self.entered.set()
        assert self.go.wait(WAIT_S)
        self.view_indices += [] if view_indices is None else view_indices.tolist()
        if self.fails is not None:
            raise self.fails
        return np.stack([self.says.pop(0) if len(self.says) > 1 else self.says[0] for _ in batch])


def free(says: Sequence[NDArray[np.float32]] = ()) -> Known:
    """A `Known` classifier that is not held."""
    known = Known(says=list(says)) if says else Known()
    known.go.set()
    return known


def batcher_for(
    classifier: Classifier, metrics: Metrics, ladder: Ladder | None = None, **options: Any
) -> Batcher:
    """A batcher whose ladder's steps change nothing; without `ladder`, it never steps."""
    ladder = ladder or Ladder(rungs("none", {"none": 1}), math.inf)
    return Batcher(classifier, metrics, ladder=ladder, use=lambda rung: None, **options)


@contextmanager
def batching(
    classifier: Classifier, metrics: Metrics, ladder: Ladder | None = None
) -> Iterator[Batcher]:
    batcher = batcher_for(classifier, metrics, ladder, max_batch=8, max_wait_s=0.0, queue_crops=16)
    batcher.start()
    try:
        yield batcher
    finally:
        if isinstance(classifier, Known):
            classifier.go.set()
        batcher.stop()


def settle(batcher: Batcher) -> None:
    """Return when the batcher has delivered what it had begun; metrics count it before that."""
    for _ in range(2):  # Crops of files and live ones take turns, so these may come first once.
        now_s = time.monotonic()
        batcher.classify([Job("nobody", 0, np.zeros((48, 48), np.uint8), None, now_s, now_s)])


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """The value of a sample; 0 where there is none."""
    return registry.get_sample_value(name, labels) or 0.0
