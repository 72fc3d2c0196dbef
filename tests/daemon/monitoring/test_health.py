from __future__ import annotations

from daemon.errors import Reason
from daemon.monitoring.health import Health
from daemon.monitoring.status import STATES, StreamStatus
from tests.clock import Clock


def test_a_loop_that_stops_turning_is_named() -> None:
    clock = Clock()
    health = Health(clock)
    capture = health.loop("capture lobby", 10)
    batcher = health.loop("batcher", 2)
    clock.now_s += 1.5
    capture()
    batcher()
    assert health.is_alive() == (True, "loops that turn: 2")
    clock.now_s += 5
    alive, reason = health.is_alive()
    assert not alive
    assert reason == "batcher has not turned for 5.0 s (limit 2 s)"
    batcher()
    assert health.is_alive()[0]


def test_a_loop_that_never_turned_is_found_too() -> None:
    clock = Clock()
    health = Health(clock)
    health.loop("capture lobby", 10)
    clock.now_s += 11
    assert health.is_alive() == (False, "capture lobby has not turned for 11.0 s (limit 10 s)")


def test_a_loop_that_ends_is_no_longer_watched() -> None:
    clock = Clock()
    health = Health(clock)
    beat = health.loop("stream lobby", 1)
    beat()
    beat.end()
    beat()
    beat.end()
    clock.now_s += 60
    assert health.is_alive() == (True, "loops that turn: 0")


def test_ready_wants_models_and_one_stream_that_delivers() -> None:
    health = Health(Clock())
    down = StreamStatus("lobby", "down", 0.0, reason=Reason.TIMEOUT)
    live = StreamStatus("door", "live", 0.0)
    assert health.is_ready([live]) == (False, "the models are not loaded yet")
    health.models_loaded = True
    assert health.is_ready([down]) == (False, "no stream delivers: lobby is down (timeout)")
    for state in STATES:
        is_ready, _ = health.is_ready([StreamStatus("door", state, 0.0)])
        assert is_ready == (state == "live")
    assert health.is_ready([down, live]) == (True, "1 of 2 streams deliver")
    assert health.is_ready([]) == (False, "no stream delivers: none is configured")
