"""The only thread that touches models: crops of all streams, classified in batches."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from classifiers.base import Classifier
from daemon.metrics import Metrics

log = logging.getLogger("affectd.batcher")

IDLE_S = 0.5  # how often an idle batcher says that it is alive


@dataclass(frozen=True, slots=True)
class Job:
    """One crop that waits to be classified.

    `image` is what the classifier reads; `token` comes back with the result, untouched. `turn`
    is the number of readings that its track had when it was cut.
    """

    stream: str
    track: int
    image: NDArray[np.uint8]
    token: object
    submitted_s: float
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Probabilities float32 [len(labels)] for a job, or the reason why there are none."""

    token: object
    probabilities: NDArray[np.float32] | None


Deliver = Callable[[Result], None]


@dataclass(slots=True)
class _Queued:
    """A live crop in the queue: the newest of its track, in the place of the oldest."""

    job: Job
    deliver: Deliver
    since_s: float


@dataclass(slots=True)
class _Waiting:
    """Jobs of one submission to keep, and where its results go."""

    jobs: list[Job]
    deliver: Deliver
    done: threading.Event = field(default_factory=threading.Event)


class Batcher:
    """Collects crops and classifies them, `max_batch` at a time.

    Live crops: a batch closes at `max_batch` crops or `max_wait_s` after its first. For each
    track only the newest waiting crop counts; a superseded one is dropped and counted. At most
    `queue_crops` wait; when full, the oldest is dropped and counted.

    Kept crops (files) are never dropped: `classify` holds its caller until they are done, and
    they share no batch with others, so that their results do not depend on who else is there.
    Where both wait they take turns.

    A batch that fails is dropped and counted, and the next one is tried; each kind of fault is
    logged once with its trace. `beat` is called when a batch was classified or none waits, so a
    model that fails for good stops the beat.
    """

    def __init__(
        self,
        classifier: Classifier,
        metrics: Metrics,
        *,
        max_batch: int,
        max_wait_s: float,
        queue_crops: int,
        clock: Callable[[], float] = time.monotonic,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.classifier = classifier
        self._metrics = metrics
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._queue_crops = queue_crops
        self._clock = clock
        self._beat = beat
        self._live: dict[tuple[str, int], _Queued] = {}  # in order of arrival
        self._kept: list[_Waiting] = []  # at most one a file stream: its thread waits
        self._changed = threading.Condition()
        self._stopping = False
        self._kept_had_turn = False
        self._faults: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name="batcher")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the batch at hand; waiting crops get no result."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def submit(self, job: Job, deliver: Deliver) -> None:
        """Queue a live crop; never waits. `deliver` is called on the batcher's thread."""
        key = (job.stream, job.track)
        with self._changed:
            if self._stopping:
                self._drop(job.stream, "stopping")
                return
            before = self._live.get(key)
            since_s = job.submitted_s
            if before is not None:
                since_s = before.since_s  # keeps its turn, or a fast camera would wait for ever
                self._drop(job.stream, "superseded")
            elif len(self._live) >= self._queue_crops:
                oldest = next(iter(self._live))
                del self._live[oldest]
                self._drop(oldest[0], "queue_full")
            self._live[key] = _Queued(job, deliver, since_s)
            self._changed.notify_all()

    def classify(self, jobs: Sequence[Job]) -> list[Result]:
        """Classify these crops before returning, in their order; for files."""
        results: list[Result] = []
        waiting = _Waiting(list(jobs), results.append)
        with self._changed:
            if self._stopping or not jobs:
                return [Result(job.token, None) for job in jobs]
            self._kept.append(waiting)
            self._changed.notify_all()
        waiting.done.wait()
        return results

    def forget(self, stream: str) -> None:
        """Drop what waits of a stream that went away."""
        with self._changed:
            for key in [key for key in self._live if key[0] == stream]:
                del self._live[key]
                self._drop(stream, "stream_gone")

    def _drop(self, stream: str, reason: str) -> None:
        self._metrics.dropped.labels(stream, "classify", reason).inc()

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if not batch or self._classify_batch(batch):
                    self._beat()
        finally:
            self._abandon()

    def _classify_batch(self, batch: list[tuple[Job, Deliver]]) -> bool:
        """Classify and deliver; False if the model failed."""
        model = self.classifier.name
        started_s = self._clock()
        for job, _ in batch:
            wait_s = started_s - job.submitted_s
            self._metrics.batch_wait_seconds.labels(model).observe(max(0.0, wait_s))
        rows: Sequence[NDArray[np.float32] | None] | None = None
        try:
            images = np.stack([job.image for job, _ in batch])
            turns = np.array([job.turn for job, _ in batch], np.int64)
            rows = list(self.classifier.predict(images, turns))
        except Exception as error:  # noqa: BLE001 - out of memory, a device that went away, a bug
            self._report(error, len(batch))
            for job, _ in batch:
                self._drop(job.stream, "error")
        self._metrics.classify_seconds.labels(model).observe(self._clock() - started_s)
        self._metrics.batch_crops.labels(model).observe(len(batch))
        for (job, deliver), row in zip(batch, rows or [None] * len(batch), strict=True):
            deliver(Result(job.token, row))
        self._release()
        return rows is not None

    def _report(self, error: Exception, crops: int) -> None:
        known = type(error) in self._faults
        self._faults.add(type(error))
        log.log(
            logging.DEBUG if known else logging.ERROR,
            "a batch of %d crops failed and is dropped; others like it are only counted: %s",
            crops,
            error,
            exc_info=None if known else error,
        )

    def _next_batch(self) -> list[tuple[Job, Deliver]] | None:
        """The next batch; empty after a while without one; None at the end."""
        with self._changed:
            if not (self._kept or self._live or self._stopping):
                self._changed.wait(IDLE_S)
            while not self._stopping:
                left_s = self._live_due_in_s()
                if self._kept and not (self._kept_had_turn and left_s <= 0.0):
                    self._kept_had_turn = True
                    return self._take_kept()
                self._kept_had_turn = False
                if not self._live:
                    return []
                if left_s <= 0.0:
                    keys = list(self._live)[: self._max_batch]
                    taken = [self._live.pop(key) for key in keys]
                    return [(queued.job, queued.deliver) for queued in taken]
                self._changed.wait(left_s)
            return None

    def _live_due_in_s(self) -> float:
        """Seconds until a live batch closes; infinite while no crop waits."""
        if not self._live:
            return math.inf
        if len(self._live) >= self._max_batch:
            return 0.0
        oldest_s = next(iter(self._live.values())).since_s
        return oldest_s + self._max_wait_s - self._clock()

    def _take_kept(self) -> list[tuple[Job, Deliver]]:
        first = self._kept[0]
        taken, first.jobs = first.jobs[: self._max_batch], first.jobs[self._max_batch :]
        return [(job, first.deliver) for job in taken]

    def _release(self) -> None:
        """Wake the caller whose kept crops are all done."""
        with self._changed:
            if self._kept and not self._kept[0].jobs:
                self._kept.pop(0).done.set()

    def _abandon(self) -> None:
        with self._changed:
            self._stopping = True
            for waiting in self._kept:
                for job in waiting.jobs:
                    waiting.deliver(Result(job.token, None))
                waiting.done.set()
            self._kept.clear()
            self._live.clear()
