"""What a sink's writer queues, drops and finishes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.config.sink_settings import EventsSinkSettings, HlsSinkSettings, Mp4SinkSettings
from daemon.sinks.backlog import QUEUE_FRAMES, QUEUE_READINGS, backlog_for
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.events import EventsFile
from tests.daemon.outputs import mp4, output, picture, reading
from tests.daemon.sinks.writers import WAIT_S, Bench, Gated
from tests.media import frames_in
from tests.waiting import wait_until


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


def test_readings_that_failed_come_before_those_that_waited() -> None:
    backlog = backlog_for("readings", lambda count: None)
    backlog.put(output(0, readings=[reading(0)]))
    failed = backlog.take()
    for seq in range(1, QUEUE_FRAMES + 3):
        backlog.put(output(seq, readings=[reading(seq)]))
    backlog.failed(failed, again=True)
    taken = iter(backlog.take, None)
    assert [r.seq for o in taken for r in o.readings] == list(range(QUEUE_FRAMES + 3))


def test_packets_of_while_a_sink_was_down_are_old_and_it_goes_on_with_a_keyframe() -> None:
    encoder = StreamEncoder(HlsSinkSettings(kind="hls"), live=True, repeats=True)
    packets = [packet for seq in range(60) for packet in encoder.encode(output(seq))]
    lost: list[int] = []
    backlog = backlog_for("packets", lost.append)
    for packet in packets[:30]:
        backlog.put(packet)
    backlog.comes_back()
    assert backlog.take() is None
    assert sum(lost) == 30
    for packet in packets[30:]:
        backlog.put(packet)
    first = next(packet for packet in packets[30:] if packet.is_keyframe)
    assert backlog.take() is first
    assert sum(lost) == packets.index(first) > 30


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
    wait_until(lambda: len(sink.written) == QUEUE_FRAMES + 1)
    writer.put(output(50))  # There is room again, and a file must not go on after a gap.
    assert writer.close(WAIT_S)
    assert sink.seqs == list(range(QUEUE_FRAMES + 1))


def test_close_writes_what_waits_and_finishes_the_file(bench: Bench, tmp_path: Path) -> None:
    sink = mp4(Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4"))
    writer = bench.writer(sink, "mp4", keep_all=True, clock_s=1000.3)
    for seq in range(30):
        writer.put(output(seq, captured_s=1000.0))
    assert writer.close(WAIT_S)
    assert frames_in(tmp_path / "x.mp4") == 30
    assert bench.value("frame_age_seconds_count", sink="mp4") == 30
    assert bench.value("frame_age_seconds_sum", sink="mp4") == pytest.approx(9.0)
    assert bench.value("stage_seconds_count", stage="encode") == 30
    writer.put(output(30))
    assert bench.dropped("sink_mp4", "stopping") == 1


def test_only_what_was_written_and_captured_has_an_age(bench: Bench, tmp_path: Path) -> None:
    """1. A reading that comes with a slate. 2. A picture without one. 3. A reading of a picture,
    and 4. of one from before the clock was set back. None of them was encoded."""
    sink = EventsFile(EventsSinkSettings(kind="events", path=tmp_path / "readings.jsonl"))
    writer = bench.writer(sink, "events", keep_all=True, clock_s=1000.5)
    writer.put(output(0, captured_s=900.0, readings=[reading(0)], slate=True))
    writer.put(output(1, captured_s=900.0))
    writer.put(output(2, captured_s=1000.0, readings=[reading(2)]))
    writer.put(output(3, captured_s=2000.0, readings=[reading(3)]))
    assert writer.close(WAIT_S)
    assert bench.value("frame_age_seconds_count", sink="events") == 2
    assert bench.value("frame_age_seconds_sum", sink="events") == pytest.approx(0.5)
    assert bench.value("stage_seconds_count", stage="encode") == 0


def test_close_does_not_outwait_a_sink_that_hangs(bench: Bench) -> None:
    sink = Gated()
    writer = bench.writer(sink)
    writer.put(output(0))
    assert sink.entered.wait(WAIT_S)
    assert not writer.close(0.05)
    sink.gate.set()
    assert writer.close(WAIT_S)
