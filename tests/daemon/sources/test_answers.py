"""What a server's answer, or its silence, means: over HTTP, and where nobody listens."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from daemon.errors import Reason, SourceError
from daemon.sources import container
from daemon.sources.video import VideoSource
from tests.daemon.sources.videos import fault_of, frames_of
from tests.media import write_clip
from tests.tls import certificate, needs_openssl, tls_before


@contextmanager
def _http(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="http")
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5.0)
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_http_answers_become_reasons_without_the_password() -> None:
    with _http(_Answers) as address:
        for status, reason in (
            (401, Reason.AUTH_FAILED),
            (403, Reason.AUTH_FAILED),
            (404, Reason.NOT_FOUND),
            (503, Reason.CONNECT_REFUSED),
            (200, Reason.UNSUPPORTED),
        ):
            fault = fault_of(f"http://me:geheim@{address}/{status}")
            assert fault.reason is reason
            assert f"http://me:***@{address}/{status}: " in str(fault)
        assert fault_of(f"https://me:geheim@{address}/200").reason is Reason.TLS
        assert fault_of(f"rtsps://me:geheim@{address}/200").reason is Reason.TLS
    assert fault_of(f"http://me:geheim@{address}/200").reason is Reason.CONNECT_REFUSED
    assert fault_of("rtsp://no-such-host.invalid/x").reason is Reason.NOT_FOUND
    assert fault_of("rtsp://").reason is Reason.UNSUPPORTED


@needs_openssl
def test_a_refusal_is_not_looked_into_without_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the server's place when it is asked again is not trusted any more."""
    own, trusted = certificate(tmp_path, "localhost"), tmp_path / "trusted.pem"
    shutil.copy(own[0], trusted)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    asked = []

    class Refuses(_Answers):
        def do_GET(self) -> None:
            asked.append(self.path)
            shutil.copy(certificate(tmp_path, "other")[0], trusted)
            super().do_GET()

    with _http(Refuses) as address, tls_before(int(address.partition(":")[2]), own) as port:
        assert fault_of(f"https://localhost:{port}/418").reason is Reason.CONNECT_REFUSED
    assert asked == ["/418"]


def test_a_file_over_http(tmp_path: Path) -> None:
    write_clip(tmp_path / "my clip.mp4", frames=10, container_options={"movflags": "faststart"})
    with _http(partial(_Files, directory=str(tmp_path))) as address:
        assert len(frames_of(f"http://{address}/my clip.mp4")) == 10


def test_a_silent_server_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stream that is given up after half a second; one with more patience has a minute."""
    monkeypatch.setattr(container, "OPEN_TIMEOUT_S", 60.0)
    with _silent() as address:
        for scheme in ("rtsp", "http"):
            began_s = time.monotonic()
            with pytest.raises(SourceError) as caught:
                VideoSource(
                    "s",
                    f"{scheme}://u:geheim@{address}/x",
                    live=True,
                    stop=threading.Event(),
                    stall_timeout_s=0.5,
                )
            assert caught.value.reason is Reason.TIMEOUT
            assert "geheim" not in str(caught.value)
            assert time.monotonic() - began_s < 30.0


def test_a_refusal_is_looked_into_no_more_once_all_is_to_stop() -> None:
    """The first answer may mean that there is no video. Those to whoever looks are "not yet"."""
    asked: list[str] = []
    stop = threading.Event()
    stop.set()

    def answer() -> None:
        with suppress(OSError):  # until the server is closed
            while True:
                connection, _ = server.accept()
                with connection:
                    status = "503 Service Unavailable" if asked else "461 Unsupported Transport"
                    asked.append(status)
                    connection.recv(4096)
                    connection.sendall(f"RTSP/1.0 {status}\r\nCSeq: 1\r\n\r\n".encode())
                    connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, name="refuses", daemon=True).start()
        url = f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"
        with pytest.raises(SourceError) as caught:
            VideoSource("s", url, live=True, stop=stop, stall_timeout_s=60.0)
    assert caught.value.reason is Reason.CONNECT_REFUSED
    assert len(asked) == 2


@contextmanager
def _silent() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"
