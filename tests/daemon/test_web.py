"""The web server as its readers meet it: over sockets, fed by threads."""

from __future__ import annotations

import itertools
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from daemon.errors import ConfigError, Reason
from daemon.settings import COLOURS, DaemonSettings
from daemon.web import PAGE
from daemon.web_server import WebServer
from tests.serving import HAPPY, House, happy_face, picture, reading, serving


@pytest.fixture
def house() -> Iterator[House]:
    with serving("lobby", "door") as house:
        yield house


def jpegs(response: httpx.Response) -> Iterator[bytes]:
    """The parts of a multipart/x-mixed-replace response."""
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    rest = b""
    for chunk in response.iter_raw():
        rest += chunk
        while True:
            head, found, tail = rest.partition(b"\r\n\r\n")
            if not found:
                break
            lines = head.split(b"\r\n")
            assert lines[-3:-1] == [b"--" + boundary, b"Content-Type: image/jpeg"]
            length = int(lines[-1].removeprefix(b"Content-Length: "))
            if len(tail) < length + 2:
                break
            yield tail[:length]
            rest = tail[length + 2 :]


def stalled_reader(house: House, path: str) -> socket.socket:
    """A connection that asks for `path` and then takes almost nothing."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", house.web.port))
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader


def wait_until(is_so: object, timeout_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    assert callable(is_so)
    while not is_so():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.01)


# --- health, states and metrics ---


def test_livez_names_the_loop_that_hangs(house: House) -> None:
    with house.client() as client:
        good = client.get("/livez")
        assert (good.status_code, good.json()["status"]) == (200, "ok")
        house.health.loop("capture lobby", limit_s=-1)
        bad = client.get("/livez")
    assert bad.status_code == 503
    assert "capture lobby has not turned" in bad.json()["reason"]


def test_readyz_wants_models_and_a_live_stream(house: House) -> None:
    with house.client() as client:
        assert client.get("/readyz").json()["reason"] == "the models are not loaded yet"
        house.health.models_loaded = True
        house.board.set_state("lobby", "down", Reason.AUTH_FAILED, "401")
        bad = client.get("/readyz")
        house.board.set_state("door", "live")
        good = client.get("/readyz")
    assert bad.status_code == 503
    assert "lobby is down (auth_failed), door is connecting" in bad.json()["reason"]
    assert (good.status_code, good.json()["reason"]) == (200, "1 of 2 streams deliver")


def test_states_say_what_every_stream_does(house: House) -> None:
    house.metrics.build_info.info({"version": "1.2.3", "weights": "vgg10-abc", "device": "cpu"})
    house.board.set_state("lobby", "live")
    house.board.set_view("lobby", 250, 24.987, [happy_face(7)])
    house.board.set_state("door", "down", Reason.STALLED, "no picture for 10 s")
    del house.feeds["door"]
    with house.client() as client:
        body = client.get("/api/streams").json()
    assert body["version"] == "1.2.3"
    assert body["build"]["weights"] == "vgg10-abc"
    assert body["colours"] == COLOURS
    lobby, door = body["streams"]
    assert (lobby["name"], lobby["state"], lobby["frames"], lobby["fps"]) == (
        "lobby",
        "live",
        250,
        24.99,
    )
    assert lobby["mjpeg"] == "/streams/lobby/mjpeg"
    (face,) = lobby["faces"]
    assert (face["track"], face["label"], face["probabilities"]) == (7, "happy", HAPPY)
    assert (door["state"], door["reason"], door["last_error"], door["mjpeg"]) == (
        "down",
        "stalled",
        "no picture for 10 s",
        None,
    )
    assert door["since"].endswith("Z")
    assert 0 <= door["for_s"] < 5


def test_metrics_come_in_the_format_that_is_asked_for(house: House) -> None:
    house.metrics.frames.labels("lobby").inc(3)
    with house.client() as client:
        plain = client.get("/metrics")
        openmetrics = client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
        )
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert 'affectd_frames_total{stream="lobby"} 3.0' in plain.text
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


# --- the page and unknown paths ---


def test_the_page_asks_nobody_else() -> None:
    files = sorted(PAGE.iterdir())
    assert {file.suffix for file in files} == {".html", ".js", ".css", ".svg"}
    for file in files:
        text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "//" not in text.replace("// ", ""), file
        assert "innerHTML" not in text, file


def test_the_pages_files_are_served_with_their_types_and_headers(house: House) -> None:
    types = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
    with house.client() as client:
        for path in ["/", "/page/page.js", "/page/page.css", "/page/icon.svg"]:
            answer = client.get(path)
            assert answer.status_code == 200
            kind = path.rpartition(".")[2] if "." in path else "html"
            assert answer.headers["content-type"].startswith(types.get(kind, "image/svg+xml"))
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_unknown_paths_are_404_in_json(house: House) -> None:
    with house.client() as client:
        for path in ["/nope", "/page/%2e%2e/web.py", "/page/", "/streams/lobby"]:
            answer = client.get(path)
            assert answer.status_code == 404
            assert "nothing is at" in answer.json()["error"]


def test_only_get_and_head_are_answered(house: House) -> None:
    with house.client() as client:
        assert client.post("/api/streams").status_code == 405
        for path in ["/", "/streams/lobby/mjpeg", "/events", "/api/pictures"]:
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")


# --- pictures ---


def test_pictures_arrive_as_published(house: House) -> None:
    house.publish("lobby")
    with house.client() as client, client.stream("GET", "/streams/lobby/mjpeg") as response:
        assert response.headers["content-type"].startswith("multipart/x-mixed-replace")
        parts = jpegs(response)
        got = [next(parts) for _ in range(5)]
    published = {picture(number) for number in range(20)}
    assert set(got) <= published
    assert len(set(got)) == 5
    image = cv2.imdecode(np.frombuffer(got[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (180, 320)


@pytest.mark.parametrize(
    ("name", "words"),
    [("attic", "is not configured; streams with pictures: lobby"), ("door", "has no mjpeg sink")],
)
def test_a_stream_without_pictures_is_404_and_says_which_have(
    house: House, name: str, words: str
) -> None:
    del house.feeds["door"]
    with house.client() as client:
        answer = client.get(f"/streams/{name}/mjpeg")
    assert answer.status_code == 404
    assert words in answer.json()["error"]


def test_a_stalled_reader_holds_up_neither_the_stream_nor_the_others(house: House) -> None:
    """1. One reader stops reading, with far more sent than its buffers hold.
    2. Two others go on reading at the full rate.
    3. The publisher never waited."""
    house.publish("lobby", interval_s=0.005, noise=55)
    reader = stalled_reader(house, "/streams/lobby/mjpeg")
    frames = house.metrics.frames.labels("lobby")
    with house.client() as one, house.client() as two:
        with (
            one.stream("GET", "/streams/lobby/mjpeg") as first,
            two.stream("GET", "/streams/lobby/mjpeg") as second,
        ):
            parts_1, parts_2 = jpegs(first), jpegs(second)
            before = frames._value.get()
            for _ in range(150):
                assert next(parts_1)[:2] == next(parts_2)[:2] == b"\xff\xd8"
            assert frames._value.get() - before >= 150
        assert one.get("/livez").status_code == 200
    reader.close()


def test_one_connection_carries_the_pictures_of_all_streams(house: House) -> None:
    house.publish("lobby")
    house.publish("door")
    names = set()
    with house.client() as client, client.stream("GET", "/api/pictures") as response:
        rest = b""
        for chunk in response.iter_raw():
            rest += chunk
            while b"\n" in rest:
                line, _, tail = rest.partition(b"\n")
                name, length = line.split()
                if len(tail) < int(length):
                    break
                assert tail[:2] == b"\xff\xd8"
                names.add(name)
                rest = tail[int(length) :]
            if len(names) == 2:
                break
    assert names == {b"lobby", b"door"}


def test_readers_are_bounded_and_make_room_when_they_leave() -> None:
    with serving("lobby", max_readers=2) as house, house.client() as client:
        house.publish("lobby")
        path = "/streams/lobby/mjpeg"
        with client.stream("GET", path), client.stream("GET", path):
            refused = client.get(path)
            assert refused.status_code == 503
            assert "2 readers are connected" in refused.json()["error"]
            assert "retry-after" in refused.headers
            with client.stream("GET", "/events") as events:
                assert events.status_code == 200

        def has_room() -> bool:
            with client.stream("GET", "/streams/lobby/mjpeg") as response:
                return response.status_code == 200

        wait_until(has_room)
        wait_until(lambda: house.feeds["lobby"].subscribers == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel option is Linux's")
def test_a_reader_that_takes_nothing_is_given_up() -> None:
    with serving("lobby", reader_timeout_s=0.5) as house:
        house.publish("lobby", interval_s=0.005, noise=55)
        reader = stalled_reader(house, "/streams/lobby/mjpeg")
        wait_until(lambda: house.feeds["lobby"].subscribers == 1)
        wait_until(lambda: house.feeds["lobby"].subscribers == 0, timeout_s=20)
        reader.close()


# --- readings ---


def events(response: httpx.Response) -> Iterator[dict[str, object]]:
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_events_are_the_readings(house: House) -> None:
    with house.client() as client, client.stream("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        wait_until(lambda: house.readings.subscribers == 1)
        for seq in range(3):
            house.readings.publish(reading("lobby", seq))
        got = events(response)
        for seq in range(3):
            assert next(got) == reading("lobby", seq).to_event()


def test_events_of_one_stream_only(house: House) -> None:
    with house.client() as client:
        with client.stream("GET", "/events?stream=door") as response:
            wait_until(lambda: house.readings.subscribers == 1)
            for seq in range(6):
                house.readings.publish(reading("door" if seq % 2 else "lobby", seq))
            got = events(response)
            assert [next(got)["seq"] for _ in range(3)] == [1, 3, 5]
        answer = client.get("/events?stream=attic")
    assert answer.status_code == 404
    assert answer.json()["error"] == "stream 'attic' is not configured; known are: lobby, door"


def test_a_reader_of_events_is_told_what_it_missed(house: House) -> None:
    """A burst from one thread is larger than the queue, so the oldest are dropped."""
    with house.client() as client, client.stream("GET", "/events") as response:
        wait_until(lambda: house.readings.subscribers == 1)
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        for seq in range(20_000):
            house.readings.publish(reading("lobby", seq))
        seen, missed = 0, 0
        for line in lines:
            if line.startswith(": "):
                missed += int(line.split()[1])
            elif line.startswith("data: "):
                seen += 1
                if json.loads(line.removeprefix("data: "))["seq"] == 19_999:
                    break
    assert seen + missed == 20_000
    assert missed > 0


# --- who may read ---


def secret(token: str) -> DaemonSettings:
    return DaemonSettings(token=SecretStr(token))


@pytest.fixture
def guarded() -> Iterator[House]:
    with serving("lobby", settings=secret("s3cret pässword")) as house:
        yield house


PATHS = ["/", "/page/page.js", "/metrics", "/api/streams", "/streams/lobby/mjpeg", "/events", "/x"]


WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Basic s3cret"},
    {"Authorization": "Bearer"},
    {"Cookie": "affectd=s3cret"},
]


def test_without_the_token_nothing_is_shown(guarded: House) -> None:
    with guarded.client() as client:
        for path, headers in itertools.product(PATHS, WRONG):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
            assert answer.headers["www-authenticate"] == "Bearer"
        for path, token in itertools.product(PATHS, ["", "wrong"]):
            assert client.get(path, params={"token": token}).status_code == 401


def test_health_checks_need_no_token(guarded: House) -> None:
    with guarded.client() as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503


def test_the_token_is_taken_as_header_query_or_cookie(guarded: House) -> None:
    token = "s3cret pässword"
    with guarded.client() as client:
        bearer = {"Authorization": f"Bearer {token}".encode()}
        assert client.get("/metrics", headers=bearer).status_code == 200
        with client.stream("GET", "/streams/lobby/mjpeg", params={"token": token}) as response:
            assert response.status_code == 200
        assert client.get("/metrics").status_code == 401
        answer = client.get("/", params={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "s3cret" not in cookie
        assert client.get("/").status_code == 200
        assert client.get("/metrics").status_code == 200


def test_own_names_are_accepted(house: House) -> None:
    with house.client() as client:
        for host in ["localhost", "localhost:9464", "127.0.0.1", "127.9.9.9:1", "[::1]:80"]:
            assert client.get("/api/streams", headers={"Host": host}).status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(house: House) -> None:
    """A web site may let its own name point to 127.0.0.1: DNS rebinding."""
    hosts = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::2]"]
    paths = ["/", "/api/streams", "/livez", "/streams/lobby/mjpeg"]
    with house.client() as client:
        for host, path in itertools.product([*hosts, "10.0.0.1"], paths):
            assert client.get(path, headers={"Host": host}).status_code == 403


def test_beyond_loopback_any_name_is_accepted() -> None:
    settings = DaemonSettings(listen="0.0.0.0:0", token=SecretStr("t"))
    with serving("lobby", settings=settings) as house:
        url = f"http://127.0.0.1:{house.web.port}/metrics?token=t"
        answer = httpx.get(url, headers={"Host": "cameras.example"}, trust_env=False)
    assert answer.status_code == 200


# --- starting and stopping ---


def test_a_taken_port_is_named_before_anything_starts(house: House) -> None:
    threads = threading.active_count()
    second = House(["lobby"]).web
    taken = WebServer(second._app, "127.0.0.1", house.web.port)
    with pytest.raises(ConfigError) as error:
        taken.start()
    assert f"127.0.0.1:{house.web.port}" in str(error.value)
    assert "in use" in str(error.value)
    assert threading.active_count() == threads
    taken.stop(1)


@pytest.mark.parametrize(
    ("host", "words"), [("no-such-host.invalid", "is not known"), ("192.0.2.1", "no interface")]
)
def test_an_address_that_is_not_ours_is_named(host: str, words: str) -> None:
    web = WebServer(House(["lobby"]).web._app, host, 0)
    with pytest.raises(ConfigError, match=words):
        web.start()


def test_stop_does_not_wait_for_readers() -> None:
    """1. Readers of pictures and events are connected, one of them stalled.
    2. Stop: it ends at once, and the readers that read see a whole response."""
    with serving("lobby") as house:
        house.publish("lobby", interval_s=0.005, noise=55)
        stalled = stalled_reader(house, "/streams/lobby/mjpeg")
        ends: list[str] = []
        connected = threading.Barrier(5)

        def read(path: str) -> None:
            with house.client() as client, client.stream("GET", path) as response:
                chunks = response.iter_raw()
                next(chunks)
                connected.wait(10)
                for _ in chunks:
                    pass
                ends.append(path)

        paths = ["/streams/lobby/mjpeg", "/streams/lobby/mjpeg", "/api/pictures", "/events"]
        readers = [threading.Thread(target=read, args=(path,)) for path in paths]
        for thread in readers:
            thread.start()
        connected.wait(10)
        time.sleep(0.3)  # Long enough for the stalled reader's buffers to fill.
        began_s = time.monotonic()
        house.web.stop(3)
        took_s = time.monotonic() - began_s
        for thread in readers:
            thread.join(5)
        stalled.close()
    assert took_s < 2
    assert sorted(ends) == sorted(paths)
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]


def test_a_port_can_be_served_again_at_once(house: House) -> None:
    with house.client() as client:
        client.get("/livez")
        house.web.stop(3)
    again = House(["lobby"]).web
    web = WebServer(again._app, "127.0.0.1", house.web.port)
    web.start()
    assert httpx.get(f"{web.url}livez", trust_env=False).status_code == 200
    web.stop(3)
