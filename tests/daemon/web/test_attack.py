"""Clients that mean no good: slow ones, many ones, and requests that no browser would send."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from daemon.config.settings import DaemonSettings
from daemon.sinks.playlist import Playlist
from daemon.web.connection import Connection
from daemon.web.server import WebServer
from tests.serving import House, serving, stalled_reader
from tests.waiting import wait_until

TOKEN = "s3cret"


class Impatient(Connection):
    """The limits of the real one, in less time and for fewer clients."""

    max_connections = 24
    request_s = 1.0


class Crowded(Impatient):
    """Nobody leaves in time: there is room only where somebody is given up for it."""

    request_s = 600.0


@contextmanager
def small_house(connection: type[Connection]) -> Iterator[House]:
    house = House(["lobby"], max_readers=4)
    house.web = WebServer(house.site, "127.0.0.1", 0, connection=connection)
    house.web.start()
    try:
        yield house
    finally:
        house.stop_publishing()
        assert house.web.stop(60)


def connect(house: House) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", house.web.port), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def is_ended(client: socket.socket) -> bool:
    """Wait until the server ends the connection."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
    ],
)
def test_half_a_request_is_given_up_however_it_trickles_in(start: bytes) -> None:
    began_s = time.monotonic()
    with small_house(Impatient) as house, connect(house) as client:
        with suppress(ConnectionError):  # where the second has passed before that
            client.sendall(start)
        done = threading.Event()

        def trickle() -> None:
            while not done.wait(0.1):
                try:
                    client.send(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert is_ended(client)
        finally:
            done.set()
            thread.join()
        assert time.monotonic() - began_s >= 0.9


def test_two_hundred_idle_clients_lock_nobody_out() -> None:
    """1. More clients come than there is room for, and send nothing.
    2. Whoever asks is answered at once, and readers that were there stay."""
    with small_house(Crowded) as house, ExitStack() as stack, house.client() as reader:
        house.publish("lobby")
        response = stack.enter_context(reader.stream("GET", "/streams/lobby/mjpeg"))
        chunks = response.iter_raw()
        next(chunks)
        for number in range(200):
            stack.enter_context(connect(house))
            if number % 20 == 19:
                with house.client() as client:
                    assert client.get("/livez").status_code == 200
        next(chunks)
        connections = house.web._server.server_state.connections  # type: ignore[union-attr]
        wait_until(lambda: len(connections) <= Crowded.max_connections)


SEGMENT_BYTES = 4_000_000


def ask_for_a_segment(house: House) -> socket.socket:
    """A client that asked for one which no buffer between server and client holds."""
    playlist = house.playlists.setdefault("lobby", Playlist())
    playlist.text()
    playlist.begin(b"header", 10)
    playlist.add(bytes(SEGMENT_BYTES), 10.0, time.time())
    segment = (playlist.text() or "").splitlines()[-1]
    return stalled_reader(house, f"/streams/lobby/hls/{segment}")


def take(client: socket.socket, bytes_a_s: float) -> int:
    """How many bytes come until all of the segment has, or the server ends the connection."""
    began_s, taken = time.monotonic(), 0
    with suppress(ConnectionResetError):
        while taken < SEGMENT_BYTES and (chunk := client.recv(65536)):
            taken += len(chunk)
            time.sleep(max(0.0, began_s + taken / bytes_a_s - time.monotonic()))
    return taken


def test_a_slow_reader_gets_all_of_its_segment() -> None:
    """However often the time passes that one has who takes nothing."""

    class Hasty(Connection):
        request_s = 0.7

    with small_house(Hasty) as house, ask_for_a_segment(house) as client:
        assert take(client, 2e6) >= SEGMENT_BYTES


def test_who_takes_nothing_of_its_segment_is_given_up() -> None:
    with small_house(Impatient) as house, ask_for_a_segment(house) as client:
        connections = house.web._server.server_state.connections  # type: ignore[union-attr]
        wait_until(lambda: not connections, 5.0)
        assert take(client, 1e9) < SEGMENT_BYTES


def test_who_says_nothing_makes_room_before_who_fetches_a_segment() -> None:
    """The segment's reader has been without a request for longer."""

    class Full(Crowded):
        max_connections = 2

    with (
        small_house(Full) as house,
        ask_for_a_segment(house) as reader,
        connect(house) as silent,
        connect(house),
    ):
        assert is_ended(silent)
        assert take(reader, 1e9) >= SEGMENT_BYTES


def test_when_all_are_being_answered_one_more_is_refused() -> None:
    class Full(Crowded):
        max_connections = 2

    house = House(["lobby"])
    house.web = WebServer(house.site, "127.0.0.1", 0, connection=Full)
    house.web.start()
    try:
        house.publish("lobby")
        with (
            stalled_reader(house, "/events"),
            stalled_reader(house, "/streams/lobby/mjpeg"),
            connect(house) as client,
        ):
            assert is_ended(client)
        wait_until(lambda: house.web._server is not None and _answers(house))
    finally:
        house.stop_publishing()
        assert house.web.stop(60)


def _answers(house: House) -> bool:
    try:
        with house.client() as client:
            return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_nothing_outside_of_the_page_is_served() -> None:
    """Paths as they come, since clients would tidy them up."""
    paths = [
        *(
            f"{front}{step * 8}{end}"
            for front in ("/", "/page/", "/streams/", "/streams/lobby/hls/", "/streams/lobby/")
            for step in ("../", "%2e%2e/", "..%2f", "%2e%2e%2f", "..\\", "%252e%252e/")
            for end in ("etc/passwd", "proc/self/environ")
        ),
        "//etc/passwd",
        "/page//etc/passwd",
        "/page/page.js%00.css",
        "/streams/lobby/hls//etc/passwd",
        "http://localhost/etc/passwd",
        "*",
    ]
    with serving("lobby") as house:
        for path in paths:
            answer = ask(house, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n")
            assert answer[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 400"), (path, answer[:200])
            assert b"root:" not in answer


def ask(house: House, head: str | bytes, body: bytes = b"") -> bytes:
    """What the server answers, at most 64 KiB of it, to a request as it is written here."""
    raw = head.encode("latin-1") if isinstance(head, str) else head
    with connect(house) as client:
        client.sendall(raw + b"Connection: close\r\n\r\n" + body)
        answer = b""
        try:
            while len(answer) < 65536 and (chunk := client.recv(65536)):
                answer += chunk
                if b"text/event-stream" in answer or b"x-affectd" in answer:
                    break  # the answer has no end
        except ConnectionResetError:
            pass
        return answer


KNOWN = [
    "/", "/page/page.js", "/metrics", "/livez", "/readyz", "/api/streams", "/api/pictures",
    "/streams/lobby/mjpeg", "/streams/lobby/jpeg", "/streams/lobby/hls/index.m3u8",
    "/streams/lobby/hls/1.m4s", "/events",
]  # fmt: skip
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
BYTES = st.binary(max_size=40).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
PATHS = st.one_of(
    st.sampled_from(KNOWN),
    st.builds(lambda known, more: known + more, st.sampled_from(KNOWN), PRINTABLE),
    PRINTABLE.map(lambda text: f"/{text}"),
    st.binary(max_size=20).map(lambda raw: "/" + "".join(f"%{byte:02x}" for byte in raw)),
)
QUERIES = st.one_of(
    st.just(""),
    st.builds(
        lambda name, raw: f"?{name}=" + "".join(f"%{byte:02x}" for byte in raw),
        st.sampled_from(["token", "stream", "x", "_HLS_msn"]),
        st.binary(max_size=20),
    ),
    PRINTABLE.map(lambda text: f"?{text}"),
)
METHODS = st.one_of(
    st.sampled_from(
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"]
    ),
    st.from_regex(r"[A-Z]{1,12}", fullmatch=True),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"Host",
                b"Authorization",
                b"Cookie",
                b"Accept",
                b"Accept-Encoding",
                b"Range",
                b"If-None-Match",
                b"X-Forwarded-For",
                b"Upgrade",
                b"Transfer-Encoding",
                b"Origin",
                b"Content-Length",
                b"Expect",
                b"Connection",
            ]
        ),
        st.one_of(
            BYTES,
            st.sampled_from(
                [
                    b"[",
                    b"[::1",
                    b"localhost:99999",
                    b"a@b",
                    b"Bearer \xff",
                    b"Bearer",
                    b"websocket",
                    b"affectd-0=\xff",
                    b'affectd-0="',
                    b"bytes=0-",
                    b"text/*;q=x",
                    b"chunked",
                    b"-1",
                    b"100-continue",
                    b"application/openmetrics-text;version=9",
                    b"Basic \xf0",
                ]
            ),
        ),
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def houses() -> Iterator[list[House]]:
    """One as it is by default, and one that anybody may reach, with a token."""
    beyond = DaemonSettings(listen="0.0.0.0:0", token=SecretStr(TOKEN))
    with serving("lobby") as plain, serving("lobby", settings=beyond) as guarded:
        plain.publish("lobby")
        yield [plain, guarded]


@settings(max_examples=100)
@given(method=METHODS, path=PATHS, query=QUERIES, headers=HEADERS, body=BYTES)
def test_no_request_makes_a_500_or_ends_the_server(
    houses: list[House],
    method: str,
    path: str,
    query: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    for house in houses:
        lines = [f"{method} {path}{query} HTTP/1.1".encode()]
        if not any(name == b"Host" for name, _ in headers):
            lines.append(b"Host: localhost")
        lines += [name + b": " + value for name, value in headers]
        answer = ask(house, b"\r\n".join(lines) + b"\r\n", body)
        assert answer[9:12] != b"500", (lines, answer)
        assert house.health.is_alive()[0]


def test_after_all_that_both_still_answer(houses: list[House]) -> None:
    for house in houses:
        with house.client() as client:
            assert client.get(f"http://127.0.0.1:{house.web.port}/livez").status_code == 200
