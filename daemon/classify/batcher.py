"""The only thread that touches models: crops of all streams, classified in batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classifiers.base import Classifier
from classifiers.expression.crop import FACE_PX
from daemon.classify.crop_queue import CropQueue, Queued
from daemon.classify.jobs import Deliver, Job, Result
from daemon.ladder import Ladder, Rung
from daemon.monitoring.metrics import Metrics
from daemon.traces import Traces
from daemon.worker import Worker

log = logging.getLogger("affectd.batcher")

IDLE_S = 0.5  # how often an idle batcher beats, and a thread that waits in `classify`
_BLANK = np.zeros((FACE_PX, FACE_PX), np.uint8)


@dataclass(slots=True)
class _FileCrops:
    """Crops of a file that were asked for together, and their results so far."""

    jobs: list[Job]
    results: list[Result] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class Batcher(Worker):
    """Collects crops and classifies them, `max_batch` at a time.

    Live crops: a batch closes at `max_batch` crops or `max_wait_s` after its first. `CropQueue`
    decides whose turn it is and what is dropped, which is counted: at most `queue_crops` wait, and
    none is classified whose picture is older than the `ladder` allows. The ladder also decides how
    many views each crop gets; `use` sets that in the classifier before each batch, in the batcher's
    thread.

    A file's crops are never dropped and always get all their views: `classify` blocks its caller
    until they are done, and they share no batch with others, so that their results do not depend on
    other streams. When live crops wait too, both kinds take turns.

    A batch that fails is delivered without probabilities, and the next one is tried; `Traces`
    decides which faults are logged as errors. `beat` is called when a batch was classified or none
    waits. After a failed batch an idle batcher tries the model on a blank crop, and beats only if
    that works: a model that fails for good stops the beat, however few the crops.

    `clock` (monotonic, in seconds) and `wait` (sleeps for the seconds until a batch closes, or
    less) are replaced in tests only.
    """

    def __init__(
        self,
        classifier: Classifier,
        metrics: Metrics,
        *,
        max_batch: int,
        max_wait_s: float,
        queue_crops: int,
        ladder: Ladder,
        use: Callable[[Rung], None],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("batcher")
        self.classifier = classifier
        self.ladder = ladder
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._use = use
        self._clock = clock
        self._beat = beat
        self._live = CropQueue(queue_crops, self._give_up, max_age_s=ladder.max_age_s)
        self._files: list[_FileCrops] = []  # at most one for each file stream, whose thread waits
        self._changed = threading.Condition()
        self._wait = wait or self._changed.wait
        self._stopping = False
        self._files_had_turn = False
        self._failing = False  # whether the last batch failed
        self._traces = Traces(clock)
        model = classifier.name
        self._waited = metrics.batch_wait_seconds.labels(model)
        self._took = metrics.classify_seconds.labels(model)
        self._crops = metrics.batch_crops.labels(model)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the batch at hand, or warn after `timeout_s`; waiting crops get no result."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if not self.join(timeout_s):
            log.warning("the batch at hand did not end in %g s", timeout_s)

    def submit(self, jobs: Sequence[Job], deliver: Deliver) -> None:
        """Queue live crops; never waits. `deliver` is called on the batcher's thread, after each
        batch that holds some of them."""
        if not jobs:
            return  # A frame without faces wakes nobody.
        with self._changed:
            for job in jobs:
                if self._stopping:
                    self._drop(job.stream, "stopping")
                else:
                    self._live.put(job, deliver)
            self._changed.notify_all()

    def classify(
        self, jobs: Sequence[Job], beat: Callable[[], None] = lambda: None
    ) -> list[Result]:
        """Classify these crops before returning, in their order; for files. `beat` is called while
        they wait: if the model hangs, the batcher's own beat stops."""
        file = _FileCrops(list(jobs))
        with self._changed:
            if self._stopping or not jobs:
                return [Result(job, None) for job in jobs]
            self._files.append(file)
            self._changed.notify_all()
        while not file.done.wait(IDLE_S):
            beat()
        return file.results

    def forget(self, stream: str) -> None:
        """Drop the waiting crops of a stream that ends."""
        with self._changed:
            self._live.forget(stream)

    def run_once(self) -> bool:
        """Classify the next batch, if one comes within `IDLE_S`. False once it is to stop."""
        with self._changed:
            if not (self._files or self._live or self._stopping):
                self._wait(IDLE_S)
            if self._stopping:
                return False
            file, live = self._next_batch()
        if file is not None:
            self._classify_file(file)
        elif live:
            self._classify_live(live)
        elif self._failing:
            self._predict([_BLANK], [0])
        self.ladder.decide()
        if not self._failing:
            self._beat()
        return True

    def run(self) -> None:
        try:
            while self.run_once():
                pass
        finally:
            self._abandon()

    def _next_batch(self) -> tuple[_FileCrops | None, list[Queued]]:
        """The next batch: of a file, or of live crops; neither where none wait, or at the end."""
        while not self._stopping:
            left_s = self._live_due_in_s()
            if self._files and not (self._files_had_turn and left_s <= 0.0):
                self._files_had_turn = True
                return self._files[0], []
            self._files_had_turn = False
            if not self._live:
                break
            if left_s <= 0.0:
                return None, self._live.take(self._max_batch, self._clock())
            self._wait(left_s)
        return None, []

    def _live_due_in_s(self) -> float:
        """Seconds until a live batch closes; infinite while no crop waits."""
        if len(self._live) >= self._max_batch:
            return 0.0
        return self._live.first_s() + self._max_wait_s - self._clock()

    def _classify_file(self, file: _FileCrops) -> None:
        """Classify the next of a file's crops, and wake their owner after the last."""
        jobs, file.jobs = file.jobs[: self._max_batch], file.jobs[self._max_batch :]
        self._use(self.ladder.top)
        rows = self._read(jobs)
        views = self.classifier.view_count
        file.results += [Result(job, row, views) for job, row in zip(jobs, rows, strict=True)]
        if not file.jobs:
            with self._changed:
                self._files.remove(file)
            file.done.set()

    def _classify_live(self, live: list[Queued]) -> None:
        self._use(self.ladder.rung)
        began_s = self._clock()
        rows = self._read([queued.job for queued in live])
        views, done_s = self.classifier.view_count, self._clock()
        if not self._failing:
            self.ladder.saw([queued.waited(done_s) for queued in live], done_s - began_s)
        results: dict[Deliver, list[Result]] = {}
        for queued, row in zip(live, rows, strict=True):
            results.setdefault(queued.deliver, []).append(Result(queued.job, row, views))
        for deliver, its_own in results.items():
            deliver(its_own)

    def _read(self, jobs: Sequence[Job]) -> Sequence[NDArray[np.float32] | None]:
        """A row of probabilities for each job, or None for each if the model failed."""
        began_s = self._clock()
        for job in jobs:
            self._waited.observe(max(0.0, began_s - job.submitted_s))
        rows = self._predict([job.image for job in jobs], [job.view_index for job in jobs])
        self._took.observe(self._clock() - began_s)
        self._crops.observe(len(jobs))
        return rows

    def _predict(
        self, images: Sequence[NDArray[np.uint8]], view_indices: Sequence[int]
    ) -> Sequence[NDArray[np.float32] | None]:
        """A row of probabilities for each crop, or None for each if the model failed."""
        try:
            rows = list(self.classifier.predict(np.stack(images), np.array(view_indices, np.int64)))
        except Exception as error:  # noqa: BLE001 - out of memory, a device that went away, a bug
            self._failing = True
            what = "a batch of %d crops failed and is dropped; others like it are only counted: %s"
            self._traces.log(log, error, what, len(images), error)
            return [None] * len(images)
        self._failing = False
        return rows

    def _give_up(self, queued: Queued, reason: str) -> None:
        if reason == "too_old":
            self.ladder.gave_up(queued.waited(self._clock()))
        self._drop(queued.job.stream, reason)

    def _drop(self, stream: str, reason: str) -> None:
        self._metrics.dropped.labels(stream, "classify", reason).inc()

    def _abandon(self) -> None:
        with self._changed:
            self._stopping = True
            for file in self._files:
                file.results += [Result(job, None) for job in file.jobs]
                file.done.set()
            self._files.clear()
            self._live.clear("stopping")
