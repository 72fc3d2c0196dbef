"""Pushing to a real RTMP server, and what SRT needs."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from daemon.config.sink_settings import RtmpSinkSettings
from daemon.errors import Reason, SinkError
from daemon.frame import plane
from daemon.sinks.push import Push, _Publication
from tests.daemon.outputs import Encoded, luma_of, output
from tests.rtmp import RtmpServer, needs_rtmp
from tests.tls import certificate, needs_openssl, tls_before

TICK_S = 0.02


def push(url: str, timeout_s: float = 60.0, *, tls_verify: bool = True) -> Encoded:
    config = RtmpSinkSettings(
        kind="rtmp", url=SecretStr(url), timeout_s=timeout_s, tls_verify=tls_verify
    )
    return Encoded(config, Push(config))


def fault(url: str, timeout_s: float = 60.0) -> SinkError:
    """The first that pushing meets; a server may take a few pictures before it refuses."""
    sink = push(url, timeout_s)
    try:
        with pytest.raises(SinkError) as caught:
            go_on(sink)
    finally:
        sink.close()
    assert "secret-key" not in str(caught.value)
    return caught.value


def go_on(sink: Encoded, begin: int = 0) -> None:
    for seq in range(begin, begin + 1000):
        sink.write(output(seq))
        time.sleep(TICK_S)


def read(url: str, into: list[av.VideoFrame], count: int) -> None:
    with av.open(url, timeout=60.0) as container:
        into.extend(itertools.islice(container.decode(video=0), count))


@needs_rtmp
def test_a_reader_of_the_server_sees_what_was_pushed(tmp_path: Path) -> None:
    seen: list[av.VideoFrame] = []
    with RtmpServer(tmp_path) as server:
        sink = push(server.url())
        sink.write(output(0))
        reader = threading.Thread(target=read, args=(server.url(), seen, 8), name="reader")
        reader.start()
        for seq in itertools.count(1):
            sink.write(output(seq))
            reader.join(TICK_S)
            if not reader.is_alive():
                break
        sink.close()
    lumas = [int(np.median(plane(image, 0))) for image in seen]
    known = [luma_of(number) for number in range(seq + 1)]
    assert any(
        lumas == pytest.approx(known[begin : begin + 8], abs=2) for begin in range(len(known) - 7)
    )


@needs_rtmp
@needs_openssl
def test_rtmps_looks_at_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. One that the server made itself is refused, but not by PyAV 18. 2. With tls_verify =
    false it will do. 3. It is trusted if the system does so."""
    own = certificate(tmp_path, "localhost")
    with RtmpServer(tmp_path) as server, tls_before(server.port, own) as port:
        url = f"rtmps://localhost:{port}/live/cam"
        if av.__version__.startswith("18."):
            arrives(push(url))
        else:
            refused = fault(url)
            assert refused.reason is Reason.TLS
            assert "tls_verify = false" in str(refused)
        arrives(push(url, tls_verify=False))
        monkeypatch.setenv("SSL_CERT_FILE", str(own[0]))
        arrives(push(url))


def arrives(sink: Encoded) -> None:
    for seq in range(10):
        sink.write(output(seq))
    sink.close()


def test_rtmps_to_a_server_that_speaks_no_tls() -> None:
    def answer() -> None:
        with suppress(OSError):  # until the server is closed
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, name="no TLS", daemon=True).start()
        refused = fault(f"rtmps://127.0.0.1:{server.getsockname()[1]}/live/secret-key")
    assert refused.reason is Reason.TLS
    assert "no TLS is spoken" in str(refused)


def test_a_silent_server_and_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        began_s = time.monotonic()
        assert fault(f"rtmp://127.0.0.1:{port}/live/secret-key", 1.0).reason is Reason.TIMEOUT
        assert time.monotonic() - began_s >= 1.0
    assert fault(f"rtmp://127.0.0.1:{port}/live/secret-key").reason is Reason.CONNECT_REFUSED
    assert f" rtmp://127.0.0.1:{port}: " in str(fault(f"rtmp://127.0.0.1:{port}"))


@needs_rtmp
def test_a_publication_ends_before_its_times_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RTMP counts milliseconds in 31 bits; here a publication lasts a second instead of 20 days."""
    monkeypatch.setattr("daemon.sinks.push._RTMP_LASTS_S", 1.0)
    begun: list[int] = []
    begin = _Publication.begin

    def noted(self: _Publication) -> None:
        begun.append(self._first.pts)
        begin(self)

    monkeypatch.setattr(_Publication, "begin", noted)
    with RtmpServer(tmp_path) as server:
        sink = push(server.url())
        for seq in range(100):
            sink.write(output(seq))
        sink.close()
    assert len(begun) == 2
    assert begun[1] - begun[0] > 90_000
