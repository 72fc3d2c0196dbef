"""What the steps of a stream say of its faces, and count of them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression import LABELS
from daemon.config.settings import TrackingSettings
from daemon.frame import Frame, plane
from daemon.ladder import Ladder, Rung
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from daemon.reading import UNKNOWN
from daemon.track import Smoother, Tracker
from detectors.base import Detection
from tests.daemon.steps import lobby_row, reading_by, settings, stepping, walk
from tests.daemon.streams import (
    WAIT_S,
    batching,
    free,
    settle,
    sure_of,
    talking,
    value,
    yunet,
)
from tests.shared import needs_shared

pytestmark = needs_shared


@pytest.fixture
def row() -> Row:
    return lobby_row()


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({}, None),
        ({"min_face_px": 1000}, "small"),
        ({"max_blur": 0.0}, "blurred"),
        ({"max_yaw_deg": 0.0}, "turned"),
        ({"unknown_below": 0.95}, "unsure"),
        ({"unknown_below": 0.95, "max_blur": 0.0}, "blurred"),
        ({"unknown_below": 0.93}, None),
    ],
    ids=str,
)
def test_what_cannot_be_seen_well_is_unknown(
    metrics: Metrics, row: Row, limits: dict[str, object], why: str | None
) -> None:
    """The net is sure, 0.94, that the face is happy; how well it is seen decides."""
    says = UNKNOWN if why else "happy"
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, row, settings(expression=limits), keep_all=True)
        output = walk(steps, talking(1))[0]
    assert output.readings[0].label == output.faces[0].label == says
    assert output.readings[0].to_event().get("unknown") == why
    counted = {"stream": "lobby", "expression": says}
    assert value(metrics.registry, "affectd_readings_total", **counted) == 1
    assert output.readings[0].probabilities["happy"] == pytest.approx(0.94)


def test_a_prior_weighs_what_is_read_and_is_told(metrics: Metrics, row: Row) -> None:
    """A doubtful face is neutral where most are; the average keeps what the net said."""
    doubtful = np.array([0.05, 0.05, 0.05, 0.05, 0.42, 0.05, 0.33], np.float32)
    told = settings(expression={"prior": {"neutral": 0.5}})
    seen = []
    with batching(free([doubtful]), metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        for frame, chosen in zip(talking(3), (settings(), told, settings()), strict=True):
            steps.follow(chosen)
            (reading,) = walk(steps, [frame])[0].readings
            assert sum(reading.probabilities.values()) == pytest.approx(1.0)
            seen.append((reading.label, reading.prior))
            assert reading.to_event().get("prior") == reading.prior
    assert seen == [("sad", None), ("neutral", "neutral=0.5"), ("sad", None)]


@pytest.mark.parametrize(("passed_s", "least_ms"), [(0.25, 250.0), (-3600.0, 0.0)])
def test_a_clock_that_is_set_meanwhile_makes_no_reading_old(
    metrics: Metrics, passed_s: float, least_ms: float
) -> None:
    """A machine without a clock of its own gets the time of day some while after its start; it may
    be set back as well."""
    frame, now_s, woken = talking(1)[0], [0.0], threading.Event()
    now_s[0] = frame.captured_s + passed_s
    tracks, detector = Tracker(TrackingSettings()), yunet().make()
    with batching(free(), metrics) as batcher:
        reader = reading_by(batcher, tracks, metrics, wake=woken.set, clock=lambda: now_s[0])
        image = frame.image.to_ndarray(format="bgr24")
        found = tracks.update(detector.detect(image), frame.pts_s)
        reader.ask(reader.jobs(frame, found, detector))
        assert woken.wait(WAIT_S)
        now_s[0] += 86_400.0
        (reading,) = reader.arrived()
    assert reading.detector == detector.description
    assert reading.age_ms is not None
    assert least_ms <= reading.age_ms < 1000.0 * WAIT_S


def test_crops_of_a_batch_that_failed_are_counted_by_their_stream(
    metrics: Metrics, row: Row
) -> None:
    """So nothing is counted of a stream that went away meanwhile, whose series are gone."""
    known = free()
    known.fails = RuntimeError("out of memory")
    labels = {"stream": "lobby", "stage": "classify", "reason": "error"}
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, row)
        steps.take(talking(1)[0])
        settle(batcher)
        assert value(metrics.registry, "affectd_frames_dropped_total", **labels) == 0
        assert steps.arrived() == []
    assert value(metrics.registry, "affectd_frames_dropped_total", **labels) == 1


def test_readings_say_since_when_their_tracks_are_counted(metrics: Metrics, row: Row) -> None:
    """A stream that begins anew counts from 1 again, which nobody may take for the same face. A
    command goes through a file once, and two runs of it agree. A file is named, no password."""
    seen, chosen = [], settings({"url": "https://viewer:geheim@nas/clip.mp4"})
    with batching(free(), metrics) as batcher:
        for is_file in (False, True, False, True):
            began_s = time.time()
            steps = stepping(batcher, metrics, row, chosen, keep_all=is_file)
            made_s = time.time()
            readings = steps.take(talking(1)[0]).readings
            settle(batcher)
            (reading,) = *readings, *steps.arrived()
            assert reading.file == ("https://viewer:***@nas/clip.mp4" if is_file else None)
            assert reading.tracked_since_s is not None
            assert began_s <= reading.tracked_since_s <= made_s
            seen.append((reading.track, reading.tracked_since_s))
        command = stepping(batcher, metrics, row, keep_all=True, offline=True)
        assert walk(command, talking(1))[0].readings[0].tracked_since_s is None
    assert [track for track, _ in seen] == [1] * 4
    assert len(set(seen)) == 4


def test_the_weights_say_what_is_too_little_where_the_settings_do_not(
    metrics: Metrics, row: Row
) -> None:
    doubtful = free([sure_of("sad", 0.39)])
    with batching(doubtful, metrics) as batcher:
        output = walk(stepping(batcher, metrics, row, keep_all=True), talking(1))[0]
    assert output.readings[0].label == UNKNOWN


def test_events_carry_the_smoothed_probabilities(metrics: Metrics, row: Row) -> None:
    frames = talking(3)
    looks = [sure_of("happy"), sure_of("sad"), sure_of("sad")]
    with batching(free(looks), metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        readings = [output.readings[0] for output in walk(steps, frames)]
    smoother = Smoother()
    for frame, look, reading in zip(frames, looks, readings, strict=True):
        smooth = smoother.update(look, frame.pts_s, 0.5)
        assert list(reading.probabilities.values()) == pytest.approx(smooth.tolist())
        assert list(reading.probabilities) == list(LABELS)
    assert [reading.label for reading in readings] == ["happy"] * 3


def test_another_half_life_holds_for_faces_that_are_there(metrics: Metrics, row: Row) -> None:
    first, second = talking(2)
    with batching(free([sure_of("happy"), sure_of("sad")]), metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        walk(steps, [first])
        steps.follow(settings(tracking={"half_life_s": 0.0}))
        (reading,) = walk(steps, [second])[0].readings
    assert reading.track == 1
    assert list(reading.probabilities.values()) == pytest.approx(sure_of("sad").tolist())


def test_a_look_too_poor_for_a_label_is_in_no_later_reading(metrics: Metrics, row: Row) -> None:
    """The first and the third picture show the face well, the others do not."""
    well, badly = settings(), settings(expression={"max_yaw_deg": 0.0})
    looks = [sure_of("happy"), sure_of("sad"), sure_of("happy"), sure_of("sad")]
    kept, readings, known = Smoother(), [], free(looks)
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        for frame, look, limits in zip(talking(4), looks, (well, badly) * 2, strict=True):
            steps.follow(limits)
            (reading,) = walk(steps, [frame])[0].readings
            smooth = (kept if limits is well else replace(kept)).update(look, frame.pts_s, 0.5)
            assert list(reading.probabilities.values()) == pytest.approx(smooth.tolist())
            readings.append(reading)
    assert [reading.label for reading in readings] == ["happy", UNKNOWN] * 2
    assert readings[2].probabilities == pytest.approx(readings[0].probabilities)
    assert known.view_indices == [0, 1, 1, 2]  # what the average lacks is looked at again


def test_seconds_of_a_shown_expression_add_up(metrics: Metrics, row: Row) -> None:
    """A face in 8 frames at 25 a second was seen for 7 steps; an outage shows nothing."""
    counted = {"stream": "lobby", "expression": "happy"}
    name = "affectd_expression_face_seconds_total"
    frames = talking(9)
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        walk(steps, frames[:8])
        assert value(metrics.registry, name, **counted) == pytest.approx(7 / 25, abs=0.002)
        late = frames[8]
        walk(steps, [Frame("lobby", 8, 600.0, late.captured_s, late.image)])
    assert value(metrics.registry, name, **counted) == pytest.approx(7 / 25, abs=0.002)


@pytest.mark.parametrize("fps", [0.5, 1.0])
def test_slow_cameras_count_seconds_too(metrics: Metrics, row: Row, fps: float) -> None:
    slow = [Frame("lobby", f.seq, f.seq / fps, f.captured_s, f.image) for f in talking(4)]
    with batching(free(), metrics) as batcher:
        walk(stepping(batcher, metrics, row, keep_all=True), slow)
    counted = {"stream": "lobby", "expression": "happy"}
    seen_s = value(metrics.registry, "affectd_expression_face_seconds_total", **counted)
    # That frames come every two seconds is known from the second on, whose face is a new one.
    assert seen_s == pytest.approx(3.0 if fps == 1.0 else 4.0)


def test_a_face_that_nobody_reads_any_more_is_unknown(metrics: Metrics, row: Row) -> None:
    """1. A face in one frame a second is read once; then the classifier fails. 2. Its label counts
    in the frames that follow within 12 s, up to the next; later seconds are of no expression.
    A `max_age_ms` that waits for a restart changes nothing of that."""
    slow = [replace(frame, pts_s=float(frame.seq)) for frame in talking(17)]
    known, ladder = free(), Ladder([Rung("none", 1)], max_age_s=1.0)
    with batching(known, metrics, ladder) as batcher:
        steps = stepping(batcher, metrics, row, keep_all=True)
        walk(steps, slow[:1])
        steps.follow(settings(expression={"max_age_ms": 60_000.0}))
        known.fails = RuntimeError("the device went away")
        outputs = walk(steps, slow[1:])
    assert {face.track for output in outputs for face in output.faces} == {1}
    name = "affectd_expression_face_seconds_total"
    seconds = [
        value(metrics.registry, name, stream="lobby", expression=label)
        for label in ("happy", UNKNOWN)
    ]
    assert seconds == pytest.approx([13.0, 3.0])


def test_series_stand_at_zero_before_the_first_reading(metrics: Metrics, row: Row) -> None:
    with batching(free(), metrics) as batcher:
        stepping(batcher, metrics, row)
    for label in (*LABELS, UNKNOWN):
        for name in ("affectd_readings_total", "affectd_expression_face_seconds_total"):
            sample = metrics.registry.get_sample_value(
                name, {"stream": "lobby", "expression": label}
            )
            assert sample == 0.0


def test_a_face_that_is_missed_for_a_moment_stays_covered(metrics: Metrics, row: Row) -> None:
    """
    1. Faces are looked for on every frame, although every tenth would do, and covered.
    2. The detector misses the face: its place is covered all the same.
    3. It is gone for longer than a face may be missing: nothing is covered.
    """
    chosen = settings({"privacy": "blur"}, detector={"every": 10}, overlay={"enabled": False})
    frames, bare = talking(30), talking(30)
    looks = 0

    def smeared(index: int) -> bool:
        x, y, w, h = box_px
        face = np.s_[y : y + h, x : x + w]
        now, before = (plane(some[index].image, 0)[face] for some in (frames, bare))
        return bool(now.std() < 0.5 * before.std())

    class Forgetful:
        """A fake, since no real one loses a face that is still there, and when it is told to."""

        name = description = "yunet"

        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            nonlocal looks
            looks += 1
            return real.detect(image) if looks <= 3 else []

        def close(self) -> None:
            real.close()

    real = yunet().make()
    outputs = walk(stepping(None, metrics, row, chosen, detector=Forgetful()), frames)
    assert looks == 30
    box_px = outputs[2].faces[0].box_px
    assert [len(output.faces) for output in outputs] == [1] * 3 + [0] * 27
    gone_s = frames[2].pts_s + 1.0
    assert [smeared(index) for index in range(30)] == [frame.pts_s <= gone_s for frame in frames]


def test_readings_that_nobody_will_take_are_counted(metrics: Metrics, row: Row) -> None:
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, row)
        steps.take(talking(1)[0])
        settle(batcher)
        steps.stop()
        assert steps.arrived() == []
    lost = {"stream": "lobby", "stage": "classify", "reason": "stream_gone"}
    assert value(metrics.registry, "affectd_frames_dropped_total", **lost) == 1


def test_a_busy_machine_looks_for_covered_faces_on_every_frame(metrics: Metrics, row: Row) -> None:
    """The ladder stands where faces are looked for on every third frame: covered ones are read so
    often, and looked for on all."""
    looks = 0

    class Counted:
        """The real one; a fake only in that it counts, which no real one does."""

        name = description = "yunet"

        def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
            nonlocal looks
            looks += 1
            return real.detect(image)

        def close(self) -> None:
            real.close()

    real, known = yunet().make(), free()
    low = Ladder([Rung("none", 1, thinning=3)], max_age_s=60.0)
    frames = talking(9)
    with batching(known, metrics, low) as batcher:
        chosen = settings({"privacy": "blur"})
        steps = stepping(batcher, metrics, row, chosen, detector=Counted())
        for frame in frames:
            steps.take(frame)
            settle(batcher)
    assert looks == 9
    assert value(metrics.registry, "affectd_detect_every_frames", stream="lobby") == 3
    assert len(known.view_indices) - 2 * 9 == 3  # Without those of `settle`.


def test_a_stream_that_only_counts_hands_out_no_reading(metrics: Metrics, row: Row) -> None:
    with batching(free(), metrics) as batcher:
        chosen = settings({"aggregate_only": True})
        frames, bare = talking(3), talking(3)
        outputs = walk(stepping(batcher, metrics, row, chosen, keep_all=True), frames)
    assert [(*output.readings, *output.faces) for output in outputs] == [()] * 3
    assert row.status().faces == ()
    counted = {"stream": "lobby", "expression": "happy"}
    assert value(metrics.registry, "affectd_readings_total", **counted) == 3
    assert value(metrics.registry, "affectd_expression_face_seconds_total", **counted) > 0
    assert value(metrics.registry, "affectd_faces", stream="lobby") == 1
    for frame, was in zip(frames, bare, strict=True):
        assert np.array_equal(plane(frame.image, 0), plane(was.image, 0))
