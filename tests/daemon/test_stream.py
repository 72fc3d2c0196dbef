"""The steps of one stream, on real pictures and with a real detector."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from classifiers.expression.classifier import ExpressionClassifier
from daemon.config.sink_settings import EventsSink
from daemon.frame import Frame, plane
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.reading import Reading
from daemon.sinks.events import EventsFile
from daemon.sinks.writer import Writer
from detectors.base import Box, Detection
from tests.daemon.steps import lobby_board, made, settings, tracker, walk
from tests.daemon.streams import (
    WAIT_S,
    Known,
    batching,
    free,
    settle,
    sure_of,
    talking,
    until,
    value,
)
from tests.nets import save_tiny
from tests.shared import needs_shared

pytestmark = needs_shared


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def board() -> Board:
    return lobby_board()


def test_live_drawing_never_waits_for_the_classifier(metrics: Metrics, board: Board) -> None:
    """
    1. While the model is held, frames go on; their face has no label.
    2. It answers; the next frame shows the reading, and how old it is.
    """
    known = Known()
    frames = talking(7)
    with batching(known, metrics) as batcher:
        stream, tracks = made(batcher, metrics, board), tracker()
        held = walk(stream, frames[:1], tracks)
        assert known.entered.wait(WAIT_S)
        held += walk(stream, frames[1:6], tracks)
        assert [face.label for output in held for face in output.faces] == [None] * 6
        assert not any(output.readings for output in held)
        known.go.set()
        until(lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2)
        settle(batcher)
        last = walk(stream, frames[6:], tracks)[0]
    first, newest = last.readings
    assert (first.seq, newest.seq) == (0, 5)  # those between were superseded
    assert first.label == newest.label == "happy"
    assert newest.captured_s == frames[5].captured_s
    assert newest.age_ms is not None
    assert 0.0 < newest.age_ms < 1000.0 * WAIT_S
    assert value(metrics.registry, "affectd_reading_age_seconds_count", stream="lobby") == 2
    aged_s = value(metrics.registry, "affectd_reading_age_seconds_sum", stream="lobby")
    assert aged_s * 1000.0 > newest.age_ms
    face = last.faces[0]
    assert face.label == "happy"
    assert face.age_s == pytest.approx(frames[6].pts_s - frames[5].pts_s)
    drops = {"stream": "lobby", "stage": "classify", "reason": "superseded"}
    assert value(metrics.registry, "affectd_frames_dropped_total", **drops) == 4


def test_a_reading_waits_for_no_other_frame(
    metrics: Metrics, board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera falls silent while its last face is read: the reading goes out at once."""
    monkeypatch.setattr("daemon.stream.POLL_S", 10 * WAIT_S)
    known, stop, published = Known(), threading.Event(), list[Reading]()
    mailbox = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    path = tmp_path / "lobby.jsonl"
    sink = EventsFile(EventsSink(kind="events", path=path))
    writer = Writer(sink, "lobby", "events", keep_all=False, metrics=metrics, stop=stop)
    with batching(known, metrics) as batcher:
        stream = made(
            batcher,
            metrics,
            board,
            mailbox=mailbox,
            stop=stop,
            writers=[writer],
            publish=published.append,
        )
        writer.start()
        stream.start()
        try:
            mailbox.put(talking(1)[0], stop)
            assert known.entered.wait(WAIT_S)
            known.go.set()
            until(lambda: published)
            until(lambda: path.exists() and path.read_text().endswith("\n"))
        finally:
            stop.set()
            mailbox.close()
            stream.join(WAIT_S)
            writer.close(WAIT_S)
    assert [reading.seq for reading in published] == [0]
    assert json.loads(path.read_text())["label"] == published[0].label == "happy"


def test_a_file_waits_for_the_readings_of_each_frame(
    metrics: Metrics, board: Board, tmp_path: Path
) -> None:
    classifier = ExpressionClassifier.load(save_tiny(tmp_path / "t.safetensors"), device="cpu")
    frames = talking(8)
    with batching(classifier, metrics) as batcher:
        outputs = walk(made(batcher, metrics, board, keep_all=True), frames)
    for frame, output in zip(frames, outputs, strict=True):
        assert len(output.faces) == 1
        assert [reading.seq for reading in output.readings] == [frame.seq]
        reading, face = output.readings[0], output.faces[0]
        assert (reading.captured_s, reading.age_ms) == (None, None)
        assert reading.media_time_s == frame.pts_s
        assert (reading.label, reading.box_px) == (face.label, face.box_px)
        assert reading.probabilities == face.probabilities
        assert sum(reading.probabilities.values()) == pytest.approx(1.0)
        assert (face.age_s, reading.frame_px) == (0.0, (360, 288))
        assert reading.weights == classifier.name
        assert reading.crops == 10
    assert value(metrics.registry, "affectd_reading_age_seconds_count", stream="lobby") == 0


def test_each_reading_of_a_face_gives_the_turn_to_the_next(metrics: Metrics, board: Board) -> None:
    known = free()
    with batching(known, metrics) as batcher:
        walk(made(batcher, metrics, board, keep_all=True), talking(5))
    assert known.turns == [0, 1, 2, 3, 4]


def test_a_result_of_an_earlier_run_reaches_no_face_of_the_next(
    metrics: Metrics, board: Board
) -> None:
    """
    1. A crop of track 1 is with the model when the stream starts anew.
    2. The new run has a track 1 of its own, which gets only what was said of itself.
    """
    known = Known(says=[sure_of("angry"), sure_of("happy")])
    frames = talking(4)
    with batching(known, metrics) as batcher:
        stream = made(batcher, metrics, board)
        walk(stream, frames[:1])
        assert known.entered.wait(WAIT_S)
        stream.forget()
        tracks = tracker()
        before = walk(stream, frames[1:2], tracks)[0]
        known.go.set()
        until(lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2)
        settle(batcher)
        after = walk(stream, frames[2:3], tracks)[0]
    assert before.faces[0].track == after.faces[0].track == 1
    assert before.faces[0].label is None
    assert [(r.seq, r.label) for r in after.readings] == [(1, "happy")]
    assert after.faces[0].probabilities["angry"] < 0.05


def test_a_result_for_a_face_that_left_is_dropped_and_counted(
    metrics: Metrics, board: Board
) -> None:
    """
    1. A crop of track 1 is with the model. 2. Much later a face is seen: it is track 2.
    3. The model answers: for track 1 it is too late.
    """
    known = Known()
    first, second, third = talking(3)
    later = [Frame("lobby", f.seq, f.seq + 600.0, f.captured_s, f.image) for f in (second, third)]
    with batching(known, metrics) as batcher:
        stream, tracks = made(batcher, metrics, board), tracker()
        walk(stream, [first], tracks)
        assert known.entered.wait(WAIT_S)
        walk(stream, later[:1], tracks)
        known.go.set()
        until(lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2)
        settle(batcher)
        output = walk(stream, later[1:], tracks)[0]
    assert [(reading.track, reading.seq) for reading in output.readings] == [(2, 1)]
    drops = {"stream": "lobby", "stage": "classify", "reason": "track_ended"}
    assert value(metrics.registry, "affectd_frames_dropped_total", **drops) == 1


def test_without_the_overlay_pixels_stay_as_decoded(metrics: Metrics, board: Board) -> None:
    for enabled in (False, True):
        stream = made(None, metrics, board, settings(overlay={"enabled": enabled}))
        frame = talking(1)[0]
        planes = [plane(frame.image, index).copy() for index in range(3)]
        output = walk(stream, [frame])[0]
        assert len(output.faces) == 1
        same = [np.array_equal(plane(frame.image, i), planes[i]) for i in range(3)]
        assert same == ([False] * 3 if enabled else [True] * 3)


def test_with_expressions_off_faces_are_found_and_not_read(metrics: Metrics, board: Board) -> None:
    outputs = walk(made(None, metrics, board), talking(3))
    assert [len(output.faces) for output in outputs] == [1, 1, 1]
    assert not any(output.readings for output in outputs)
    assert outputs[-1].faces[0].label is None
    assert value(metrics.registry, "affectd_faces", stream="lobby") == 1


class Odd:
    """A fake, since no detector can be made to give such boxes on demand."""

    name = "yunet"

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        flat, nan, good = (
            Box(5, 5, 0, 20),
            Box(math.nan, 0, 20, 20),
            Box(-9000, 9000, 40, 40),
        )
        return [Detection(box, 0.9) for box in (flat, nan, good)]

    def close(self) -> None:
        """Nothing to free."""


def test_boxes_that_are_none_are_left_out_and_far_ones_do_no_harm(
    metrics: Metrics, board: Board
) -> None:
    with batching(free(), metrics) as batcher:
        stream = made(batcher, metrics, board, keep_all=True)
        output = stream.step(talking(1)[0], Odd(), tracker())
    assert [face.box_px for face in output.faces] == [(-9000, 9000, 40, 40)]


@pytest.mark.parametrize(("width", "height", "faces"), [(3840, 2160, 1), (64, 64, None)])
def test_very_large_and_very_small_pictures_pass(
    metrics: Metrics, board: Board, width: int, height: int, faces: int | None
) -> None:
    frame = talking(1)[0]
    scaled = Frame("lobby", 0, 0.0, 0.0, frame.image.reformat(width=width, height=height))
    with batching(free(), metrics) as batcher:
        output = walk(made(batcher, metrics, board, keep_all=True), [scaled])[0]
    assert faces is None or len(output.faces) == faces
    for face in output.faces:
        x, y, w, h = face.box_px
        assert 0 < x + w / 2 < width
        assert 0 < y + h / 2 < height
    assert len(output.readings) == len(output.faces)


def test_no_face_is_in_view_of_a_source_that_is_down(metrics: Metrics, board: Board) -> None:
    """1. One face is seen. 2. The source goes down. 3. Metrics and the page count none."""
    mailbox, stop = Mailbox[Frame](keep_all=False, on_drop=lambda: None), threading.Event()
    stream = made(None, metrics, board, mailbox=mailbox, stop=stop)
    stream.start()
    try:
        mailbox.put(talking(1)[0], stop)
        until(lambda: value(metrics.registry, "affectd_faces", stream="lobby") == 1)
        until(lambda: len(board.streams()[0].faces or ()) == 1)
        board.set_state("lobby", "down")
        until(lambda: value(metrics.registry, "affectd_faces", stream="lobby") == 0)
        until(lambda: board.streams()[0].faces == ())
    finally:
        stop.set()
        mailbox.close()
        stream.join(WAIT_S)
    assert not stream.running


def test_a_fault_while_it_waits_is_a_fault_like_any_other(
    metrics: Metrics, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A fault. 2. Another one in the pause after it. 3. The stream ends in its own time."""
    ended: list[bool] = []
    stream = made(None, metrics, board, ended=lambda: ended.append(True))
    faults = iter([RuntimeError("no detector"), MemoryError("no slate")])

    def fail() -> None:
        if (fault := next(faults, None)) is not None:
            raise fault

    monkeypatch.setattr(stream, "run_once", fail)
    monkeypatch.setattr(stream, "_pause", fail)
    stream.run()
    counted = {"stream": "lobby", "reason": "internal"}
    assert value(metrics.registry, "affectd_stream_reconnects_total", **counted) == 2
    assert ended == [True]


def test_a_loop_that_dies_is_not_taken_for_one_that_is_over(
    metrics: Metrics, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence is what the watchdog goes by."""
    ended: list[bool] = []
    stream = made(None, metrics, board, ended=lambda: ended.append(True))
    monkeypatch.setattr(stream, "_run", lambda: [].pop())
    with pytest.raises(IndexError):
        stream.run()
    assert not ended


def test_a_model_that_fails_ends_work_that_must_be_whole(metrics: Metrics, board: Board) -> None:
    known = free()
    known.fails = RuntimeError("out of memory")
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    with batching(known, metrics) as batcher:
        stream = made(batcher, metrics, board, keep_all=True, once=True, mailbox=mailbox, stop=stop)
        mailbox.put(talking(1)[0], stop)
        stream.start()
        stream.join(WAIT_S)
    assert str(stream.error) == "lobby: the classifier failed; its log says why"
    assert mailbox.closed


def test_faces_are_looked_for_on_every_nth_frame_and_carried_between(
    metrics: Metrics, board: Board
) -> None:
    """1. On frames 0, 3 and 6 the face is found and read. 2. On those between it is shown all the
    same, and its seconds count. 3. Frame 8 comes after a gap: nothing is carried."""
    frames = talking(8)
    after = replace(frames[7], seq=8, pts_s=frames[7].pts_s + 5.0)
    with batching(free(), metrics) as batcher:
        stream = made(batcher, metrics, board, settings(detector={"every": 3}), keep_all=True)
        outputs = walk(stream, [*frames, after])
    assert [[reading.seq for reading in output.readings] for output in outputs] == [
        [seq] if seq in (0, 3, 6, 8) else [] for seq in range(9)
    ]
    assert [[face.label for face in output.faces] for output in outputs] == [["happy"]] * 9
    assert [face.track for output in outputs for face in output.faces] == [1] * 8 + [2]
    assert value(metrics.registry, "affectd_detect_every_frames", stream="lobby") == 3
    assert board.streams()[0].detect_every == 3
    shown_s = value(
        metrics.registry,
        "affectd_expression_face_seconds_total",
        stream="lobby",
        expression="happy",
    )
    assert shown_s == pytest.approx(7 / 25, abs=0.001)
    count = {"stream": "lobby", "stage": "detect"}
    assert value(metrics.registry, "affectd_stage_seconds_count", **count) == 4
