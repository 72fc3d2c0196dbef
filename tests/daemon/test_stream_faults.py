"""What the thread of one stream does about a fault."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from daemon.backoff import Backoff
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from daemon.sinks.base import Output, Takes
from tests.clock import Clock
from tests.daemon.steps import lobby_row, made
from tests.daemon.streams import WAIT_S, Known, batching, talking, value
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = needs_shared


@pytest.fixture
def row() -> Row:
    return lobby_row()


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


@pytest.mark.parametrize("stopped", [False, True])
def test_a_model_that_fails_ends_work_that_must_be_whole(
    metrics: Metrics, row: Row, stopped: bool
) -> None:
    """Where a stop ends it, that is no fault of the model's."""
    known = Known()
    known.fails = RuntimeError("out of memory")
    mailbox, stop = Mailbox[Frame](keep_all=True, on_drop=lambda: None), threading.Event()
    with batching(known, metrics) as batcher:
        stream = made(
            batcher, metrics, row, keep_all=True, offline=True, mailbox=mailbox, stop=stop
        )
        mailbox.put(talking(1)[0], stop)
        stream.start()
        assert known.entered.wait(WAIT_S)
        if stopped:
            stop.set()
        known.go.set()
        assert stream.join(WAIT_S)
    fault = "lobby: the classifier failed; its log says why"
    assert str(stream.error) == ("None" if stopped else fault)
    assert mailbox.closed


def test_the_delay_doubles_until_the_stream_has_worked_for_a_while(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails at once each time, however long it had waited; then after a good while."""
    clock, stop, pauses = Clock(), threading.Event(), list[float]()
    stream = made(None, metrics, row, stop=stop)
    good_s = [0.0] * 5 + [6.0, 0.0]

    def run_once() -> None:
        if not good_s:
            stop.set()
            return
        clock.now_s += good_s.pop(0)
        raise RuntimeError("no detector")

    def pause(delay_s: float) -> None:
        pauses.append(delay_s)
        clock.now_s += delay_s

    monkeypatch.setattr("daemon.stream.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(stream, "run_once", run_once)
    monkeypatch.setattr(stream, "_pause", pause)
    stream.run()
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 1.0, 2.0]


def test_while_it_waits_it_is_seen_to_turn_and_gives_word_that_it_is_down(
    metrics: Metrics, row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is long, and ends with the source: there is nothing left to start anew for."""
    monkeypatch.setattr("daemon.backoff.BEAT_S", 0.01)
    monkeypatch.setattr("daemon.stream.Backoff", lambda: Backoff(600.0))
    beats, told = threading.Semaphore(0), list[Output]()

    class Outlet:
        takes: Takes = "news"

        def put(self, output: Output) -> None:
            told.append(output)

    mailbox = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    stream = made(None, metrics, row, mailbox=mailbox, writers=[Outlet()], beat=beats.release)
    monkeypatch.setattr(stream, "run_once", lambda: [].pop())
    stream.start()
    for _ in range(2):
        assert beats.acquire(timeout=WAIT_S)
    wait_until(lambda: told)
    assert (told[0].slate, told[0].faces) == (True, None)
    mailbox.close()
    assert stream.join(WAIT_S)
