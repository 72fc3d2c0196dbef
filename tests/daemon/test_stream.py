"""The thread of one stream: what it hands out, and what it does about a fault."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from daemon.config.sink_settings import EventsSinkSettings
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row, State
from daemon.reading import Reading
from daemon.sinks.events import EventsFile
from daemon.sinks.writer import Writer
from tests.daemon.sinks.writers import Gated
from tests.daemon.steps import lobby_row, made
from tests.daemon.streams import (
    WAIT_S,
    Known,
    batching,
    free,
    talking,
    value,
)
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = needs_shared


@pytest.fixture
def row() -> Row:
    return lobby_row()


def test_a_reading_waits_for_no_other_frame(
    metrics: Metrics, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera falls silent while its last face is read: the reading goes out at once."""
    monkeypatch.setattr("daemon.stream.POLL_S", 10 * WAIT_S)
    known, stop, published = Known(), threading.Event(), list[Reading]()
    mailbox = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    path = tmp_path / "lobby.jsonl"
    sink = EventsFile(EventsSinkSettings(kind="events", path=path))
    writer = Writer(sink, "lobby", "events", keep_all=False, metrics=metrics, stop=stop)
    with batching(known, metrics) as batcher:
        stream = made(
            batcher,
            metrics,
            row,
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
            wait_until(lambda: published)
            wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
        finally:
            stop.set()
            mailbox.close()
            stream.join(WAIT_S)
            writer.close(WAIT_S)
    assert [reading.seq for reading in published] == [0]
    assert json.loads(path.read_text())["label"] == published[0].label == "happy"


def test_a_file_that_waits_for_the_classifier_does_not_pass_for_one_that_hangs(
    metrics: Metrics, row: Row
) -> None:
    """The classifier is held, as one that has much else to do."""
    known, beats = Known(), threading.Semaphore(0)
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    with batching(known, metrics) as batcher:
        stream = made(
            batcher, metrics, row, keep_all=True, mailbox=mailbox, stop=stop, beat=beats.release
        )
        stream.start()
        try:
            mailbox.put(talking(1)[0], stop)
            assert known.entered.wait(WAIT_S)
            while beats.acquire(blocking=False):
                pass
            for _ in range(2):
                assert beats.acquire(timeout=WAIT_S)
        finally:
            stop.set()
            known.go.set()
            mailbox.close()
            stream.join(WAIT_S)


def test_no_face_is_in_view_of_a_source_that_is_down(metrics: Metrics, row: Row) -> None:
    """1. One face is seen. 2. The source goes down. 3. Metrics and the page count none."""
    mailbox, stop = Mailbox[Frame](keep_all=False, on_drop=lambda: None), threading.Event()
    stream = made(None, metrics, row, mailbox=mailbox, stop=stop)
    stream.start()
    try:
        mailbox.put(talking(1)[0], stop)
        wait_until(lambda: value(metrics.registry, "affectd_faces", stream="lobby") == 1)
        wait_until(lambda: len(row.status().faces) == 1)
        row.set_state("down")
        wait_until(lambda: value(metrics.registry, "affectd_faces", stream="lobby") == 0)
        wait_until(lambda: row.status().faces == ())
    finally:
        stop.set()
        mailbox.close()
        stream.join(WAIT_S)
    assert not stream.running


def test_a_fault_while_it_waits_is_a_fault_like_any_other(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A fault. 2. Another one in the pause after it. 3. The stream ends in its own time."""
    ended: list[bool] = []
    stream = made(None, metrics, row, ended=lambda: ended.append(True))
    faults = iter([RuntimeError("no detector"), MemoryError("no slate")])

    def fail(*_: float) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault

    monkeypatch.setattr(stream, "run_once", fail)
    monkeypatch.setattr(stream, "_pause", fail)
    stream.run()
    counted = {"stream": "lobby", "reason": "internal"}
    assert value(metrics.registry, "affectd_stream_reconnects_total", **counted) == 2
    assert ended == [True]


def test_of_a_source_that_has_ended_no_detector_is_made(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frame failed, and then the device that detectors run on goes away."""
    stream = made(None, metrics, row)
    tries = []

    def fail() -> None:
        tries.append(1)
        stream._mailbox.close()
        raise RuntimeError("no device")

    monkeypatch.setattr(stream, "run_once", fail)
    stream.run()
    assert len(tries) == 1


@pytest.mark.parametrize("state", ["down", "stalled"])
def test_word_that_a_file_is_away_gets_out(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    """It has no slate: who reads it waits for the next picture."""
    monkeypatch.setattr("daemon.stream.POLL_S", 0.05)
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    news = Gated("news")
    writer = Writer(news, "lobby", "gated", keep_all=True, metrics=metrics, stop=stop)
    row.set_state(state)
    stream = made(None, metrics, row, keep_all=True, mailbox=mailbox, stop=stop, writers=[writer])
    news.gate.set()
    writer.start()
    stream.start()
    try:
        wait_until(lambda: news.written)
        assert news.written[0].faces is None
    finally:
        stop.set()
        mailbox.close()
        stream.join(WAIT_S)
        writer.close(WAIT_S)


def test_a_loop_that_dies_is_not_taken_for_one_that_is_over(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence is what the watchdog goes by."""
    ended: list[bool] = []
    stream = made(None, metrics, row, ended=lambda: ended.append(True))
    monkeypatch.setattr(stream, "_run", lambda: [].pop())
    with pytest.raises(IndexError):
        stream.run()
    assert not ended


def test_a_model_that_fails_ends_work_that_must_be_whole(metrics: Metrics, row: Row) -> None:
    known = free()
    known.fails = RuntimeError("out of memory")
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    with batching(known, metrics) as batcher:
        stream = made(
            batcher, metrics, row, keep_all=True, offline=True, mailbox=mailbox, stop=stop
        )
        mailbox.put(talking(1)[0], stop)
        stream.start()
        stream.join(WAIT_S)
    assert str(stream.error) == "lobby: the classifier failed; its log says why"
    assert mailbox.closed


def test_news_are_of_a_source_that_never_came_of_faces_and_of_what_is_late(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. The source is down from the start. 2. It gives one picture, of a face. 3. Nothing more
    comes, but that the face was read. 4. The source is gone."""
    monkeypatch.setattr("daemon.stream.POLL_S", 0.05)
    known, stop = Known(), threading.Event()
    mailbox = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    sinks = news, readings = Gated("news"), Gated("readings")
    writers = [
        Writer(sink, "lobby", "gated", keep_all=False, metrics=metrics, stop=stop) for sink in sinks
    ]
    row.set_state("down")
    with batching(known, metrics) as batcher:
        stream = made(batcher, metrics, row, mailbox=mailbox, stop=stop, writers=writers)
        for sink, writer in zip(sinks, writers, strict=True):
            sink.gate.set()
            writer.start()
        stream.start()
        try:
            wait_until(lambda: news.written)
            assert (news.written[0].slate, news.written[0].faces) == (True, None)
            assert readings.written == []
            row.set_state("live")
            mailbox.put(talking(1)[0], stop)
            wait_until(lambda: readings.written)
            wait_until(lambda: not news.written[-1].slate)
            (face,) = news.written[-1].faces
            assert face.label is None
            known.go.set()
            wait_until(lambda: news.written[-1].faces[0].label is not None)
            (told,) = [output.faces for output in news.written if output.readings]
            assert told is not None
            assert told[0].label is not None  # at once, and not with the next picture
            row.set_state("stalled")
            wait_until(lambda: news.written[-1].faces is None)
        finally:
            stop.set()
            mailbox.close()
            stream.join(WAIT_S)
            for writer in writers:
                writer.close(WAIT_S)
