"""What is made of the cameras that run: their figures, their faults, their files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from daemon.commands.bench import cameras as module
from daemon.commands.bench.cameras import START_S, SimulatedCameras
from daemon.config.settings import Settings
from daemon.errors import SourceError
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.monitoring.metrics import Metrics
from daemon.reading import Reading
from detectors.haar import Haar
from detectors.select import Choice

FPS, FACES = 20, 2
SETTINGS = Settings.model_validate({"stream": ({"name": "unused", "url": "demo://unused"},)})


class Clock:
    """Stands in for `time`: who sleeps moves it on, and half of that is computed."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return 0.5 * self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Told(SimulatedCameras):
    """Cameras whose pictures are counted by the test, which need no time to begin."""

    shown: list[int]
    metrics: Metrics

    def _frames(self) -> list[int]:
        return list(self.shown)

    def reads(self, age_ms: float) -> None:
        """Of a reading nothing else is looked at."""
        self._readings.append(cast(Reading, SimpleNamespace(age_ms=age_ms)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(module, "time", found)
    return found


@pytest.fixture
def two(clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    def replace(fleet: Fleet, *given: Any, **more: Any) -> None:
        """Begins and ends nothing."""

    monkeypatch.setattr(Fleet, "replace", replace)
    metrics = Metrics(CollectorRegistry())
    loaded = Models(Choice("haar", "haar", None, Haar), None)
    told = Told(SETTINGS, loaded, metrics, FPS, FACES, ("mp4", "events"), tmp_path)
    with told:
        told.show(tmp_path / "clip.mp4", 2)
        told.shown, told.metrics = [1, 1], metrics
        yield told


def test_figures_are_of_the_time_that_is_watched(two: Told, clock: Clock) -> None:
    """One camera gets all through, the other a quarter; every face is read ten times a second.
    What was read while they settled is old."""
    began_s = clock.now_s + module.SETTLE_S
    seen: list[float] = []

    def tick() -> None:
        if clock.now_s < began_s - 0.01:
            two.reads(9999.0)
            return
        seen.append(clock.now_s)
        two.shown[0] = 1 + len(seen)
        two.shown[1] = 1 + len(seen) // 4
        for _ in range(len(two.shown) * FACES // 2):
            two.reads(float(len(seen)))

    load = two.watch(5.0, tick)
    assert load.cameras == 2
    assert (load.worst_share, load.frames_share) == pytest.approx((0.25, 0.625), abs=0.02)
    assert load.readings_a_face_s == pytest.approx(10.0, abs=0.3)
    assert (load.age_p50_ms, load.age_p99_ms) == pytest.approx((50.0, 99.0), abs=5.0)
    assert load.cpu_cores == pytest.approx(0.5)


def test_cameras_that_show_nothing_measure_nothing(two: Told, clock: Clock) -> None:
    two.shown, began_s = [0, 0], clock.now_s
    with pytest.raises(SourceError, match=r"give no picture: none came within 8 s"):
        two.watch(1.0)
    assert clock.now_s - began_s == pytest.approx(START_S, abs=0.1)


def test_a_classifier_that_fails_under_them_is_said(two: Told) -> None:
    """Without its work far more would be carried. A crop that came too late is no fault."""
    two.metrics.dropped.labels("camera-1", "classify", "superseded").inc()
    assert two.watch(1.0).cameras == 2
    two.metrics.dropped.labels("camera-1", "classify", "error").inc()
    with pytest.raises(SourceError, match="does not work: the classifier fails"):
        two.watch(1.0)


def test_what_a_camera_wrote_goes_with_it(two: Told, tmp_path: Path) -> None:
    """Minutes of many of them would fill the disk."""
    for name in ("camera-1.mp4", "camera-2.jsonl"):
        (tmp_path / name).touch()
    two.show(tmp_path / "clip.mp4", 1)
    (tmp_path / "camera-3.mp4").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["camera-3.mp4"]


def test_a_camera_goes_on_when_its_clip_is_over(two: Told, tmp_path: Path) -> None:
    camera = two._camera(tmp_path / "clip.mp4")
    assert camera.loop
    assert camera.is_live
