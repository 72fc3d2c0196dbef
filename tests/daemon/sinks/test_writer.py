from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from daemon.config.sink_settings import EventsSink, MjpegSink, Mp4Sink, RtspSink
from daemon.errors import Reason, SinkError
from daemon.monitoring.metrics import Metrics
from daemon.sinks.backlog import QUEUE_FRAMES, QUEUE_READINGS
from daemon.sinks.base import Output, Sink, Takes
from daemon.sinks.events import EventsFile
from daemon.sinks.feed import JpegFeed
from daemon.sinks.make import hung_s, make_sink, sink_labels
from daemon.sinks.mjpeg import MjpegPictures
from daemon.sinks.mp4 import Mp4File
from daemon.sinks.playlist import Playlist
from daemon.sinks.writer import HUNG_S, Writer
from tests.daemon.outputs import mp4, output, picture, reading
from tests.waiting import wait_until

WAIT_S = 60.0


class Gated:
    """A fake, since no real sink stalls and fails at a test's command."""

    wanted = True

    def __init__(self, takes: Takes = "pictures") -> None:
        self.takes: Takes = takes
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.fault: Exception | None = None
        self.written: list[Output] = []
        self.closes = 0

    def write(self, output: Output) -> bool:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        self.written.append(output)
        return True

    def close(self) -> None:
        self.closes += 1

    @property
    def seqs(self) -> list[int]:
        return [output.frame.seq for output in self.written]


class Bench:
    """Writers with what they need, closed at the end. `heard`: whether each told of up or down."""

    def __init__(self) -> None:
        self.heard: list[bool] = []
        self.stop = threading.Event()
        self.metrics = Metrics(CollectorRegistry())
        self.writers: list[Writer[Output]] = []

    def writer(
        self,
        sink: Sink[Output],
        label: str = "gated",
        *,
        keep_all: bool = False,
        retry: bool = True,
        clock_s: float = 0.0,
    ) -> Writer[Output]:
        writer = Writer(
            sink,
            "lobby",
            label,
            keep_all=keep_all,
            metrics=self.metrics,
            stop=self.stop,
            retry=retry,
            clock=lambda: clock_s,
            note=lambda up, reason, error: self.heard.append(up),
            first_delay_s=0.01,
        )
        self.writers.append(writer)
        writer.start()
        return writer

    def value(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(
            f"affectd_{name}", {"stream": "lobby", **labels}
        )
        return 0.0 if value is None else value

    def dropped(self, stage: str, reason: str) -> float:
        return self.value("frames_dropped_total", stage=stage, reason=reason)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stop.set()
    for writer in bench.writers:
        assert writer.close(WAIT_S)


def test_live_a_slow_sink_drops_the_oldest_and_delays_nobody(bench: Bench) -> None:
    sink = Gated()
    writer = bench.writer(sink)
    writer.put(output(0))
    assert sink.entered.wait(WAIT_S)
    began_s = time.monotonic()
    for seq in range(1, 201):
        writer.put(output(seq))
    # The sink stands still all the while: even 0.1 s of waiting for each would show.
    assert time.monotonic() - began_s < 20.0
    assert bench.dropped("sink_gated", "slow") == 200 - QUEUE_FRAMES
    sink.gate.set()
    assert writer.close(WAIT_S)
    assert sink.seqs == [0, *range(201 - QUEUE_FRAMES, 201)]
    assert sink.closes == 1


def test_live_readings_outlive_the_pictures_they_came_with(bench: Bench) -> None:
    sink = Gated("readings")
    writer = bench.writer(sink)
    for seq in range(100):
        writer.put(output(seq, readings=[reading(seq)]))
    sink.gate.set()
    assert writer.close(WAIT_S)
    assert [r.seq for o in sink.written for r in o.readings] == list(range(100))
    assert bench.dropped("sink_gated", "slow") == 0


def test_readings_are_bounded_and_every_lost_one_is_counted(bench: Bench) -> None:
    sink = Gated("readings")
    writer = bench.writer(sink)
    writer.put(output(0, readings=[reading(0)]))
    assert sink.entered.wait(WAIT_S)
    total = QUEUE_READINGS + 1000
    image, one = picture(), reading(0)
    for seq in range(1, total):
        writer.put(output(seq, image=image, readings=[replace(one, seq=seq)]))
    sink.gate.set()
    assert writer.close(WAIT_S)
    seqs = [r.seq for o in sink.written for r in o.readings]
    lost = int(bench.dropped("sink_gated", "slow"))
    assert 0 < lost < 1000
    assert seqs == [0, *range(1 + lost, total)]


def test_keep_all_waits_for_room_and_loses_nothing(bench: Bench) -> None:
    sink = Gated()
    writer = bench.writer(sink, keep_all=True)
    given: list[int] = []

    def give() -> None:
        for seq in range(50):
            writer.put(output(seq))
            given.append(seq)

    giver = threading.Thread(target=give)
    giver.start()
    # One is in the sink's hands, the queue is full, and the next put waits.
    wait_until(lambda: len(given) == QUEUE_FRAMES + 1)
    assert not threading.Event().wait(0.05)
    assert len(given) == QUEUE_FRAMES + 1
    sink.gate.set()
    giver.join(WAIT_S)
    assert writer.close(WAIT_S)
    assert sink.seqs == list(range(50))


def test_keep_all_does_not_outwait_the_stop(bench: Bench) -> None:
    sink = Gated()
    writer = bench.writer(sink, keep_all=True)

    def give() -> None:
        for seq in range(50):
            writer.put(output(seq))

    giver = threading.Thread(target=give)
    giver.start()
    assert sink.entered.wait(WAIT_S)
    bench.stop.set()
    giver.join(WAIT_S)
    assert not giver.is_alive()
    assert bench.dropped("sink_gated", "stopping") == 50 - QUEUE_FRAMES - 1
    sink.gate.set()


def test_a_sink_that_fails_comes_back_by_itself(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """1. A file stands where the folder should be. 2. It goes. 3. Every reading is there."""
    path = tmp_path / "folder" / "readings.jsonl"
    path.parent.write_text("in the way")
    sink = EventsFile(EventsSink(kind="events", path=path))
    with caplog.at_level(logging.INFO, "affectd.sink"):
        writer = bench.writer(sink, "events")
        for seq in range(50):
            writer.put(output(seq, readings=[reading(seq)]))
        labels = {"sink": "events", "reason": Reason.NOT_WRITABLE}
        wait_until(lambda: bench.value("sink_errors_total", **labels) >= 3)
        assert bench.value("sink_up", sink="events") == 0
        path.parent.unlink()
        wait_until(lambda: bench.value("sink_up", sink="events") == 1)
        writer.put(output(50, readings=[reading(50)]))
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == 51)
        assert writer.close(WAIT_S)
    assert path.read_text().splitlines() == [reading(seq).to_json() for seq in range(51)]
    # On a slow machine "works again" may follow.
    assert [record.levelname for record in caplog.records][:2] in (["ERROR"], ["ERROR", "INFO"])
    assert str(path) in caplog.text
    assert writer.error is None
    assert bench.value("sink_up", sink="events") == 0


def test_what_failed_last_is_written_when_the_sink_comes_back(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "readings.jsonl"
    path.parent.write_text("in the way")
    writer = bench.writer(EventsFile(EventsSink(kind="events", path=path)), "events")
    writer.put(output(7, readings=[reading(7)]))
    labels = {"sink": "events", "reason": Reason.NOT_WRITABLE}
    wait_until(lambda: bench.value("sink_errors_total", **labels) >= 1)
    path.parent.unlink()
    assert writer.close(WAIT_S)
    assert path.read_text() == reading(7).to_json() + "\n"


@pytest.mark.usefixtures("good_at_once")
@pytest.mark.parametrize("keep_all", [False, True])
def test_while_a_sink_is_down_its_stream_goes_on(bench: Bench, keep_all: bool) -> None:
    sink = Gated()
    sink.gate.set()
    sink.fault = SinkError(Reason.DISK_FULL, "no room left")
    writer = bench.writer(sink, keep_all=keep_all)
    given = 0

    def give(count: int) -> None:
        nonlocal given
        for _ in range(count):
            writer.put(output(given))
            given += 1

    def is_up_again() -> bool:
        give(1)  # The sink may have failed at all that waited.
        return bench.value("sink_up", sink="gated") == 1

    give(100)
    wait_until(lambda: bench.value("sink_errors_total", sink="gated", reason="disk_full") >= 2)
    sink.fault = None
    wait_until(is_up_again)
    assert writer.close(WAIT_S)
    assert sink.seqs[-1] == given - 1
    lost = bench.dropped("sink_gated", "down") + bench.dropped("sink_gated", "slow")
    assert lost == given - len(sink.seqs)
    assert bench.dropped("sink_gated", "down") >= 2
    assert sink.closes == 1 + bench.value("sink_errors_total", sink="gated", reason="disk_full")


def test_without_retry_the_error_reaches_the_caller(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = mp4(Mp4Sink(kind="mp4", path=tmp_path / "file" / "x.mp4"))
    writer = bench.writer(sink, "mp4", keep_all=True, retry=False)
    writer.put(output(0))
    wait_until(lambda: writer.error is not None)
    with pytest.raises(SinkError, match="cannot be written"):
        writer.put(output(1))
    assert writer.close(WAIT_S)


def test_an_error_of_the_last_moment_is_kept_too(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = EventsFile(EventsSink(kind="events", path=tmp_path / "file" / "x.jsonl"))
    writer = bench.writer(sink, "events", keep_all=True, retry=False)
    writer.put(output(0, readings=[reading(0)]))
    assert writer.close(WAIT_S)
    assert isinstance(writer.error, SinkError)
    assert bench.dropped("sink_events", "down") == 1


def test_a_bug_in_a_sink_is_traced_once_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Gated()
    sink.gate.set()
    sink.fault = ZeroDivisionError("a bug")
    writer = bench.writer(sink)
    for seq in range(3):
        writer.put(output(seq))
    wait_until(lambda: bench.value("sink_errors_total", sink="gated", reason="internal") == 3)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    assert bench.dropped("sink_gated", "down") == 3
    assert writer.close(WAIT_S)


def test_close_writes_what_waits_and_finishes_the_file(bench: Bench, tmp_path: Path) -> None:
    sink = mp4(Mp4Sink(kind="mp4", path=tmp_path / "x.mp4"))
    writer = bench.writer(sink, "mp4", keep_all=True, clock_s=1000.3)
    for seq in range(30):
        writer.put(output(seq, captured_s=1000.0))
    assert writer.close(WAIT_S)
    with av.open(str(tmp_path / "x.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
    assert bench.value("frame_age_seconds_count", sink="mp4") == 30
    assert bench.value("frame_age_seconds_sum", sink="mp4") == pytest.approx(9.0)
    assert bench.value("stage_seconds_count", stage="encode") == 30
    writer.put(output(30))
    assert bench.dropped("sink_mp4", "stopping") == 1


def test_close_does_not_outwait_a_sink_that_hangs(bench: Bench) -> None:
    sink = Gated()
    writer = bench.writer(sink)
    writer.put(output(0))
    assert sink.entered.wait(WAIT_S)
    assert not writer.close(0.05)
    sink.gate.set()
    assert writer.close(WAIT_S)


@pytest.mark.usefixtures("good_at_once")
def test_who_asked_hears_when_the_sink_goes_up_and_down(bench: Bench, tmp_path: Path) -> None:
    heard: list[tuple[bool, Reason | None, str | None]] = []
    sink = Gated()
    sink.gate.set()
    writer = Writer(
        sink,
        "lobby",
        "gated",
        keep_all=True,
        metrics=bench.metrics,
        stop=bench.stop,
        note=lambda up, reason, error: heard.append((up, reason, error)),
        first_delay_s=0.01,
    )
    bench.writers.append(writer)
    writer.start()
    writer.put(output(0))
    writer.put(output(1))
    wait_until(lambda: len(sink.written) == 2)
    sink.fault = SinkError(Reason.DISK_FULL, "no room")
    writer.put(output(2))
    wait_until(lambda: len(heard) == 2)
    sink.fault = ValueError("a bug")
    writer.put(output(3))
    wait_until(lambda: len(heard) == 3)
    sink.fault = None
    writer.put(output(4))
    wait_until(lambda: heard[-1][0])
    assert heard[:3] == [
        (True, None, None),
        (False, Reason.DISK_FULL, "no room"),
        (False, Reason.INTERNAL, "ValueError: a bug"),
    ]


class Full(Gated):
    """Takes one picture after each opening, as a full disk takes the head of a recording."""

    def write(self, output: Output) -> bool:
        if len(self.written) > self.closes:
            self.fault = SinkError(Reason.DISK_FULL, "no room")
        return super().write(output)

    def close(self) -> None:
        super().close()
        self.fault = None


def test_a_sink_that_fails_again_at_once_was_not_up_in_between(bench: Bench) -> None:
    sink = Full()
    sink.gate.set()
    writer = bench.writer(sink, keep_all=True)

    def has_failed() -> bool:
        writer.put(output(0))
        return len(bench.heard) >= 4

    wait_until(has_failed)
    assert len(sink.written) >= 3
    assert bench.value("sink_errors_total", sink="gated", reason="disk_full") >= 3
    assert bench.heard[:4] == [True, False, False, False]


def test_a_sink_that_ends_well_soon_after_a_fault_was_up(bench: Bench) -> None:
    """Its file is whole, and is to show as ended."""
    sink = Gated()
    sink.gate.set()
    sink.fault = SinkError(Reason.NOT_WRITABLE, "not mounted")
    writer = bench.writer(sink, keep_all=True)
    writer.put(output(0))
    wait_until(lambda: bench.heard == [False])
    sink.fault = None
    writer.put(output(1))
    wait_until(lambda: len(sink.written) > 0)
    assert bench.heard == [False]
    assert writer.close(5.0)
    assert bench.heard == [False, True]


def test_a_pushs_own_time_out_comes_before_the_writers(tmp_path: Path) -> None:
    url = SecretStr("rtsp://h/x")
    patient = RtspSink(kind="rtsp", url=url, timeout_s=60.0)
    assert hung_s(patient, live=True) == 65.0
    assert hung_s(patient, live=False) == HUNG_S
    assert hung_s(RtspSink(kind="rtsp", url=url), live=True) == HUNG_S
    assert hung_s(Mp4Sink(kind="mp4", path=tmp_path / "x.mp4"), live=True) == HUNG_S


def test_sinks_of_one_kind_are_numbered(tmp_path: Path) -> None:
    mp4 = Mp4Sink(kind="mp4", path=tmp_path / "x.mp4")
    events = EventsSink(kind="events", path=tmp_path / "x.jsonl")
    mjpeg = MjpegSink(kind="mjpeg")
    assert sink_labels([mp4, events, mp4, mjpeg, mp4]) == [
        "mp4",
        "events",
        "mp4-2",
        "mjpeg",
        "mp4-3",
    ]
    feed, playlist = JpegFeed(), Playlist()
    sinks = [make_sink(c, jpegs=feed, playlist=playlist) for c in (mp4, events, mjpeg)]
    assert [type(sink) for sink in sinks] == [Mp4File, EventsFile, MjpegPictures]
