"""affectd and a real broker, as Home Assistant sees them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from tests.affectd import END_S, START_S, Daemon
from tests.daemon.sinks.test_push_refusals import serving
from tests.mosquitto import Listener, Mosquitto, needs_mosquitto
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = [needs_mosquitto, needs_shared]

PASSWORD = "p@s:s/w#r?d %&ü"
STATE, AVAILABLE = "affectd/lobby/state", "affectd/lobby/availability"
READING, DEVICE = "affectd/lobby/reading", "homeassistant/device/affectd_lobby/config"
FAST = '[expression]\nweights = "vgg10-small"\ntta = "none"\n'
LOBBY = '[[stream]]\nname = "lobby"\nurl = "demo://lobby?faces=2&size=640x360&fps=5&seed=3"\n'
UP = 'affectd_sink_up{sink="mqtt",stream="lobby"} 1.0'


def sink(url: str) -> str:
    return f'[[stream.sink]]\nkind = "mqtt"\nurl = "{url}"\n'


def wait_for_fault(daemon: Daemon, reason: str) -> None:
    counted = f'affectd_sink_errors_total{{reason="{reason}",sink="mqtt",stream="lobby"}} [1-9]'
    daemon.wait_for(lambda: bool(re.search(counted, daemon.get("/metrics").text)), reason)


@pytest.fixture
def broker(tmp_path: Path) -> Mosquitto:
    return Mosquitto(tmp_path, users={"affectd": PASSWORD, "home": "home"})


def hears(broker: Mosquitto) -> Listener:
    return Listener(broker, "home", "home")


def test_from_a_broker_that_is_not_there_to_the_end(tmp_path: Path, broker: Mosquitto) -> None:
    """
    1. Start beside a broker that is down, and a camera that never gives a picture.
    2. The broker comes: discovery, states and readings are there.
    3. It is killed with all that it kept, and comes back: they are there again.
    4. SIGTERM: both streams are said to be off.
    """
    url = broker.url(user="affectd:${MQTT_PASSWORD}")
    absent = '[[stream]]\nname = "absent"\nurl = "rtsp://127.0.0.1:1/none"\n'
    events = '[[stream.sink]]\nkind = "events"\npath = "absent.jsonl"\n'
    text = FAST + LOBBY + sink(url) + absent + sink(url) + events
    with Daemon(tmp_path, text, MQTT_PASSWORD=PASSWORD) as daemon:
        wait_for_fault(daemon, "connect_refused")
        assert daemon.stream("lobby")["state"] == "live"
        with broker:
            for _ in range(2):
                with hears(broker) as listener:
                    wait_until(lambda: _has_read(listener), START_S)
                    wait_until(lambda: listener.last(READING), START_S)
                    wait_until(lambda: listener.states("absent"), START_S)
                    listener.wait_for("affectd/absent/availability", "online")
                    assert listener.last(DEVICE) is not None
                    assert listener.states("absent")[-1]["live"] is False
                    reading = json.loads(listener.all(READING)[0])
                    assert (reading["schema"], reading["stream"]) == (1, "lobby")
                    assert reading["age_ms"] < 60_000
                daemon.wait_for_metric(UP)
                broker.stop()
                broker.start()
            with hears(broker) as listener:
                for stream in ("lobby", "absent"):
                    listener.wait_for(f"affectd/{stream}/availability", "online")
                code, took_s = daemon.end()
                for stream in ("lobby", "absent"):
                    listener.wait_for(f"affectd/{stream}/availability", "offline")
                    assert listener.states(stream)[-1]["live"] is False
        assert (code, took_s < END_S) == (0, True), daemon.log
    assert not (tmp_path / "absent.jsonl").exists()  # as ever, before the first picture
    assert "s/w#r" not in daemon.log
    shown = f"mqtt sink: mqtt://affectd:***@127.0.0.1:{broker.port}/affectd"
    assert f"lobby: {shown}: the connection was refused; trying again until it works" in daemon.log


def _has_read(listener: Listener) -> bool:
    """Whether both faces were read, and somebody shows something."""
    states = listener.states()
    return bool(states) and states[-1]["faces"] == 2 and sum(states[-1]["labels"].values()) == 2


def test_affectd_that_is_killed_is_off(tmp_path: Path, broker: Mosquitto) -> None:
    url = broker.url(user="affectd:${MQTT_PASSWORD}")
    with (
        broker,
        hears(broker) as listener,
        Daemon(tmp_path, FAST + LOBBY + sink(url), MQTT_PASSWORD=PASSWORD) as daemon,
    ):
        wait_until(lambda: listener.last(AVAILABLE) == "online", START_S)
        daemon.process.send_signal(signal.SIGKILL)
        listener.wait_for(AVAILABLE, "offline")


def test_a_wrong_password_shows_everywhere_but_for_itself(
    tmp_path: Path, broker: Mosquitto
) -> None:
    url = broker.url(user="affectd:${MQTT_PASSWORD}")
    with (
        broker,
        Daemon(tmp_path, FAST + LOBBY + sink(url), MQTT_PASSWORD="wr@ng/one") as daemon,
    ):
        wait_for_fault(daemon, "auth_failed")
        told = daemon.get("/api/streams")
        (shown,) = told.json()["streams"][0]["sinks"]
        assert (shown["name"], shown["state"], shown["reason"]) == ("mqtt", "down", "auth_failed")
        assert "it does not let us in (not authorized)" in shown["last_error"]
        assert "ng/one" not in daemon.log + told.text


def test_a_broker_that_says_nothing_holds_up_nobody(tmp_path: Path) -> None:
    """It accepts, and that is all: pictures go on all the while."""
    with serving(lambda connection: None) as port:
        text = FAST + LOBBY + '[[stream.sink]]\nkind = "mjpeg"\n' + sink(f"mqtt://127.0.0.1:{port}")
        with Daemon(tmp_path, text) as daemon:
            daemon.wait_for(lambda: daemon.stream("lobby")["state"] == "live", "pictures")
            before = daemon.stream("lobby")["frames"]
            wait_for_fault(daemon, "timeout")  # after ten seconds, of five pictures each
            after = daemon.stream("lobby")["frames"]
            assert isinstance(before, int)
            assert isinstance(after, int)
            assert after - before > 10
            assert "no answer within 10 s" in daemon.log
            code, took_s = daemon.end()
            assert (code, took_s < END_S) == (0, True), daemon.log
