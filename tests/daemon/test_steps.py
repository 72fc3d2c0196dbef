"""The steps of one stream, on real pictures and with a real detector."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression.classifier import ExpressionClassifier
from daemon.frame import Frame, plane
from daemon.ladder import Ladder, Rung
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from daemon.steps import Steps
from daemon.turns import Turns
from detectors.base import Box, Detection
from tests.daemon.steps import lobby_row, settings, stepping, walk
from tests.daemon.streams import (
    WAIT_S,
    Known,
    batching,
    free,
    settle,
    sure_of,
    talking,
    value,
)
from tests.nets import save_tiny
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = needs_shared


@pytest.fixture
def row() -> Row:
    return lobby_row()


def test_live_drawing_never_waits_for_the_classifier(metrics: Metrics, row: Row) -> None:
    """
    1. While the model is held, frames go on; their face has no label.
    2. It answers; the next frame shows the reading, and how old it is.
    """
    known = Known()
    frames = talking(7)
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, row)
        held = walk(steps, frames[:1])
        assert known.entered.wait(WAIT_S)
        held += walk(steps, frames[1:6])
        assert [face.label for output in held for face in output.faces] == [None] * 6
        assert not any(output.readings for output in held)
        known.go.set()
        wait_until(
            lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2
        )
        settle(batcher)
        last = walk(steps, frames[6:])[0]
    first, newest = last.readings
    assert (first.seq, newest.seq) == (0, 5)  # those between were superseded
    boxes_px = [held[reading.seq].faces[0].box_px for reading in (first, newest)]
    assert [first.box_px, newest.box_px] == boxes_px
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


def test_a_file_waits_for_the_readings_of_each_frame(
    metrics: Metrics, row: Row, tmp_path: Path
) -> None:
    classifier = ExpressionClassifier.load(save_tiny(tmp_path / "t.safetensors"), device="cpu")
    frames = talking(8)
    with batching(classifier, metrics) as batcher:
        outputs = walk(stepping(batcher, metrics, row, keep_all=True), frames)
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
        assert reading.engine == classifier.engine
        assert reading.crops == 10
    assert value(metrics.registry, "affectd_reading_age_seconds_count", stream="lobby") == 0


def test_a_busy_machine_takes_nothing_from_a_file(metrics: Metrics, row: Row) -> None:
    """The ladder stands where cameras' faces are looked for on every third frame."""
    low = Ladder([Rung("none", 1, thinning=3)], max_age_s=60.0)
    with batching(free(), metrics, low) as batcher:
        outputs = walk(stepping(batcher, metrics, row, keep_all=True), talking(4))
    assert [len(output.readings) for output in outputs] == [1] * 4


def test_streams_take_turns_and_a_file_that_waits_holds_nobody_up(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one turn. 1. A file's frame waits for the classifier: a live one goes through.
    2. Somebody else has the turn: the next live one waits."""
    turns, known = Turns(1), Known()
    monkeypatch.setattr("daemon.steps._TURNS", turns)

    def started(steps: Steps, frame: Frame) -> threading.Thread:
        thread = threading.Thread(target=steps.take, args=(frame,), daemon=True)
        thread.start()
        return thread

    with batching(known, metrics) as batcher:
        first, second, third = talking(3)
        waiting = started(stepping(batcher, metrics, row, keep_all=True), first)
        assert known.entered.wait(WAIT_S)
        live = stepping(None, metrics, row)
        through = started(live, second)
        through.join(WAIT_S)
        assert not through.is_alive()
        assert waiting.is_alive()
        turns.take()
        held = started(live, third)
        held.join(0.1)
        assert held.is_alive()
        turns.leave()
        held.join(WAIT_S)
        known.go.set()
        waiting.join(WAIT_S)
    assert not any(thread.is_alive() for thread in (held, waiting))


def test_each_reading_of_a_face_is_of_its_next_view(metrics: Metrics, row: Row) -> None:
    known = free()
    with batching(known, metrics) as batcher:
        walk(stepping(batcher, metrics, row, keep_all=True), talking(5))
    assert known.view_indices == [0, 1, 2, 3, 4]


def test_a_result_of_an_earlier_run_reaches_no_face_of_the_next(metrics: Metrics, row: Row) -> None:
    """
    1. A crop of track 1 is with the model when the stream starts anew.
    2. The new run has a track 1 of its own, which gets only what was said of itself.
    """
    known = Known(says=[sure_of("angry"), sure_of("happy")])
    frames = talking(4)
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, row)
        walk(steps, frames[:1])
        assert known.entered.wait(WAIT_S)
        steps = stepping(batcher, metrics, row)
        before = walk(steps, frames[1:2])[0]
        known.go.set()
        wait_until(
            lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2
        )
        settle(batcher)
        after = walk(steps, frames[2:3])[0]
    assert before.faces[0].track == after.faces[0].track == 1
    assert before.faces[0].label is None
    assert [(r.seq, r.label) for r in after.readings] == [(1, "happy")]
    assert after.faces[0].probabilities["angry"] < 0.05


def test_a_result_for_a_face_that_left_is_dropped_and_counted(metrics: Metrics, row: Row) -> None:
    """
    1. A crop of track 1 is with the model. 2. Much later a face is seen: it is track 2.
    3. The model answers: for track 1 it is too late.
    """
    known = Known()
    first, second, third = talking(3)
    later = [Frame("lobby", f.seq, f.seq + 600.0, f.captured_s, f.image) for f in (second, third)]
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, row)
        walk(steps, [first])
        assert known.entered.wait(WAIT_S)
        walk(steps, later[:1])
        known.go.set()
        wait_until(
            lambda: value(metrics.registry, "affectd_batch_crops_count", model=known.name) == 2
        )
        settle(batcher)
        output = walk(steps, later[1:])[0]
    assert [(reading.track, reading.seq) for reading in output.readings] == [(2, 1)]
    drops = {"stream": "lobby", "stage": "classify", "reason": "track_ended"}
    assert value(metrics.registry, "affectd_frames_dropped_total", **drops) == 1


@pytest.mark.parametrize(
    ("enabled", "sinks", "drawn"),
    [
        (False, ("mjpeg",), False),
        (True, (), False),
        (True, ("events",), False),
        (True, ("events", "mjpeg"), True),
    ],
)
def test_without_the_overlay_or_where_no_picture_leaves_pixels_stay_as_decoded(
    metrics: Metrics, row: Row, enabled: bool, sinks: tuple[str, ...], drawn: bool
) -> None:
    kinds = [
        {"kind": kind} | ({"path": Path("r.jsonl")} if kind == "events" else {}) for kind in sinks
    ]
    chosen = settings({"sink": tuple(kinds)}, overlay={"enabled": enabled})
    frame = talking(1)[0]
    planes = [plane(frame.image, index).copy() for index in range(3)]
    output = walk(stepping(None, metrics, row, chosen), [frame])[0]
    assert len(output.faces) == 1
    same = [np.array_equal(plane(frame.image, index), planes[index]) for index in range(3)]
    assert same == [not drawn] * 3


def test_with_expressions_off_faces_are_found_and_not_read(metrics: Metrics, row: Row) -> None:
    outputs = walk(stepping(None, metrics, row), talking(3))
    assert [len(output.faces) for output in outputs] == [1, 1, 1]
    assert not any(output.readings for output in outputs)
    assert outputs[-1].faces[0].label is None
    assert value(metrics.registry, "affectd_faces", stream="lobby") == 1


class Odd:
    """A fake, since no detector can be made to give such boxes on demand."""

    name = description = "yunet"

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
    metrics: Metrics, row: Row
) -> None:
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True, detector=Odd())
        output = walk(steps, talking(1))[0]
    assert [face.box_px for face in output.faces] == [(-9000, 9000, 40, 40)]


@pytest.mark.parametrize(("width", "height", "faces"), [(3840, 2160, 1), (64, 64, None)])
def test_very_large_and_very_small_pictures_pass(
    metrics: Metrics, row: Row, width: int, height: int, faces: int | None
) -> None:
    frame = talking(1)[0]
    scaled = Frame("lobby", 0, 0.0, 0.0, frame.image.reformat(width=width, height=height))
    with batching(free(), metrics) as batcher:
        output = walk(stepping(batcher, metrics, row, keep_all=True), [scaled])[0]
    assert faces is None or len(output.faces) == faces
    for face in output.faces:
        x, y, w, h = face.box_px
        assert 0 < x + w / 2 < width
        assert 0 < y + h / 2 < height
    assert len(output.readings) == len(output.faces)


def test_faces_are_looked_for_on_every_nth_frame_and_carried_between(
    metrics: Metrics, row: Row
) -> None:
    """1. On frames 0, 3 and 6 the face is found and read. 2. On those between it is shown all the
    same, and its seconds count. 3. Frame 8 comes after a gap: nothing is carried."""
    frames = talking(8)
    after = replace(frames[7], seq=8, pts_s=frames[7].pts_s + 5.0)
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, row, settings(detector={"every": 3}), keep_all=True)
        outputs = walk(steps, [*frames, after])
    assert [[reading.seq for reading in output.readings] for output in outputs] == [
        [seq] if seq in (0, 3, 6, 8) else [] for seq in range(9)
    ]
    assert [[face.label for face in output.faces] for output in outputs] == [["happy"]] * 9
    assert [face.track for output in outputs for face in output.faces] == [1] * 8 + [2]
    assert value(metrics.registry, "affectd_detect_every_frames", stream="lobby") == 3
    assert row.status().detect_every == 3
    shown_s = value(
        metrics.registry,
        "affectd_expression_face_seconds_total",
        stream="lobby",
        expression="happy",
    )
    assert shown_s == pytest.approx(7 / 25, abs=0.001)
    count = {"stream": "lobby", "stage": "detect"}
    assert value(metrics.registry, "affectd_stage_seconds_count", **count) == 4


def test_the_frame_rate_is_that_of_pictures_that_come_in_pairs(metrics: Metrics, row: Row) -> None:
    """As motion JPEG over Wi-Fi does: two at once, 80 ms apart."""
    frames = [
        replace(f, pts_s=0.08 * (n // 2) + 0.001 * (n % 2)) for n, f in enumerate(talking(40))
    ]
    walk(stepping(None, metrics, row), frames)
    assert row.status().fps == pytest.approx(25.0, rel=0.1)


def test_the_frame_rate_is_back_a_second_after_an_outage(metrics: Metrics, row: Row) -> None:
    """Media time counts the ten minutes that the camera was away."""
    frames = talking(30)
    after = [replace(frame, pts_s=frame.pts_s + 600.0) for frame in frames[5:]]
    walk(stepping(None, metrics, row), [*frames[:5], *after])
    assert row.status().fps == pytest.approx(25.0, rel=0.2)


def test_another_size_in_mid_stream_keeps_the_track(metrics: Metrics, row: Row) -> None:
    frames = talking(4)
    half = [replace(f, image=f.image.reformat(width=180, height=144)) for f in frames[2:]]
    outputs = walk(stepping(None, metrics, row), [*frames[:2], *half])
    assert [[face.track for face in output.faces] for output in outputs] == [[1]] * 4
