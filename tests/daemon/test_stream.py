"""The thread of one stream: what it hands out, while frames come and while none do."""

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
from tests.daemon.steps import lobby_row, made, settings
from tests.daemon.streams import WAIT_S, Known, batching, talking, value
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
    known, beats, published = Known(), threading.Semaphore(0), list[Reading]()
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    with batching(known, metrics) as batcher:
        stream = made(
            batcher,
            metrics,
            row,
            keep_all=True,
            mailbox=mailbox,
            stop=stop,
            beat=beats.release,
            publish=published.append,
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
            assert stream.join(WAIT_S)
    assert published == []  # Once stopped, a newer stream of the same name may be there.


def test_no_face_is_in_view_of_a_source_that_is_down(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. One face is seen, and in view until the next picture of a slow camera; the thread is seen
    to turn. 2. The source goes down. 3. Metrics and the page count none."""
    monkeypatch.setattr("daemon.stream.POLL_S", 0.01)
    mailbox, stop = Mailbox[Frame](keep_all=False, on_drop=lambda: None), threading.Event()
    beats = threading.Semaphore(0)
    stream = made(None, metrics, row, mailbox=mailbox, stop=stop, beat=beats.release)
    stream.start()
    try:
        mailbox.put(talking(1)[0], stop)
        wait_until(lambda: len(row.status().faces) == 1)
        while beats.acquire(blocking=False):
            pass
        for _ in range(3):
            assert beats.acquire(timeout=WAIT_S)
        assert value(metrics.registry, "affectd_faces", stream="lobby") == 1
        row.set_state("down")
        wait_until(lambda: value(metrics.registry, "affectd_faces", stream="lobby") == 0)
        wait_until(lambda: row.status().faces == ())
    finally:
        stop.set()
        mailbox.close()
        stream.join(WAIT_S)
    assert not stream.running


def test_other_settings_hold_from_the_next_frame_on(metrics: Metrics, row: Row) -> None:
    mailbox, stop = Mailbox[Frame](keep_all=False, on_drop=lambda: None), threading.Event()
    stream = made(None, metrics, row, mailbox=mailbox, stop=stop)
    every = "affectd_detect_every_frames"
    stream.start()
    try:
        for frame, wanted in zip(talking(2), (1, 3), strict=True):
            stream.follow(settings(detector={"every": wanted}))
            mailbox.put(frame, stop)
            wait_until(lambda n=wanted: value(metrics.registry, every, stream="lobby") == n)  # type: ignore[misc]
    finally:
        stop.set()
        mailbox.close()
        stream.join(WAIT_S)


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
