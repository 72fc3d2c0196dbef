"""Helpers for tests of whole streams: pipelines, their sinks, a detector that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings, StreamSettings
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, StreamStatus
from daemon.pipeline import Pipeline, Shared
from daemon.reading import Reading
from detectors.base import Detection, Detector
from detectors.select import Choice
from tests.daemon.streams import WAIT_S, value, yunet
from tests.waiting import wait_until


@dataclass
class Around:
    """What a daemon has around its pipelines."""

    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    board: Board = field(default_factory=lambda: Board(time.time))
    health: Health = field(default_factory=lambda: Health(time.monotonic))
    stop: threading.Event = field(default_factory=threading.Event)

    def pipeline(
        self,
        batcher: Batcher | None,
        name: str,
        url: str,
        *sinks: dict[str, object],
        detector: Choice | None = None,
        publish: Callable[[Reading], None] = lambda reading: None,
        offline: bool = False,
        policy: str = "auto",
    ) -> Pipeline:
        table = {"name": name, "url": url, "policy": policy, "sink": sinks}
        stream = StreamSettings.model_validate(table, strict=False)
        return Pipeline(
            stream,
            Settings(stream=(stream,)),
            Shared(
                Models(detector or yunet(), batcher),
                self.metrics,
                self.board,
                self.health,
                publish=publish,
            ),
            stop=self.stop,
            offline=offline,
        )

    def value(self, name: str, **labels: str) -> float:
        return value(self.metrics.registry, name, **labels)

    def state(self, name: str) -> StreamStatus:
        return next(status for status in self.board.streams() if status.name == name)


@contextmanager
def running(around: Around, *pipelines: Pipeline) -> Iterator[None]:
    for pipeline in pipelines:
        pipeline.start()
    try:
        yield
    finally:
        around.stop.set()
        for pipeline in pipelines:
            pipeline.close()
            wait_until(lambda pipeline=pipeline: not pipeline.stream.running)  # type: ignore[misc]


def mp4(path: Path) -> dict[str, object]:
    return {"kind": "mp4", "path": path}


def events(path: Path) -> dict[str, object]:
    return {"kind": "events", "path": path}


class Faulty:
    """A real detector that raises at its calls with numbers in `bad`; a fake in that, since no real
    one can be made to fail on demand. After a fault it is made again once `may_go_on` is set."""

    name = description = "yunet"

    def __init__(self, bad: range) -> None:
        self._real = yunet().make()
        self._looks = 0
        self._bad = bad
        self.makes = self.closes = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    @property
    def choice(self) -> Choice:
        return Choice("yunet", self.description, None, self._make)

    def _make(self) -> Detector:
        if self._looks:
            assert self.may_go_on.wait(WAIT_S)
        self.makes += 1
        return self

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self._looks += 1
        if self._looks in self._bad:
            raise ValueError(f"look {self._looks} went wrong")
        return self._real.detect(image)

    def close(self) -> None:
        """Only counted: the detector is used again after a restart."""
        self.closes += 1
