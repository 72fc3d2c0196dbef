"""A file as a stream, to its end: what was written of it, and how it ends before that."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import av
import pytest
from prometheus_client.samples import Sample

from classifiers.expression.classifier import ExpressionClassifier
from daemon import pipeline as pipeline_module
from daemon.errors import SinkError
from tests.daemon.pipelines import Around, Faulty, events, mp4, running
from tests.daemon.sinks.writers import Gated
from tests.daemon.streams import TALKING, WAIT_S, Known, batching, free
from tests.media import frames_in, write_clip
from tests.nets import save_tiny
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = [needs_shared, pytest.mark.usefixtures("patient_close")]


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
            batcher, "film", str(TALKING), mp4(film), events(read), offline=True
        )
        pipeline.start()
        wait_until(lambda: not pipeline.running, 60.0)
        pipeline.close()
    assert pipeline.error is None
    assert around.state("film").state == "ended"
    assert frames_in(film) == 75
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
    assert frames_in(film) >= 5


def test_offline_it_ends_with_the_first_fault_of_a_sink(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    around = Around()
    pipeline = around.pipeline(
        None, "film", str(TALKING), mp4(tmp_path / "file" / "film.mp4"), offline=True
    )
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running)
    assert isinstance(pipeline.error, SinkError)
    assert str(tmp_path / "file") in str(pipeline.error)
    wait_until(lambda: not pipeline.capture.running)


def test_offline_it_ends_with_the_first_fault_of_a_detector() -> None:
    around = Around()
    faulty = Faulty(range(3, 4)).choice
    pipeline = around.pipeline(None, "film", str(TALKING), detector=faulty, offline=True)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running)
    assert str(pipeline.error) == "look 3 went wrong"


def test_a_file_of_a_daemon_goes_on_after_a_fault(tmp_path: Path) -> None:
    """The frame at hand is lost and counted, all others are there."""
    around = Around()
    film = tmp_path / "film.mp4"
    faulty = Faulty(range(10, 11)).choice
    pipeline = around.pipeline(None, "film", str(TALKING), mp4(film), detector=faulty)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running, 60.0)
    lost = {"stream": "film", "stage": "stream", "reason": "error"}
    assert around.value("affectd_frames_dropped_total", **lost) == 1
    assert frames_in(film) == 74


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
        assert [bool(sink.encoder) for sink in around.state("film").sinks] == [True, False]
        wait_until(lambda: around.health.is_alive() == (True, "loops that turn: 0"))
        wait_until(lambda: not [t for t in threading.enumerate() if "film" in t.name], 60.0)
        assert frames_in(film) == 75
    assert around.state("film").sinks[0].state == "ended"


def test_a_slow_sink_loses_no_picture_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still in its first one, and the whole stream with it."""
    slow = Gated()
    monkeypatch.setattr(pipeline_module, "make_sink", lambda *_, **__: slow)
    clip = write_clip(tmp_path / "in.mp4", width=64, height=64, frames=40)
    around = Around()
    pipeline = around.pipeline(None, "film", str(clip), events(tmp_path / "e.jsonl"))
    with running(around, pipeline):
        assert slow.entered.wait(WAIT_S)
        pipeline.capture.join(0.5)
        waits = pipeline.capture.running
        slow.gate.set()
        wait_until(lambda: not pipeline.running, 60.0)
    assert waits
    assert slow.seqs == list(range(40))


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
    assert frames_in(film) == 75


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (64, 64)])
def test_clips_of_any_size_pass(tmp_path: Path, width: int, height: int) -> None:
    clip = write_clip(tmp_path / "in.mp4", width=width, height=height, frames=4)
    around = Around()
    film = tmp_path / "out.mp4"
    pipeline = around.pipeline(None, "film", str(clip), mp4(film), offline=True)
    with running(around, pipeline):
        wait_until(lambda: not pipeline.running, 60.0)
        for part in pipeline.sink_threads:
            assert part.close(WAIT_S)
    assert pipeline.error is None
    with av.open(str(film)) as container:
        sizes = [(frame.width, frame.height) for frame in container.decode(video=0)]
    assert sizes == [(width, height)] * 4
