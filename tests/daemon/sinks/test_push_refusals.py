"""What is said of servers that refuse a push in ways that few have. They are written here: those
that can be installed do not answer so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.config.sink_settings import PushSinkSettings, RtmpSinkSettings, RtspSinkSettings
from daemon.errors import Reason, SinkError
from daemon.sinks.push import Push, _meaning
from tests.daemon.outputs import Encoded, output
from tests.tls import certificate, needs_openssl, tls_before


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that gives each connection its `answer`, and then reads on."""

    def talk(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            answer(connection)
            while connection.recv(4096):
                pass

    def accept() -> None:
        with suppress(OSError):  # until the server is closed
            while True:
                connection, _ = server.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, name="server", daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def fault(config: PushSinkSettings) -> SinkError:
    sink = Encoded(config, Push(config))
    with pytest.raises(SinkError) as caught:
        sink.write(output(0))
    return caught.value


def _no_transport(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"RTSP/1.0 461 Unsupported Transport\r\nCSeq: 1\r\n\r\n")


def _rejected(connection: socket.socket) -> None:
    """RTMP's handshake, and "_error" in answer to its first call."""
    said = connection.recv(1537, socket.MSG_WAITALL)
    connection.sendall(b"\x03" + bytes(1536) + said[1:])
    connection.recv(1536, socket.MSG_WAITALL)
    connection.recv(4096)
    why = b"\0\x0bdescription\x02\0\5wrong"
    call = b"\x02\0\6_error\0\x3f\xf0" + bytes(6) + b"\5\3" + why + b"\0\0\x09"
    head = b"\3\0\0\0" + len(call).to_bytes(3, "big") + b"\x14" + bytes(4)
    connection.sendall(head + call)


@needs_openssl
def test_a_server_that_refuses_is_not_blamed_for_its_certificate(tmp_path: Path) -> None:
    with serving(_no_transport) as port, tls_before(port, certificate(tmp_path, "x")) as tls_port:
        url = SecretStr(f"rtsps://127.0.0.1:{tls_port}/x")
        refused = fault(RtspSinkSettings(kind="rtsp", url=url, tls_verify=False, timeout_s=60.0))
    assert refused.reason is Reason.CONNECT_REFUSED
    assert str(refused).endswith("/x: the server refused to take it (4xx)")


def test_a_server_that_rejects_a_stream_key() -> None:
    with serving(_rejected) as port:
        url = f"rtmp://127.0.0.1:{port}/live/secret-key"
        refused = fault(RtmpSinkSettings(kind="rtmp", url=SecretStr(url), timeout_s=60.0))
    assert refused.reason is Reason.CONNECT_REFUSED
    assert str(refused) == (
        f"rtmp sink: rtmp://127.0.0.1:{port}/live/***: the server refused to take it"
    )


@pytest.mark.parametrize("error", ["HTTPTooManyRequestsError", "PermissionError", "ValueError"])
def test_tls_is_only_blamed_where_libav_does_not_know_better(error: str) -> None:
    with serving(lambda connection: None) as port:
        for scheme in ("rtsps", "rtmps"):
            url = f"{scheme}://127.0.0.1:{port}/x"
            assert _meaning(error, "why", url=url, accepted=False)[0] is Reason.CONNECT_REFUSED
            assert _meaning("OSError", "why", url=url, accepted=False)[0] is Reason.TLS


def test_who_had_accepted_has_not_refused() -> None:
    """RTMP's "error" may come later too, when somebody else publishes by the same key."""
    said = _meaning("UnknownError", "why", url="rtmp://127.0.0.1/live/x", accepted=True)
    assert said == (Reason.END_OF_STREAM, "the connection was lost")


def test_srt_is_not_looked_for_by_tcp() -> None:
    url = "srt://nowhere.invalid:9"
    assert _meaning("OSError", "why", url=url, accepted=False) == (Reason.CONNECT_REFUSED, "why")
