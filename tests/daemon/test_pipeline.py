"""A whole live stream, from its source to its sinks and to those who read over HTTP."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon import pipeline as pipeline_module
from daemon.backoff import GOOD_AFTER_S
from daemon.errors import Reason
from daemon.monitoring.health import Health
from daemon.monitoring.status import Board
from daemon.reading import Reading
from daemon.sinks.writer import HUNG_S
from detectors.base import Detection
from tests.clock import Clock
from tests.daemon.pipelines import Around, Faulty, events, mp4, running
from tests.daemon.sinks.writers import Gated
from tests.daemon.streams import WAIT_S, batching, free
from tests.serving import serving
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = [needs_shared, pytest.mark.usefixtures("patient_close")]

DEMO = "demo://{name}?faces=1&size=320x240&fps=10&seed=3"


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
        bad = around.pipeline(
            batcher, "bad", DEMO.format(name="b"), detector=detector.choice, publish=read.append
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
    assert detector.makes == detector.closes == 3
    counted = {"stream": "bad", "reason": "internal"}
    assert around.value("affectd_stream_reconnects_total", **counted) == 2
    lost = {"stream": "bad", "stage": "stream", "reason": "error"}
    assert around.value("affectd_frames_dropped_total", **lost) == 2
    told = [r for r in caplog.records if "it starts anew" in r.getMessage()]
    assert [bool(record.exc_info) for record in told] == [True, False]
    assert [record.levelname for record in told] == ["ERROR", "DEBUG"]


class Hanging(Faulty):
    """It does not come back from the look after its first fault, until it is `let_go`."""

    def __init__(self) -> None:
        super().__init__(range(1, 2))
        self.hangs, self.let_go = threading.Event(), threading.Event()

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        if self._looks:
            self.hangs.set()
            assert self.let_go.wait(WAIT_S)
        return super().detect(image)


def test_a_stream_that_comes_back_too_late_says_nothing_of_its_successor() -> None:
    """
    1. A stream fails, begins anew and hangs.
    2. Another of its name takes its place, and fails.
    3. The first comes back: it works again, but the second is down as before.
    """
    before = Around()
    after = Around(before.metrics, before.board, before.health)
    hanging, failing = Hanging(), Faulty(range(1, 1000))
    first = before.pipeline(None, "lobby", DEMO.format(name="a"), detector=hanging.choice)
    with running(before, first):
        assert hanging.hangs.wait(WAIT_S)
        before.stop.set()
        second = after.pipeline(None, "lobby", DEMO.format(name="b"), detector=failing.choice)
        with running(after, second):
            wait_until(lambda: after.state("lobby").reason is Reason.INTERNAL)
            hanging.let_go.set()
            first.join()
            assert after.state("lobby").reason is Reason.INTERNAL


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


def test_it_has_ended_when_the_last_of_its_threads_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that hangs is left behind by `close`, and waited for by `join`."""
    monkeypatch.setattr(pipeline_module, "CLOSE_S", 0.1)
    hung = Gated()
    monkeypatch.setattr(pipeline_module, "make_sink", lambda *_, **__: hung)
    around = Around()
    pipeline = around.pipeline(
        None, "lobby", DEMO.format(name="d"), events(tmp_path / "a.jsonl"), policy="live"
    )
    with running(around, pipeline):
        assert hung.entered.wait(WAIT_S)
    joining = threading.Thread(target=pipeline.join, daemon=True)
    joining.start()
    joining.join(0.1)
    assert joining.is_alive()
    hung.gate.set()
    joining.join(WAIT_S)
    assert not joining.is_alive()


def test_each_sink_has_the_time_that_its_settings_give_it(tmp_path: Path) -> None:
    """A push whose server may be silent for a minute, and a film that is written every 8 s."""
    push = {"kind": "rtsp", "url": "rtsp://127.0.0.1:1/x", "timeout_s": 60.0}
    film = {**mp4(tmp_path / "x.mp4"), "fragment_s": 8.0}
    pipeline = Around().pipeline(None, "lobby", DEMO.format(name="d"), push, film, policy="live")
    times = [(writer._hung_s, writer._good_after_s) for writer in pipeline.writers]
    assert times == [(65.0, GOOD_AFTER_S), (HUNG_S, GOOD_AFTER_S + 8.0)]


@pytest.mark.parametrize(("policy", "state"), [("live", "stalled"), ("file", "live")])
def test_a_camera_that_falls_silent_shows_before_its_time_out(policy: str, state: str) -> None:
    """After more than half of its 10 s. A file is as slow as what is done with it."""
    clock = Clock()
    around = Around(board=Board(time.time, monotonic=clock))
    pipeline = around.pipeline(None, "lobby", DEMO.format(name="d"), policy=policy)
    registry = around.metrics.registry
    assert registry.get_sample_value("affectd_frames_total", {"stream": "lobby"}) == 0.0
    pipeline._row.set_state("live")
    clock.now_s += 5.5
    assert around.state("lobby").state == state
    pipeline.close()


def test_all_threads_end_and_no_loop_is_watched_any_more(tmp_path: Path) -> None:
    """1. Each of its loops turns again, however long that has taken. 2. It ends."""
    clock = Clock()
    around = Around(health=Health(clock))
    pipeline = around.pipeline(None, "lobby", DEMO.format(name="d"), events(tmp_path / "e.jsonl"))
    with running(around, pipeline):
        wait_until(lambda: around.state("lobby").frames >= 2)
        clock.now_s += 600.0
        wait_until(lambda: around.health.is_alive() == (True, "loops that turn: 2"))
    wait_until(lambda: around.health.is_alive() == (True, "loops that turn: 0"))
    wait_until(lambda: not [thread for thread in threading.enumerate() if "lobby" in thread.name])
