"""Pictures and readings as their readers meet them: over sockets, fed by threads."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from itertools import islice

import cv2
import httpx
import numpy as np
import pytest

from daemon.errors import Reason
from daemon.web import live
from tests.serving import (
    House,
    picture,
    reading,
    serving,
    stalled_reader,
)
from tests.waiting import wait_until

TCP_REPAIR = 19  # <linux/tcp.h>; Python has no name for it.


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


def test_pictures_arrive_as_published(house: House) -> None:
    house.publish("lobby")
    with house.client() as client, client.stream("GET", "/streams/lobby/mjpeg") as response:
        assert response.headers["content-type"].startswith("multipart/x-mixed-replace")
        # A slow reader may meet one of the twenty again.
        got: list[bytes] = []
        for part in islice(jpegs(response), 100):
            if part not in got:
                got.append(part)
            if len(got) == 5:
                break
    assert len(got) == 5
    assert set(got) <= {picture(number) for number in range(20)}
    image = cv2.imdecode(np.frombuffer(got[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    assert image.shape == (180, 320)


@pytest.mark.parametrize(
    ("name", "words"),
    [("attic", "is not configured; streams with mjpeg: lobby"), ("door", "has no mjpeg sink")],
)
def test_a_stream_without_pictures_is_404_and_says_which_have(
    house: House, name: str, words: str
) -> None:
    del house.feeds["door"]
    house.board.add("door", ["events"])
    with house.client() as client:
        for kind in ("mjpeg", "jpeg"):
            answer = client.get(f"/streams/{name}/{kind}")
            assert answer.status_code == 404
            assert words in answer.json()["error"]


def test_a_stalled_reader_holds_up_neither_the_stream_nor_the_others(house: House) -> None:
    """1. One reader stops reading, and all buffers on the way to it are full.
    2. Two others go on reading, and the publisher goes on publishing."""
    house.publish("lobby", interval_s=0.005, noise=55)
    path = "/streams/lobby/mjpeg"
    frames = house.metrics.frames.labels("lobby")
    with (
        stalled_reader(house, path),
        house.client() as client,
        client.stream("GET", path) as first,
        client.stream("GET", path) as second,
    ):
        parts_1, parts_2 = jpegs(first), jpegs(second)
        wait_until(lambda: house.published_bytes > 4_000_000)
        before = frames._value.get()
        for _ in range(100):
            assert next(parts_1)[:2] == next(parts_2)[:2] == b"\xff\xd8"
        # The others hold some twenty pictures in buffers of their own.
        assert frames._value.get() - before >= 60
        assert client.get("/livez").status_code == 200


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


def test_the_newest_picture_comes_alone(house: House) -> None:
    house.publish("lobby")
    with house.client() as client:
        answer = client.get("/streams/lobby/jpeg")
        head = client.head("/streams/lobby/jpeg")
    assert answer.content in {picture(number) for number in range(20)}
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert head.content == b""
    for headers in (answer.headers, head.headers):
        assert headers["content-type"] == "image/jpeg"
        assert headers["cache-control"] == "no-store"
    wait_until(lambda: house.feeds["lobby"].subscribers == 0)


def test_where_no_picture_comes_it_says_why_and_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1. None comes in time. 2. While one waits, the next is turned away. 3. Whoever waits does
    not hold up the server's end."""
    path = "/streams/lobby/jpeg"
    with serving("lobby", max_readers=1) as house, house.client() as client:
        house.rows["lobby"].set_state("down", Reason.NOT_FOUND)
        monkeypatch.setattr(live, "STILL_S", 0.2)
        answer = client.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        error = "no picture of stream 'lobby' came; it is down (not_found)"
        assert answer.json()["error"] == error
        monkeypatch.setattr(live, "STILL_S", 120.0)
        waiting = threading.Thread(target=client.get, args=(path,), name="waiting")
        waiting.start()
        wait_until(lambda: house.feeds["lobby"].subscribers == 1)
        assert "1 readers are connected" in client.get(path).json()["error"]
        assert house.web.stop(50)
        waiting.join(60)
        assert not waiting.is_alive()


def test_whoever_no_longer_waits_for_a_picture_makes_room(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STILL_S", 120.0)
    with house.client() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.get("/streams/lobby/jpeg", timeout=1.0)
        wait_until(lambda: house.feeds["lobby"].subscribers == 0)


def test_the_connection_for_all_pictures_may_be_for_one_stream_alone(house: House) -> None:
    house.publish("lobby")
    house.publish("door")
    with house.client() as client:
        with client.stream("GET", "/api/pictures?stream=door") as response:
            assert next(response.iter_raw()).startswith(b"door ")
            assert house.feeds["lobby"].subscribers == 0
        answer = client.get("/api/pictures?stream=attic")
    assert answer.status_code == 404
    assert "'attic' is not configured" in answer.json()["error"]


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
    with serving("lobby", reader_timeout_s=3.0) as house:
        house.publish("lobby", interval_s=0.005, noise=55)
        with stalled_reader(house, "/streams/lobby/mjpeg") as reader:
            taken = b""
            while b"image/jpeg" not in taken:
                taken += (some := reader.recv(1024))
                assert some
            wait_until(lambda: house.feeds["lobby"].subscribers == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel option is Linux's")
def test_a_reader_who_is_gone_without_a_word_makes_room_though_there_is_nothing_to_send() -> None:
    """As a tablet out of reach: its machine closes the connection and tells nobody."""
    with serving("lobby", reader_timeout_s=3.0) as house:
        with stalled_reader(house, "/streams/lobby/mjpeg") as reader:
            wait_until(lambda: house.feeds["lobby"].subscribers == 1)
            try:
                reader.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            except PermissionError:
                pytest.skip("only root closes a connection in silence")
        wait_until(lambda: house.feeds["lobby"].subscribers == 0)


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


def test_other_streams_neither_silence_the_ping_nor_cost_a_reading(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A reader of one stream is told of a burst of another's readings neither as missed ones
    nor by the loss of its own. 2. While the other goes on, it is sent a sign of life."""
    monkeypatch.setattr(live, "PING_S", 0.5)
    with house.client() as client, client.stream("GET", "/events?stream=door") as response:
        wait_until(lambda: house.readings.subscribers == 1)
        house.readings.publish(reading("door", 7))
        for seq in range(1000):
            house.readings.publish(reading("lobby", seq))
        house.publish("lobby")
        lines = (line for line in response.iter_lines() if line)
        assert next(lines) == "retry: 2000"
        # On a slow machine a sign of life may come before it.
        told = next(line for line in lines if line != ": nothing new")
        assert json.loads(told.removeprefix("data: "))["seq"] == 7
        assert [next(lines), next(lines)] == [": nothing new"] * 2
