"""The batcher with a classifier whose answers are known: it must be a fake to be slow on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from daemon.classify.batcher import Batcher
from daemon.classify.jobs import Job, Result
from daemon.monitoring.metrics import Metrics
from tests.daemon.streams import Known, batcher_for, value
from tests.waiting import wait_until

WAIT_S = 60.0


@dataclass
class Echo(Known):
    """Gives each crop's first pixel back as a probability."""

    name: str = "echo"
    labels: tuple[str, ...] = ("a", "b")
    unknown_below: float = 0.0
    batches: list[int] = field(default_factory=list)

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        super().predict(batch, view_indices)
        p = batch[:, 0, 0].astype(np.float32) / 255
        return np.stack([p, 1 - p], axis=1)


class Inbox:
    """Collects results and lets a test wait for a number of them; `calls` counts deliveries."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.calls = 0
        self._came = threading.Condition()

    def __call__(self, results: Sequence[Result]) -> None:
        with self._came:
            self.results.extend(results)
            self.calls += 1
            self._came.notify_all()

    def wait_for(self, count: int) -> list[object]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.results) >= count, WAIT_S)
            return [result.job.context for result in self.results]


def job(track: int, value: int = 0, stream: str = "lobby") -> Job:
    image = np.full((48, 48), value, np.uint8)
    now_s = time.monotonic()
    return Job(stream, track, image, (track, value), now_s, now_s)


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def batcher(echo: Echo, metrics: Metrics) -> Iterator[Batcher]:
    made = batcher_for(echo, metrics, max_batch=4, max_wait_s=0.02, queue_crops=6)
    made.start()
    yield made
    echo.go.set()
    made.stop()


def dropped(metrics: Metrics, reason: str, stream: str = "lobby") -> float:
    name = "affectd_frames_dropped_total"
    return value(metrics.registry, name, stream=stream, stage="classify", reason=reason)


def test_crops_of_all_streams_share_a_batch(echo: Echo, metrics: Metrics) -> None:
    batcher = batcher_for(echo, metrics, max_batch=4, max_wait_s=WAIT_S, queue_crops=6)
    batcher.start()
    inbox = Inbox()
    echo.go.set()
    for stream in ("a", "b", "c", "d"):
        batcher.submit([job(1, 51, stream)], inbox)
    inbox.wait_for(4)
    batcher.stop()
    assert echo.batches == [4]
    waited_s = value(metrics.registry, "affectd_batch_wait_seconds_sum", model="echo")
    assert 0.0 <= waited_s < 4 * WAIT_S
    assert value(metrics.registry, "affectd_batch_crops_sum", model="echo") == 4
    first = inbox.results[0].probabilities
    assert first is not None
    assert first == pytest.approx([0.2, 0.8])


def test_a_stream_hears_once_of_each_batch(batcher: Batcher, echo: Echo) -> None:
    """1. The model is held by a first crop. 2. Two streams submit six crops, more than a batch.
    3. Each hears of its crops in both batches, once."""
    first, one, two = Inbox(), Inbox(), Inbox()
    batcher.submit([job(0, stream="x")], first)
    assert echo.entered.wait(WAIT_S)
    batcher.submit([job(track, stream="one") for track in (1, 2, 3)], one)
    batcher.submit([job(track, stream="two") for track in (1, 2, 3)], two)
    echo.go.set()
    assert one.wait_for(3) == two.wait_for(3) == [(1, 0), (2, 0), (3, 0)]
    assert (echo.batches, one.calls, two.calls) == ([1, 4, 2], 2, 2)


def test_a_batch_closes_after_its_wait_though_it_is_not_full(batcher: Batcher, echo: Echo) -> None:
    echo.go.set()
    inbox = Inbox()
    batcher.submit([job(1)], inbox)
    assert inbox.wait_for(1) == [(1, 0)]


def test_only_the_newest_crop_of_a_track_counts(
    batcher: Batcher, echo: Echo, metrics: Metrics
) -> None:
    """1. The model is held by a first crop. 2. Track 7 is submitted three times. 3. One result."""
    inbox = Inbox()
    batcher.submit([job(1)], inbox)
    assert echo.entered.wait(WAIT_S)
    for grey in (10, 20, 30):
        batcher.submit([job(7, grey)], inbox)
    echo.go.set()
    assert inbox.wait_for(2) == [(1, 0), (7, 30)]
    assert dropped(metrics, "superseded") == 2


def test_a_full_queue_turns_away_who_has_waited_least_and_counts_it(
    batcher: Batcher, echo: Echo, metrics: Metrics
) -> None:
    inbox = Inbox()
    batcher.submit([job(0)], inbox)
    assert echo.entered.wait(WAIT_S)
    for track in range(1, 9):  # two more than there is room for
        batcher.submit([job(track)], inbox)
    echo.go.set()
    assert [token[0] for token in inbox.wait_for(7)] == [0, 1, 2, 3, 4, 5, 6]  # type: ignore[index]
    assert dropped(metrics, "queue_full") == 2


def test_crops_of_a_file_are_all_classified_in_batches_of_their_own(
    batcher: Batcher, echo: Echo, metrics: Metrics
) -> None:
    """Though live crops wait beside them, with which they take turns, and though they are more
    than the queue holds."""
    inbox = Inbox()
    batcher.submit([job(0)], inbox)
    assert echo.entered.wait(WAIT_S)
    batcher.submit([job(1, stream="other")], inbox)
    kept: list[Result] = []
    caller = threading.Thread(
        target=lambda: kept.extend(batcher.classify([job(t, t, "film") for t in range(9)]))
    )
    caller.start()
    wait_until(lambda: batcher._files)
    time.sleep(0.05)  # The live crop is due, too.
    echo.go.set()
    caller.join(WAIT_S)
    assert [result.job.context for result in kept] == [(t, t) for t in range(9)]
    inbox.wait_for(2)
    assert echo.batches == [1, 4, 1, 4, 1]
    assert dropped(metrics, "queue_full", "film") == 0


def test_a_failing_model_drops_the_batch_and_the_next_one_works(
    batcher: Batcher, echo: Echo, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    echo.go.set()
    echo.fails = RuntimeError("out of memory")
    inbox = Inbox()
    batcher.submit([job(1)], inbox)
    inbox.wait_for(1)
    assert inbox.results[0].probabilities is None
    assert "out of memory" in caplog.text
    for _ in range(3):
        batcher.submit([job(1)], inbox)
        inbox.wait_for(len(inbox.results) + 1)
    assert [result.probabilities for result in inbox.results] == [None] * 4
    assert caplog.text.count("Traceback") == 1
    echo.fails = None
    batcher.submit([job(1)], inbox)
    inbox.wait_for(5)
    assert inbox.results[4].probabilities is not None


def test_a_model_that_fails_for_good_stops_the_beat(echo: Echo, metrics: Metrics) -> None:
    """
    So health finds it, and systemd starts affectd anew.

    1. A batch fails. 2. No crop comes: the model is tried, fails still, and nothing beats, nor is
    anything of these tries delivered. 3. It works again, and so does the beat.
    """
    echo.go.set()
    echo.fails = RuntimeError("out of memory")
    beats: list[str] = []
    made = batcher_for(
        echo,
        metrics,
        max_batch=1,
        max_wait_s=0.0,
        queue_crops=4,
        wait=lambda seconds: None,
        beat=lambda: beats.append("beat"),
    )
    inbox = Inbox()
    made.submit([job(1)], inbox)
    for _ in range(3):
        made.run_once()
    assert (beats, echo.batches, len(inbox.results)) == ([], [1, 1, 1], 1)
    echo.fails = None
    for _ in range(3):
        made.run_once()
    assert (len(beats), echo.batches) == (3, [1, 1, 1, 1])


def test_a_stopped_batcher_keeps_no_crops(batcher: Batcher, echo: Echo, metrics: Metrics) -> None:
    echo.go.set()
    batcher.stop()
    for track in range(3):
        batcher.submit([job(track)], Inbox())
    assert dropped(metrics, "stopping") == 3
    assert [result.probabilities for result in batcher.classify([job(1)])] == [None]


def test_a_batch_that_hangs_is_left_behind_with_a_warning(
    batcher: Batcher, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    batcher.submit([job(1)], Inbox())
    assert echo.entered.wait(WAIT_S)
    batcher.stop(0.05)
    assert "the batch at hand did not end in 0.05 s" in caplog.text


def test_files_do_not_starve_cameras(batcher: Batcher, echo: Echo) -> None:
    """Two files always have crops waiting; a camera's crop has its turn all the same."""
    echo.go.set()
    done = threading.Event()

    def film(name: str) -> None:
        while not done.is_set():
            batcher.classify([job(track, 0, name) for track in range(4)])

    films = [threading.Thread(target=film, args=(name,)) for name in ("one", "two")]
    for thread in films:
        thread.start()
    inbox = Inbox()
    try:
        for round_ in range(1, 6):
            batcher.submit([job(round_)], inbox)
            inbox.wait_for(round_)
    finally:
        done.set()
        for thread in films:
            thread.join(WAIT_S)
    assert [token[0] for token in inbox.wait_for(5)] == [1, 2, 3, 4, 5]  # type: ignore[index]


def test_stop_wakes_a_caller_whose_crops_will_not_be_classified(echo: Echo) -> None:
    metrics = Metrics(CollectorRegistry())
    batcher = batcher_for(echo, metrics, max_batch=1, max_wait_s=0.0, queue_crops=4)
    batcher.start()
    results: list[Result] = []
    caller = threading.Thread(
        target=lambda: results.extend(batcher.classify([job(1), job(2), job(3)]))
    )
    caller.start()
    assert echo.entered.wait(WAIT_S)
    batcher.submit([job(4)], Inbox())
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    echo.go.set()
    stopper.join(WAIT_S)
    caller.join(WAIT_S)
    assert not caller.is_alive()
    assert [result.job.context for result in results] == [(1, 0), (2, 0), (3, 0)]
    assert dropped(metrics, "stopping") == 1


def test_forgetting_a_stream_leaves_the_others(
    batcher: Batcher, echo: Echo, metrics: Metrics
) -> None:
    inbox = Inbox()
    batcher.submit([job(0, stream="x")], inbox)
    assert echo.entered.wait(WAIT_S)
    batcher.submit([job(1, stream="gone")], inbox)
    batcher.submit([job(2, stream="stays")], inbox)
    batcher.forget("gone")
    echo.go.set()
    assert inbox.wait_for(2) == [(0, 0), (2, 0)]
    assert dropped(metrics, "stream_gone", "gone") == 1


@pytest.mark.parametrize("is_live", [True, False])
def test_an_idle_batcher_is_woken_by_a_crop(
    echo: Echo, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    monkeypatch.setattr("daemon.classify.batcher.IDLE_S", 10 * WAIT_S)
    idle = threading.Event()

    def wait(seconds: float) -> None:
        idle.set()
        made._changed.wait(seconds)

    made = batcher_for(echo, metrics, max_batch=1, max_wait_s=0.0, queue_crops=1, wait=wait)
    inbox = Inbox()
    echo.go.set()
    made.start()
    assert idle.wait(WAIT_S)
    if is_live:
        made.submit([job(1)], inbox)
    else:
        threading.Thread(target=lambda: inbox(made.classify([job(1)])), daemon=True).start()
    assert inbox.wait_for(1) == [(1, 0)]
    made.stop()


def test_each_crop_brings_its_view(batcher: Batcher, echo: Echo) -> None:
    echo.go.set()
    batcher.classify([replace(job(track), view_index=10 * track) for track in range(3)])
    assert echo.view_indices == [0, 10, 20]
