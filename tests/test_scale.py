"""Many streams and many faces, without cameras and models: what one costs stays what it costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from classifiers.expression import LABELS
from daemon.config.settings import OverlaySettings, TrackingSettings
from daemon.draw.overlay import Overlay
from daemon.monitoring.metrics import Metrics
from daemon.reading import FaceView
from daemon.track import Tracker
from detectors.base import Detection
from tests.bench.parts.sites import Knowing, pictures, site
from tests.bench.scale import resident_mb
from tests.waiting import wait_until

STREAMS = 12
THREADS_A_STREAM = 3  # capture, stream, and one a sink
MB_A_STREAM = 8.0


def test_each_stream_has_its_threads_and_little_memory(tmp_path: Path) -> None:
    """1. One site warms what is made once. 2. Twelve streams run until each was read.
    3. All their threads end."""
    with site(1, 2, 10.0, tmp_path) as warm:
        wait_until(lambda: len(warm.readings) >= 2)
    before, mb = set(threading.enumerate()), resident_mb()

    def threads() -> set[threading.Thread]:
        return set(threading.enumerate()) - before

    with site(STREAMS, 2, 10.0, tmp_path) as running:
        streams = running.board.streams
        wait_until(lambda: all(status.frames >= 3 for status in streams()))
        wait_until(lambda: len({reading.stream for reading in running.readings}) == STREAMS)
        assert len(threads()) == STREAMS * THREADS_A_STREAM + 1  # the batcher
        assert resident_mb() - mb < STREAMS * MB_A_STREAM
    wait_until(lambda: not threads())


def test_series_grow_with_streams_and_not_with_their_faces(tmp_path: Path) -> None:
    def series(streams: int, faces: int) -> int:
        with site(streams, faces, 20.0, tmp_path) as running:
            wanted = streams * faces
            wait_until(lambda: len({(r.stream, r.track) for r in running.readings}) >= wanted)
            registry: CollectorRegistry = running.metrics.registry
            return sum(len(family.samples) for family in registry.collect())

    one = series(1, 1)
    assert series(1, 30) == one
    assert series(4, 1) <= 4 * one


def cpu_s(work: Callable[[], object], rounds: int = 7) -> float:
    """The least processor time of this thread: what others do on the machine only adds to it."""
    times_s = []
    for _ in range(rounds):
        began_s = time.thread_time()
        work()
        times_s.append(time.thread_time() - began_s)
    return min(times_s)


def looks(faces: int) -> list[list[Detection]]:
    """Where a detector finds them in each of some frames."""
    knowing = Knowing(faces)
    return [knowing.detect(np.zeros((1080, 1920, 3), np.uint8)) for _ in range(5)]


def test_eight_times_the_faces_are_tracked_for_less_than_thirty_times_the_price() -> None:
    """Quadratic would be 64 times. The assignment itself is, with a small constant."""

    def track(found: list[list[Detection]]) -> None:
        tracker = Tracker(TrackingSettings())
        for index, detections in enumerate(found):
            assert len(tracker.update(detections, index / 15)) == len(detections)

    few, many = looks(25), looks(200)
    assert cpu_s(lambda: track(many)) < 30.0 * cpu_s(lambda: track(few))


@pytest.mark.parametrize("bars", [True, False])
def test_sixteen_times_the_faces_are_drawn_for_less_than_36_times_the_price(bars: bool) -> None:
    """Linear is 16 times; a machine with small caches makes it 26, and labels that each look at
    all faces 48."""
    shares = {label: 0.9 if label == "happy" else 0.1 / 6 for label in LABELS}
    overlay, image = Overlay(OverlaySettings(bars=bars)), pictures(1920, 1080)[0]

    def draw(faces: list[Detection]) -> None:
        views = []
        for index, face in enumerate(faces):
            box = face.box
            whole = round(box.x), round(box.y), round(box.width), round(box.height)
            views.append(FaceView(index, whole, "happy", shares, 0.1))
        overlay.draw(image, views)

    few, many = looks(50)[0], looks(800)[0]
    assert cpu_s(lambda: draw(many), 4) < 36.0 * cpu_s(lambda: draw(few))


def test_counting_costs_the_same_beside_many_streams() -> None:
    """One stream's counters, alone and among 64."""
    metrics = Metrics(CollectorRegistry())

    def count() -> None:
        for _ in range(2000):
            metrics.frames.labels("camera-0").inc()
            metrics.stage_seconds.labels("camera-0", "detect").observe(0.01)

    metrics.add_stream("camera-0", ["mp4"])
    alone_s = cpu_s(count)
    for index in range(1, 64):
        metrics.add_stream(f"camera-{index}", ["mp4"])
    assert cpu_s(count) < 3.0 * alone_s
