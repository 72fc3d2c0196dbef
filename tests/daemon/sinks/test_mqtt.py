"""What a stream tells a real broker, and what becomes of it when that fails."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from daemon.config.sink_settings import MqttSinkSettings
from daemon.errors import Reason, SinkError
from daemon.sinks.broker import Broker
from daemon.sinks.mqtt import MqttTopics, state
from tests.daemon.outputs import face, output, reading
from tests.daemon.sinks.test_push_refusals import serving
from tests.daemon.sinks.writers import Bench
from tests.mosquitto import Listener, Mosquitto, needs_mosquitto
from tests.tls import certificate, needs_openssl, tls_before
from tests.waiting import wait_until

pytestmark = needs_mosquitto

AVAILABLE, READING = "affectd/lobby/availability", "affectd/lobby/reading"
STATE, DEVICE = "affectd/lobby/state", "homeassistant/device/affectd_lobby/config"
NOTHING = state(False, ())
# Every sign that may end a part of a URL.
PASSWORD = "p@ss:w/rd?#% %41+ü"


def settings(url: str, **keys: Any) -> MqttSinkSettings:
    return MqttSinkSettings(kind="mqtt", url=SecretStr(url), **keys)


@contextmanager
def sink(
    url: str,
    timeout_s: float = 60.0,
    monotonic: Callable[[], float] = time.monotonic,
    **keys: Any,
) -> Iterator[MqttTopics]:
    """One that is gone without a word at the end."""
    config = settings(url, **keys)
    made = MqttTopics(config, "lobby", timeout_s=timeout_s, monotonic=monotonic)
    try:
        yield made
    finally:
        made._drop()


def fault(url: str, timeout_s: float = 60.0, **keys: Any) -> SinkError:
    with sink(url, timeout_s, **keys) as made, pytest.raises(SinkError) as caught:
        made.write(output(0, faces=()))
    return caught.value


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as broker:
        yield broker


def test_what_is_told_and_what_of_it_is_kept(broker: Mosquitto) -> None:
    happy = face("happy", track=3)
    with sink(broker.url()) as made:
        with Listener(broker) as listener:
            assert made.write(output(0, faces=[happy], readings=[reading(0), reading(1)]))
            assert not made.write(output(1, faces=[happy]))
            made.write(output(2, faces=[happy], readings=[reading(2)]))
            wait_until(lambda: len(listener.heard) == 6)
        with Listener(broker) as late:
            wait_until(lambda: len(late.heard) == 3)
    told = [(topic, payload) for topic, payload, _ in listener.heard]
    # Available last, so that nobody takes a state of before for that of now.
    assert told[0][0] == DEVICE
    assert told[1:3] == [(STATE, state(True, [happy])), (AVAILABLE, "online")]
    assert told[3:] == [(READING, reading(seq).to_json()) for seq in (0, 1, 2)]
    assert sorted(late.heard) == sorted((*kept, True) for kept in told[:3])


def test_at_the_end_nothing_is_left_that_is_not_so(broker: Mosquitto) -> None:
    with sink(broker.url()) as made, Listener(broker) as listener:
        made.write(output(0, faces=[face("sad")]))
        made.close()
        made.close()
        with Listener(broker) as late:
            wait_until(lambda: len(late.heard) == 3)
        made.write(output(0, faces=[face("sad")]))
        wait_until(lambda: listener.all(AVAILABLE)[1:] and listener.last(AVAILABLE) == "online")
    assert (late.last(STATE), late.last(AVAILABLE)) == (NOTHING, "offline")
    # Once: the broker has nothing to add to a goodbye.
    assert listener.all(AVAILABLE) == ["online", "offline", "online"]


def test_after_a_crash_the_broker_goes_on_saying_so(broker: Mosquitto) -> None:
    with Listener(broker) as listener:
        with sink(broker.url()) as made:
            made.write(output(0, faces=()))
        wait_until(lambda: listener.last(AVAILABLE) == "offline")
    with Listener(broker) as late:
        wait_until(lambda: late.all(AVAILABLE))
    assert late.all(AVAILABLE) == ["offline"]


def test_without_discovery(broker: Mosquitto) -> None:
    with Listener(broker) as listener, sink(broker.url(prefix="/a/b/"), discovery="") as made:
        made.write(output(0, faces=()))
        wait_until(lambda: len(listener.heard) == 2)
    topics = [topic for topic, *_ in listener.heard[:2]]
    assert topics == ["a/b/lobby/state", "a/b/lobby/availability"]


def test_the_state_is_told_when_it_is_another_and_not_too_often(broker: Mosquitto) -> None:
    clock = [0.0]
    with sink(broker.url(), monotonic=lambda: clock[0]) as made, Listener(broker) as listener:
        for label, clock[0], is_told in (
            (None, 100.0, True),
            ("sad", 100.1, False),
            ("happy", 100.4, False),
            ("happy", 100.6, True),
            ("happy", 103.0, False),
            ("sad", 103.1, True),
        ):
            assert made.write(output(0, faces=[face(label)])) == is_told
        wait_until(lambda: len(listener.states()) == 3)
    assert [said["expression"] for said in listener.states()] == [None, "happy", "sad"]


def test_a_face_that_is_missed_for_a_moment_switches_nothing_off(broker: Mosquitto) -> None:
    """1. Two faces. 2. One is missed. 3. It is gone for longer. 4. The source is away. 5. What
    comes late of before says nothing new. 6. It is back. 7. A reading, between two pictures, says
    what it shows by now. 8. The source's time begins anew."""
    both = [face("happy", track=1), face("sad", track=2, side_px=90)]
    seconds = count().__next__
    with sink(broker.url(), monotonic=seconds) as made, Listener(broker) as listener:
        assert made.write(output(0, pts_s=5.0, faces=both))
        assert not made.write(output(1, pts_s=5.5, faces=both[:1]))
        assert made.write(output(2, pts_s=6.1, faces=both[:1]))
        assert made.write(output(3, pts_s=6.2, slate=True))
        assert made.write(output(4, pts_s=6.2, readings=[reading(4)], slate=True))
        assert made.write(output(5, pts_s=6.3, faces=both[1:]))
        fear = [face("fear", track=2)]
        assert made.write(output(5, pts_s=6.3, faces=fear, readings=[reading(5)], slate=True))
        assert made.write(output(6, pts_s=1.0, faces=both[:1]))
        wait_until(lambda: len(listener.states()) == 6)
    found = [(said["live"], said["faces"], said["expression"]) for said in listener.states()]
    assert found[:2] == [(True, 2, "sad"), (True, 1, "happy")]
    assert found[2:5] == [(False, 0, None), (True, 1, "sad"), (True, 1, "fear")]
    assert found[5] == (True, 1, "happy")


def test_the_state_counts_labels() -> None:
    faces = [
        face("happy", track=1, side_px=50),
        face("happy", track=2),
        face("unknown", track=3),
        face("sad", track=4, age_s=60.0),
        face(None, track=5, side_px=70),
    ]
    found = json.loads(state(True, faces))
    assert (found["live"], found["faces"], found["expression"]) == (True, 5, "happy")
    assert {label: n for label, n in found["labels"].items() if n} == {"happy": 2, "unknown": 2}
    assert len(found["labels"]) == 8
    assert json.loads(NOTHING)["expression"] is None


def test_a_broker_that_comes_back_is_told_all_anew(broker: Mosquitto) -> None:
    """1. All is told. 2. The broker is killed, with what it kept. 3. It is gone. 4. It is back."""
    with sink(broker.url()) as made:
        made.write(output(0, faces=[face("happy")]))
        broker.stop()
        lost = []
        for _ in range(2):
            with pytest.raises(SinkError) as caught:
                wait_until(lambda: made.write(output(1, readings=[reading(1)])) is None)
            lost.append(caught.value.reason)
        assert lost == [Reason.END_OF_STREAM, Reason.CONNECT_REFUSED]
        broker.start()
        made.write(output(2, faces=[face("happy")]))
        with Listener(broker) as late:
            wait_until(lambda: {topic for topic, *_ in late.heard} == {DEVICE, STATE, AVAILABLE})
    assert (late.states()[0]["expression"], late.last(AVAILABLE)) == ("happy", "online")


def test_a_broker_that_freezes_is_given_up(broker: Mosquitto) -> None:
    with sink(broker.url(), timeout_s=1.0, monotonic=count().__next__) as made:
        made.write(output(0, faces=()))
        broker.freeze()
        with pytest.raises(SinkError) as caught:
            made.write(output(1, faces=[face("happy")], readings=[reading(1)]))
    assert caught.value.reason is Reason.TIMEOUT


def test_one_that_freezes_at_the_end_does_not_keep_affectd(broker: Mosquitto) -> None:
    with sink(broker.url()) as made:
        made.write(output(0, faces=()))
        broker.freeze()
        with pytest.raises(SinkError, match=r"no answer within 1\.5 s"):
            made.close()
        made.close()
    assert not [one for one in threading.enumerate() if one.name.startswith("paho")]


def test_passwords_may_hold_anything(tmp_path: Path) -> None:
    """Percent-encoded by a configuration, or as people write it."""
    encoded = "p%40ss%3Aw%2Frd%3F%23%25%20%2541%2B%C3%BC"
    with Mosquitto(tmp_path, users={"cam": PASSWORD}) as broker:
        for written in (PASSWORD, encoded):
            with sink(broker.url(user=f"cam:{written}")) as made:
                assert made.write(output(0, faces=()))


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"cam": PASSWORD}) as broker:
        for user in ("cam:wr@ng-passw/rd", ""):
            refused = fault(broker.url(user=user))
            assert refused.reason is Reason.AUTH_FAILED
            shown = f"mqtt://{user and 'cam:***@'}127.0.0.1:{broker.port}/affectd"
            assert str(refused) == (f"mqtt sink: {shown}: it does not let us in (not authorized)")


def test_a_topic_that_the_broker_refuses_is_named(tmp_path: Path) -> None:
    rules = "user cam\ntopic readwrite affectd/#\n"
    with Mosquitto(tmp_path, users={"cam": "cam"}, rules=rules) as broker:
        refused = fault(broker.url(user="cam:cam"))
        assert refused.reason is Reason.AUTH_FAILED
        assert str(refused).endswith(f": it refused a message (not authorized), at {DEVICE}")
        with sink(broker.url(user="cam:cam"), discovery="") as made:
            assert made.write(output(0, faces=()))


@needs_openssl
def test_tls(broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = certificate(tmp_path, "localhost")
    with tls_before(broker.port, pair) as port:
        unknown = fault(f"mqtts://localhost:{port}")
        assert unknown.reason is Reason.TLS
        assert "certificate is not trusted (self-signed certificate)" in str(unknown)
        with sink(f"mqtts://localhost:{port}", tls_verify=False) as made:
            assert made.write(output(0, faces=()))
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        with sink(f"mqtts://localhost:{port}") as made:
            assert made.write(output(0, faces=()))
        assert fault(f"mqtts://127.0.0.1:{port}").reason is Reason.TLS  # not of that name
    assert fault(f"mqtts://localhost:{broker.port}").reason is Reason.TLS


def test_one_that_accepts_and_says_nothing() -> None:
    with serving(lambda connection: None) as port:
        silent = fault(f"mqtt://127.0.0.1:{port}", timeout_s=0.5)
    assert silent.reason is Reason.TIMEOUT
    assert str(silent) == f"mqtt sink: mqtt://127.0.0.1:{port}: no answer within 0.5 s"


def test_one_that_hangs_up() -> None:
    with serving(lambda connection: connection.shutdown(socket.SHUT_WR)) as port:
        stranger = fault(f"mqtt://127.0.0.1:{port}")
    assert stranger.reason is Reason.CONNECT_REFUSED
    assert str(stranger).endswith(": it hung up; does it speak MQTT 5?")


def test_one_that_takes_leave_without_a_fault() -> None:
    """As one that is shut down in order."""

    def leave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(bytes.fromhex("20 03 00 00 00"))  # welcome
        connection.recv(4096)
        connection.sendall(bytes.fromhex("e0 00"))

    with serving(leave) as port:
        broker = Broker(settings(f"mqtt://127.0.0.1:{port}"), "affectd", "will")
        broker.open()
        broker.send("topic", "payload")
        wait_until(lambda: broker._fault)
        with pytest.raises(SinkError, match="the connection was lost"):
            broker.flush()
        broker.drop()


def test_hosts(tmp_path: Path) -> None:
    for name in ("nowhere.invalid", f"{'n' * 64}.invalid"):
        assert fault(f"mqtt://{name}").reason is Reason.NOT_FOUND
    with Mosquitto(tmp_path, host="::1") as broker, sink(broker.url()) as made:
        assert made.write(output(0, faces=()))


def test_who_comes_back_takes_the_place_of_what_is_left_of_it(broker: Mosquitto) -> None:
    """As after a crash of the machine: the broker still takes the first for alive."""
    with sink(broker.url()) as first, sink(broker.url()) as second:
        with Listener(broker) as listener:
            first.write(output(0, faces=()))
            second.write(output(0, faces=()))
            with pytest.raises(SinkError) as caught:
                wait_until(lambda: first.write(output(1, faces=())) is None)
            wait_until(lambda: len(listener.all(AVAILABLE)) == 3)
        with Listener(broker) as late:
            wait_until(lambda: late.all(AVAILABLE))
    assert listener.all(AVAILABLE) == ["online", "offline", "online"]
    assert late.all(AVAILABLE) == ["online"]
    assert caught.value.reason is Reason.END_OF_STREAM


def test_readings_of_while_it_was_down_are_no_news(broker: Mosquitto) -> None:
    """1. The broker is away. 2. Readings come. 3. It is back, and hears what comes now alone."""
    broker.stop()
    bench = Bench()
    writer = bench.writer(MqttTopics(settings(broker.url()), "lobby"), "mqtt")
    errors = {"sink": "mqtt", "reason": Reason.CONNECT_REFUSED}
    try:
        writer.put(output(0, faces=(), readings=[reading(0), reading(1)]))
        wait_until(lambda: bench.value("sink_errors_total", **errors) >= 1)
        broker.start()
        with Listener(broker) as listener:

            def is_up() -> bool:
                writer.put(output(2, faces=[face("happy")]))
                return bench.value("sink_up", sink="mqtt") == 1

            wait_until(is_up)
            writer.put(output(3, faces=[face("happy")], readings=[reading(3)]))
            wait_until(lambda: listener.last(READING))
        assert [json.loads(said)["seq"] for said in listener.all(READING)] == [3]
        assert bench.dropped("sink_mqtt", "down") == 2
    finally:
        assert writer.close(60.0)


def test_a_connection_leaves_nothing_open(broker: Mosquitto) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with sink(broker.url()) as made:
        made.write(output(0, faces=()))
        made.close()
        before = opened()
        for seq in range(5):
            made.write(output(seq, faces=()))
            made.close()
        assert opened() == before
