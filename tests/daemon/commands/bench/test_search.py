"""The search for the most cameras that are carried: what they show, and how long it takes."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from daemon.commands.bench import run
from daemon.commands.bench.bar import Bar
from daemon.commands.bench.cameras import MOST, SimulatedCameras, carries, most
from daemon.commands.bench.clip import make_clip
from daemon.commands.bench.record import Load
from daemon.config.settings import Settings
from daemon.errors import Reason, SinkError
from daemon.models import Models
from daemon.monitoring.metrics import Metrics
from detectors.haar import Haar
from detectors.select import Choice
from tests.daemon.commands.bench.records import MAX_AGE_MS, a_load, a_record
from tests.daemon.sources.videos import frames_of


class Busy(SimulatedCameras):
    """Stands in for cameras, which take seconds."""

    def __init__(self) -> None:
        pass

    def show(self, clip: Path, cameras: int) -> None:
        pass

    def watch(self, seconds: float, tick: Callable[[], None] = lambda: None) -> Load:
        return a_load(1)


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 23, 100, MOST])
def test_the_most_that_is_carried_is_found(limit: int) -> None:
    """Within one camera, or a twentieth, and without trying every number."""
    tried: list[int] = []

    def probe(cameras: int) -> Load:
        tried.append(cameras)
        return a_load(cameras, 1.0 if cameras <= limit else 0.7)

    carried, failed = most(probe, MAX_AGE_MS, 16, lambda: False)
    found = carried.cameras if carried else 0
    assert limit * 0.95 - 1 < found <= limit
    assert (failed is None) == (limit >= MOST)
    assert len(tried) == len(set(tried)) <= 12


def test_without_time_the_search_ends_with_what_it_has() -> None:
    assert most(a_load, MAX_AGE_MS, 16, lambda: True) == (a_load(1), None)


def test_what_is_a_burden() -> None:
    assert carries(a_load(1), MAX_AGE_MS)
    assert carries(a_load(1, age_ms=None), MAX_AGE_MS)
    assert not carries(a_load(1, share=0.9), MAX_AGE_MS)
    assert not carries(a_load(1, age_ms=1001.0), MAX_AGE_MS)
    assert not carries(replace(a_load(9), worst_share=0.5), MAX_AGE_MS)
    assert not carries(replace(a_load(9), readings_a_face_s=0.5), MAX_AGE_MS)


def test_the_clip_is_as_a_camera_sends_it(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(clip, 320, 180, 15, 2, 10)
    with av.open(clip) as container:
        assert container.streams.video[0].codec_context.has_b_frames == 0
    frames = frames_of(clip)
    assert [frame.image.width for frame in frames] == [320] * 10
    assert frames[-1].pts_s == pytest.approx(9 / 15)


def test_a_full_disk_under_a_clip_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "480p.mp4").symlink_to("/dev/full")
    asked = replace(a_record(1, 1, 1).asked, fps=1, faces=1)
    bar = Bar(10.0, Console(file=io.StringIO()))
    with pytest.raises(SinkError, match=r"480p\.mp4: no room left") as hit:
        list(run.sizes(Busy(), asked, tmp_path, bar))
    assert hit.value.reason is Reason.DISK_FULL


def test_what_was_fetched_before_takes_no_time_of_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0
    monkeypatch.setattr("daemon.commands.bench.bar.time.monotonic", lambda: now_s)
    bar = Bar(10.0, Console(file=io.StringIO()))
    now_s = 300.0
    bar.begin()
    now_s = 301.0
    assert bar.left_s() == pytest.approx(9.0)


def test_the_smallest_size_is_measured_though_no_time_is_left(tmp_path: Path) -> None:
    asked = replace(a_record(1, 1, 1).asked, fps=1, faces=1)
    bar = Bar(0.0, Console(file=io.StringIO()))
    (found,) = run.sizes(Busy(), asked, tmp_path, bar)
    assert (found.height_px, found.most, found.failed) == (480, 1, None)


@pytest.mark.parametrize("sinks", [(), ("events",), ("mp4",)])
def test_pictures_are_drawn_whatever_is_written(tmp_path: Path, sinks: tuple[str, ...]) -> None:
    loaded, metrics = Models(Choice("haar", "haar", None, Haar), None), Metrics(CollectorRegistry())
    settings = Settings.model_validate({"stream": ({"name": "unused", "url": "demo://unused"},)})
    with SimulatedCameras(settings, loaded, metrics, 25, 1, sinks, tmp_path) as cameras:
        assert cameras._camera(tmp_path / "clip.mp4").has_pictures
