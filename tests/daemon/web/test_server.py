"""Starting, stopping, and addresses that cannot be had."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time

import httpx
import pytest
import uvicorn

from daemon.errors import AffectdError
from daemon.monitoring.health import Health
from daemon.web import server
from daemon.web.server import READER_TIMEOUT_S, WebServer
from tests.serving import House, serving, stalled_reader
from tests.waiting import wait_until


def test_a_taken_port_is_named_before_anything_starts(house: House) -> None:
    before = set(threading.enumerate())
    taken = WebServer(House(["lobby"]).site, "127.0.0.1", house.web.port)
    with pytest.raises(AffectdError) as error:
        taken.start()
    assert f"127.0.0.1:{house.web.port}" in str(error.value)
    assert "in use" in str(error.value)
    assert set(threading.enumerate()) <= before
    assert taken.stop(1)


def test_a_name_that_is_not_known_is_named() -> None:
    web = WebServer(House(["lobby"]).site, "no-such-host.invalid", 0)
    with pytest.raises(AffectdError, match="is not known"):
        web.start()


def test_localhost_is_127_0_0_1_where_it_is_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is a fake, since it depends on the machine's /etc/hosts."""
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with server._listen("localhost", 0, READER_TIMEOUT_S) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="IP_FREEBIND is Linux's")
def test_an_address_that_is_not_ours_yet_is_named_and_listened_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    web = WebServer(House(["lobby"]).site, "192.0.2.1", 0)
    web.start()
    assert web.stop(60)
    assert web.port > 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "listen = 192.0.2.1:0: no interface of this machine has this address yet" in caplog.text


def test_stop_does_not_wait_for_a_reader_that_stalls() -> None:
    with serving("lobby") as house:
        house.publish("lobby", interval_s=0.005, noise=55)
        with stalled_reader(house, "/streams/lobby/mjpeg"):
            wait_until(lambda: house.published_bytes > 4_000_000)  # All buffers are full.
            began_s = time.monotonic()
            assert house.web.stop(60)
            assert time.monotonic() - began_s < READER_TIMEOUT_S / 2


def test_stop_ends_what_readers_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """1. Readers of pictures and events are connected. 2. Stop: each sees a whole response, before
    the time after which a connection is cut."""
    monkeypatch.setattr(server, "_STALLED_READERS_S", 60.0)
    with serving("lobby") as house:
        house.publish("lobby", interval_s=0.005, noise=55)
        ends: list[str] = []
        connected = threading.Barrier(5)

        def read(path: str) -> None:
            with house.client() as client, client.stream("GET", path) as response:
                chunks = response.iter_raw()
                next(chunks)
                connected.wait(60)
                for _ in chunks:
                    pass
                ends.append(path)

        paths = ["/streams/lobby/mjpeg", "/streams/lobby/mjpeg", "/api/pictures", "/events"]
        readers = [threading.Thread(target=read, args=(path,)) for path in paths]
        for thread in readers:
            thread.start()
        connected.wait(60)
        began_s = time.monotonic()
        assert house.web.stop(60)
        took_s = time.monotonic() - began_s
        for thread in readers:
            thread.join(60)
    assert took_s < 30
    assert sorted(ends) == sorted(paths)
    assert not [thread for thread in threading.enumerate() if thread.name == "web"]


def test_a_stop_that_takes_too_long_is_only_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """What ends after the web server still ends; the fault is a fake that holds its loop."""
    release = threading.Event()
    with serving("lobby") as house:
        assert house.web._server is not None
        house.web._server.loop.call_soon_threadsafe(release.wait)
        assert not house.web.stop(0.05)
        release.set()
    assert "the web server did not stop in 0.05 s" in caplog.text


def test_a_port_can_be_served_again_at_once(house: House) -> None:
    with house.client() as client:
        client.get("/livez")
        assert house.web.stop(60)
    web = WebServer(House(["lobby"]).site, "127.0.0.1", house.web.port)
    web.start()
    assert httpx.get(f"{web.url}livez", timeout=60, trust_env=False).status_code == 200
    assert web.stop(60)


def test_the_web_servers_own_loop_is_watched_while_it_runs() -> None:
    with serving("lobby") as house:
        (loop,) = house.health._watched()
        began_s = loop.beaten_s
        wait_until(lambda: loop.beaten_s > began_s)
        assert house.health.is_alive() == (True, "loops that turn: 1")
    assert house.health.is_alive() == (True, "loops that turn: 0")


def test_a_web_thread_that_dies_is_still_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """So its silence is found. The fault is a fake, since no known one gets through uvicorn."""

    def die(self: uvicorn.Server, sockets: object = None) -> None:
        raise MemoryError

    monkeypatch.setattr(uvicorn.Server, "run", die)
    health = Health(time.monotonic)
    made = server._Server(uvicorn.Config("none"), asyncio.Event(), health.loop("web", 1.0))
    with pytest.raises(MemoryError):
        made.run()
    assert health.is_alive() == (True, "loops that turn: 1")
