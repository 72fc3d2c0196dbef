"""Cameras, a batcher and its ladder on a clock that is simulated: with real ones no two runs would
be alike, and overload would take minutes."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from classifiers.base import Reads
from classifiers.expression import TTA
from classifiers.expression.tta import VIEW_COUNT
from daemon.classify.batcher import Batcher
from daemon.classify.jobs import Job, Result
from daemon.ladder import Ladder, Rung, rungs
from daemon.monitoring.metrics import Metrics

FACE = np.zeros((48, 48), np.uint8)


class World:
    """Simulated time: whoever waits or works lets it pass, and what is due meanwhile happens."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def clock(self) -> float:
        return self.now_s

    def at(self, when_s: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (when_s, self._number, do))

    def pass_(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, do = heapq.heappop(self._due)
            do()
        self.now_s = end_s

    def wait(self, seconds: float) -> None:
        """As a condition does: until something happens, or the time is over."""
        due_s = self._due[0][0] - self.now_s if self._due else seconds
        self.pass_(max(0.0, min(seconds, due_s)))


@dataclass
class Slow:
    """Takes `view_s` for each view; notes whom it read, when and how."""

    world: World
    view_s: float
    batch_s: float = 0.0
    tta: TTA = "ten_crop"
    name: str = "slow"
    reads: Reads = "face"
    labels: tuple[str, ...] = ("a", "b")
    device: str = "cpu"
    engine: str = "none"
    unknown_below: float = 0.0
    batches: list[int] = field(default_factory=list)

    @property
    def view_count(self) -> int:
        return VIEW_COUNT[self.tta]

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        self.world.pass_(self.batch_s + len(batch) * self.view_count * self.view_s)
        return np.full((len(batch), 2), 0.5, np.float32)


@dataclass
class Camera:
    """Shows `faces` at `fps` from `from_s` to `until_s`; its pictures come `late_s` old."""

    name: str
    faces: int
    fps: float = 25.0
    late_s: float = 0.02
    from_s: float = 0.0
    until_s: float = math.inf


class House:
    """Cameras and a batcher with its ladder. `read` holds, for each result, its stream, track,
    age when the batch began and when it was there, the time, and the views."""

    def __init__(
        self,
        cameras: list[Camera],
        *,
        view_s: float,
        batch_s: float = 0.0,
        max_batch: int = 16,
        queue_crops: int = 256,
        max_age_s: float = 1.0,
    ) -> None:
        self.world = World()
        self.metrics = Metrics(CollectorRegistry())
        self.model = Slow(self.world, view_s, batch_s)
        self.steps: list[tuple[float, Rung, bool]] = []
        self.ladder = Ladder(
            rungs(self.model.tta, VIEW_COUNT),
            max_age_s,
            clock=self.world.clock,
            on_rung=lambda rung, down: self.steps.append((self.world.now_s, rung, down)),
        )
        self.beats: list[float] = []
        self.submitted: Counter[str] = Counter()
        self.read: dict[str, list[tuple[int, float, float, int]]] = defaultdict(list)
        self.most_waiting = 0
        self.queue_crops = queue_crops

        def use(rung: Rung) -> None:
            self.model.tta = rung.tta

        self.batcher = Batcher(
            self.model,
            self.metrics,
            max_batch=max_batch,
            max_wait_s=0.01,
            queue_crops=queue_crops,
            ladder=self.ladder,
            use=use,
            clock=self.world.clock,
            wait=self.world.wait,
            beat=lambda: self.beats.append(self.world.now_s),
        )
        for camera in cameras:
            self.world.at(camera.from_s, partial(self._frame, camera, 0))

    def _frame(self, camera: Camera, number: int) -> None:
        now_s = self.world.now_s
        if now_s >= camera.until_s:
            return
        every = self.ladder.rung.thinning
        jobs = [
            Job(camera.name, track, FACE, None, now_s - camera.late_s, now_s)
            for track in range(camera.faces if number % every == 0 else 0)
        ]
        self.submitted[camera.name] += len(jobs)
        self.batcher.submit(jobs, self._deliver)
        self.most_waiting = max(self.most_waiting, len(self.batcher._live))
        self.world.at(now_s + 1.0 / camera.fps, lambda: self._frame(camera, number + 1))

    def _deliver(self, results: Sequence[Result]) -> None:
        now_s = self.world.now_s
        for result in results:
            assert result.probabilities is not None
            job = result.job
            age_s = now_s - job.captured_mono_s
            self.read[job.stream].append((job.track, now_s, age_s, result.view_count))

    def run(self, seconds: float) -> None:
        end_s = self.world.now_s + seconds
        while self.world.now_s < end_s:
            assert self.batcher.run_once()

    def dropped(self, name: str) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for family in self.metrics.dropped.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["stream"] == name
        }
