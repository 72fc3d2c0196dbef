"""A whole stream, from its source to its sinks and to those who read over HTTP."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from classifiers.expression.classifier import ExpressionClassifier
from daemon import pipeline as pipeline_module
from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings, StreamSettings
from daemon.errors import Reason, SinkError
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, StreamStatus
from daemon.pipeline import Pipeline
from daemon.reading import Reading
from daemon.sinks.feed import JpegFeed
from daemon.sinks.playlist import Playlist
from detectors.base import Detection, Detector
from detectors.select import Choice
from tests.daemon.sinks.writers import Gated
from tests.daemon.streams import (
    TALKING,
    WAIT_S,
    Known,
    batching,
    free,
    value,
    yunet,
)
from tests.media import write_clip
from tests.nets import save_tiny
from tests.serving import serving
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = needs_shared

DEMO = "demo://{name}?faces=1&size=320x240&fps=10&seed=3"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks on a busy machine may take long to finish their files."""
    monkeypatch.setattr(pipeline_module, "CLOSE_S", WAIT_S)


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
        once: bool = False,
        policy: str = "auto",
    ) -> Pipeline:
        table = {"name": name, "url": url, "policy": policy, "sink": sinks}
        stream = StreamSettings.model_validate(table, strict=False)
        return Pipeline(
            stream,
            Settings(stream=(stream,)),
            Models(detector or yunet(), batcher),
            metrics=self.metrics,
            board=self.board,
            health=self.health,
            stop=self.stop,
            jpegs=JpegFeed(),
            playlist=Playlist(),
            publish=publish,
            once=once,
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


def pictures_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_gives_one_reading_for_each_face_of_each_frame(tmp_path: Path) -> None:
    """
    1. A clip of 75 pictures of one face goes into an MP4 and into events, by real models.
    2. Every picture is there; every face has its reading, in order; nothing was dropped.
    3. What was counted agrees. 4. Once the stream is removed, nothing of it is left.
    """
    around = Around()
    net = ExpressionClassifier.load(
        save_tiny(tmp_path / "tiny.safetensors"), device="cpu", tta="none"
    )
    read, film = tmp_path / "read.jsonl", tmp_path / "film.mp4"
    with batching(net, around.metrics) as batcher:
        pipeline = around.pipeline(
            batcher, "film", str(TALKING), mp4(film), events(read), once=True
        )
        pipeline.start()
        wait_until(lambda: not pipeline.running, 60.0)
        pipeline.close()
    assert pipeline.error is None
    assert around.state("film").state == "ended"
    assert pictures_in(film) == 75
    lines = [json.loads(line) for line in read.read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(75))
    assert {line["track"] for line in lines} == {1}

    readings = {line["label"]: 0 for line in lines}
    for line in lines:
        readings[line["label"]] += 1
    for label, times in readings.items():
        counted = around.value("affectd_readings_total", stream="film", expression=label)
        assert counted == times
    seconds = [
        around.value("affectd_expression_face_seconds_total", stream="film", expression=label)
        for label in readings
    ]
    assert sum(seconds) == pytest.approx(74 / 25, abs=0.01)
    assert around.value("affectd_frames_total", stream="film") == 75
    for stage in ("decode", "detect", "track", "overlay", "encode"):
        count = around.value("affectd_stage_seconds_count", stream="film", stage=stage)
        assert count >= 75, stage
    assert around.value("affectd_classify_seconds_count", model=net.name) == 75
    for sample in samples(around, "film"):
        if sample.name == "affectd_frames_dropped_total":
            assert sample.value == 0.0, sample
    assert around.value("affectd_faces", stream="film") == 0

    around.metrics.remove_stream("film")
    assert samples(around, "film") == []


def samples(around: Around, stream: str) -> list[Sample]:
    return [
        sample
        for family in around.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("stream") == stream
    ]


def test_readings_reach_those_who_listen_over_http() -> None:
    """A live stream beside a real web server; one line of /events is a reading of it."""
    with serving() as house:
        around = Around(house.metrics, house.board, house.health)
        with batching(free(), around.metrics) as batcher:
            pipeline = around.pipeline(
                batcher, "lobby", DEMO.format(name="a"), publish=house.readings.publish
            )
            with (
                running(around, pipeline),
                house.client() as client,
                client.stream("GET", "/events") as answer,
            ):
                lines = (line for line in answer.iter_lines() if line.startswith("data:"))
                reading = json.loads(next(lines).removeprefix("data:"))
    assert reading["stream"] == "lobby"
    assert reading["label"] in ("happy", "unknown")
    assert reading["age_ms"] > 0.0


class Faulty:
    """A real detector whose looks number `bad` raise. A fake in that, since none of the real ones
    can be made to fail on demand. After a fault it is there again once `may_go_on` is set."""

    name = "yunet"

    def __init__(self, bad: range) -> None:
        self._real = yunet().make()
        self._looks = 0
        self._bad = bad
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def make(self) -> Detector:
        if self._looks:
            assert self.may_go_on.wait(WAIT_S)
        return self

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self._looks += 1
        if self._looks in self._bad:
            raise ValueError(f"look {self._looks} went wrong")
        return self._real.detect(image)

    def close(self) -> None:
        """It is used again after a restart."""


def test_a_fault_restarts_its_stream_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """
    1. Two cameras run; the detector of one raises twice.
    2. That stream is down with its reason, then goes on; its trace was logged once.
    3. The other one's frames come meanwhile.
    """
    caplog.set_level(logging.DEBUG, "affectd.stream")
    around = Around()
    other: list[Reading] = []
    read: list[Reading] = []
    with batching(free(), around.metrics) as batcher:
        detector = Faulty(range(4, 6))
        detector.may_go_on.clear()
        faulty: Choice = detector  # type: ignore[assignment]
        bad = around.pipeline(
            batcher, "bad", DEMO.format(name="b"), detector=faulty, publish=read.append
        )
        good = around.pipeline(batcher, "good", DEMO.format(name="c"), publish=other.append)
        with running(around, bad, good):
            wait_until(lambda: around.state("bad").state == "down")
            state = around.state("bad")
            assert (state.reason, state.last_error) == (
                Reason.INTERNAL,
                "ValueError: look 4 went wrong",
            )
            assert around.value("affectd_stream_up", stream="bad") == 0
            before = len(other)
            wait_until(lambda: len(other) >= before + 10)
            wait_until(lambda: around.value("affectd_stream_up", stream="good") == 1)
            assert around.state("bad").state == "down"
            seen = len(read)
            detector.may_go_on.set()
            wait_until(lambda: len(read) >= seen + 3)
            wait_until(lambda: around.state("bad").state == "live")
            wait_until(lambda: around.value("affectd_stream_up", stream="bad") == 1)
    counted = {"stream": "bad", "reason": "internal"}
    assert around.value("affectd_stream_reconnects_total", **counted) == 2
    lost = {"stream": "bad", "stage": "stream", "reason": "error"}
    assert around.value("affectd_frames_dropped_total", **lost) == 2
    told = [r for r in caplog.records if "it starts anew" in r.getMessage()]
    assert [bool(record.exc_info) for record in told] == [True, False]
    assert [record.levelname for record in told] == ["ERROR", "DEBUG"]


def test_stopping_in_mid_work_ends_in_time_and_finishes_the_film(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The classifier holds the stream's thread in the middle of a frame of a file."""
    around, known = Around(), Known()
    film = tmp_path / "film.mp4"
    known.go.set()
    with batching(known, around.metrics) as batcher:
        pipeline = around.pipeline(batcher, "film", str(TALKING), mp4(film))
        pipeline.start()
        wait_until(lambda: around.state("film").frames >= 5)
        known.entered.clear()
        known.go.clear()
        assert known.entered.wait(WAIT_S)
        around.stop.set()
        began_s = time.monotonic()
        pipeline.close()
        assert time.monotonic() - began_s < WAIT_S / 2
        assert "film: the stream did not end in 2 s" in caplog.text
    pipeline.stream.join(WAIT_S)
    assert not pipeline.stream.running
    assert pictures_in(film) >= 5


def test_a_sink_that_hangs_takes_no_time_from_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two hangs until the second is closed: they are asked at once."""
    hung = Gated()

    class Other(Gated):
        def close(self) -> None:
            super().close()
            hung.gate.set()

    other = Other()
    other.gate.set()
    sinks = [hung, other]
    monkeypatch.setattr(pipeline_module, "make_sink", lambda *_, **__: sinks.pop(0))
    around = Around()
    files = events(tmp_path / "a.jsonl"), events(tmp_path / "b.jsonl")
    pipeline = around.pipeline(None, "lobby", DEMO.format(name="d"), *files)
    with running(around, pipeline):
        assert hung.entered.wait(WAIT_S)
        assert other.entered.wait(WAIT_S)
    assert "did not end" not in caplog.text
    assert (hung.closes, other.closes) == (1, 1)


def test_all_threads_end_and_no_loop_is_watched_any_more(tmp_path: Path) -> None:
    around = Around()
    pipeline = around.pipeline(None, "lobby", DEMO.format(name="d"), events(tmp_path / "e.jsonl"))
    with running(around, pipeline):
        wait_until(lambda: around.state("lobby").frames >= 2)
        assert around.health.is_alive() == (True, "loops that turn: 2")
    wait_until(lambda: around.health.is_alive() == (True, "loops that turn: 0"))
    wait_until(lambda: not [thread for thread in threading.enumerate() if "lobby" in thread.name])


def test_once_ends_with_the_first_fault_of_a_sink(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    around = Around()
    pipeline = around.pipeline(
        None, "film", str(TALKING), mp4(tmp_path / "file" / "film.mp4"), once=True
    )
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running)
    assert isinstance(pipeline.error, SinkError)
    assert str(tmp_path / "file") in str(pipeline.error)
    wait_until(lambda: not pipeline.capture.running)


def test_once_ends_with_the_first_fault_of_a_detector() -> None:
    around = Around()
    faulty: Choice = Faulty(range(3, 4))  # type: ignore[assignment]
    pipeline = around.pipeline(None, "film", str(TALKING), detector=faulty, once=True)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running)
    assert str(pipeline.error) == "look 3 went wrong"


def test_a_file_of_a_daemon_goes_on_after_a_fault(tmp_path: Path) -> None:
    """The frame at hand is lost and counted, all others are there."""
    around = Around()
    film = tmp_path / "film.mp4"
    faulty: Choice = Faulty(range(10, 11))  # type: ignore[assignment]
    pipeline = around.pipeline(None, "film", str(TALKING), mp4(film), detector=faulty)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running, 60.0)
    lost = {"stream": "film", "stage": "stream", "reason": "error"}
    assert around.value("affectd_frames_dropped_total", **lost) == 1
    assert pictures_in(film) == 74


def test_at_the_end_of_a_file_its_sinks_finish_before_the_daemon_stops(tmp_path: Path) -> None:
    """1. A daemon's stream reads a file to its end. 2. Its recording is whole, its sinks have
    ended, and no thread of it is left. 3. A stop after that is as any other."""
    around = Around()
    film = tmp_path / "film.mp4"
    pipeline = around.pipeline(None, "film", str(TALKING), mp4(film), events(tmp_path / "e.jsonl"))
    with running(around, pipeline):
        wait_until(lambda: {sink.state for sink in around.state("film").sinks} == {"ended"}, 60.0)
        assert around.state("film").state == "ended"
        assert around.value("affectd_sink_up", stream="film", sink="mp4") == 0
        wait_until(lambda: not [t for t in threading.enumerate() if "film" in t.name], 60.0)
        assert pictures_in(film) == 75
    assert around.state("film").sinks[0].state == "ended"


def test_a_pipe_that_nobody_reads_holds_up_no_file(tmp_path: Path) -> None:
    """1. A file's readings go to a pipe without a reader, its pictures to a recording. 2. The
    sink says so, and the stream ends as any other. 3. Its pictures are all there."""
    around = Around()
    pipe, film = tmp_path / "pipe", tmp_path / "film.mp4"
    os.mkfifo(pipe)
    with batching(free(), around.metrics) as batcher:
        pipeline = around.pipeline(batcher, "film", str(TALKING), mp4(film), events(pipe))
        with running(around, pipeline):
            wait_until(lambda: not pipeline.running, 60.0)
            wait_until(lambda: around.state("film").sinks[1].state == "down")
            sink = around.state("film").sinks[1]
            assert sink.name == "events"
            assert str(sink.last_error).endswith("/pipe: nobody reads from this pipe")
            assert around.health.is_alive()[0]
    assert pictures_in(film) == 75


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (64, 64)])
def test_clips_of_any_size_pass(tmp_path: Path, width: int, height: int) -> None:
    clip = write_clip(tmp_path / "in.mp4", width=width, height=height, frames=4)
    around = Around()
    film = tmp_path / "out.mp4"
    pipeline = around.pipeline(None, "film", str(clip), mp4(film), once=True)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running, 60.0)
        for part in pipeline.sink_threads:
            assert part.close(WAIT_S)
    assert pipeline.error is None
    with av.open(str(film)) as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert sizes == [(width, height)] * 4
