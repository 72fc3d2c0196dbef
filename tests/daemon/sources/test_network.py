"""What a network does to a source: UDP, broken answers, silence, TLS, and how long it waits."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Literal

import pytest

from daemon.errors import Reason, SourceError
from daemon.sources import container
from daemon.sources.network import BY_TCP, Network
from tests.daemon.sources.videos import WAIT_S, fault_of, playing
from tests.faults.proxy import Proxy
from tests.rtsp import RtspServer, needs_gstreamer
from tests.tls import certificate, needs_openssl, tls_before

pytestmark = pytest.mark.usefixtures("patient")


def fault(url: str, network: Network = BY_TCP, *, stall_timeout_s: float = WAIT_S) -> SourceError:
    found = fault_of(url, live=True, network=network, stall_timeout_s=stall_timeout_s)
    assert "p@ss" not in str(found)
    return found


@needs_gstreamer
def test_pictures_by_udp_and_a_stall_of_them() -> None:
    with RtspServer() as server:
        first, frames = playing(server.url(), network=Network(transport="udp"), stall_timeout_s=4.0)
        assert first[0].image.width == 320
        server.freeze()
        frozen_s = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED
        assert time.monotonic() - frozen_s < 40.0


@needs_gstreamer
@pytest.mark.parametrize(("has", "lacks"), [("tcp", "udp"), ("udp", "tcp")])
def test_a_camera_that_sends_over_one_transport_alone(
    has: Literal["tcp", "udp"], lacks: Literal["tcp", "udp"]
) -> None:
    with RtspServer("--only", has.upper()) as server:
        refused = fault(server.url(), Network(transport=lacks))
        first, _ = playing(server.url(), network=Network(transport=has), stall_timeout_s=WAIT_S)
    assert refused.reason is Reason.UNSUPPORTED
    said = f'does not send over {lacks.upper()}; accepted is transport = "{has}"'
    assert str(refused).endswith(said)
    assert first[0].image.width == 320


@needs_gstreamer
@pytest.mark.parametrize("answer", range(4), ids=["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_server_that_dies_in_the_middle_of_an_answer(answer: int) -> None:
    """It is neither one that sends no video nor one that forbids: the connection was lost, as the
    server shows that stands in its place."""
    with RtspServer() as server, Proxy(server.port) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/cam"
        proxy.break_at(answer)
        assert fault(url).reason is Reason.END_OF_STREAM
        assert proxy.done["cut"] == 1
        proxy.break_at(answer)
        server.stop()
        assert fault(url).reason in (Reason.CONNECT_REFUSED, Reason.END_OF_STREAM)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "rtmp", "rtmps", "http", "https"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_that_accepts_and_says_nothing(scheme: str, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began_s = time.monotonic()
        url = f"{scheme}://u:p%40ss@127.0.0.1:{server.getsockname()[1]}/cam"
        silent = fault(url, Network(transport=transport), stall_timeout_s=1.0)  # type: ignore[arg-type]
        assert silent.reason is Reason.TIMEOUT
        assert time.monotonic() - began_s < 40.0


@needs_gstreamer
@needs_openssl
def test_a_certificate_that_the_camera_made_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. It is refused. 2. With tls_verify = false it will do. 3. It is trusted if the system does
    so. 4. Not for another host's name."""
    own = certificate(tmp_path, "localhost")
    with RtspServer(user="u", password="p@ss") as server:
        address = "rtsps://u:p%40ss@localhost:{}/cam"
        with tls_before(server.port, own) as port:
            refused = fault(address.format(port))
            assert refused.reason is Reason.TLS
            assert "tls_verify = false" in str(refused)
            unverified = Network(tls_verify=False)
            playing(address.format(port), network=unverified, stall_timeout_s=WAIT_S, pictures=3)
            monkeypatch.setenv("SSL_CERT_FILE", str(own[0]))
            playing(address.format(port), stall_timeout_s=WAIT_S, pictures=3)
        other = certificate(tmp_path, "other")
        monkeypatch.setenv("SSL_CERT_FILE", str(other[0]))
        with tls_before(server.port, other) as port:
            assert fault(address.format(port)).reason is Reason.TLS


@needs_gstreamer
def test_more_patience_with_a_stream_than_with_opening_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """libav knows one time-out for both. 1. A server that says nothing is given up soon. 2. One
    that falls silent while it is read is given as long as it was promised."""
    monkeypatch.setattr(container, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began_s = time.monotonic()
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"
        assert fault(url, stall_timeout_s=120.0).reason is Reason.TIMEOUT
        assert time.monotonic() - began_s < 60.0
    monkeypatch.setattr(container, "OPEN_TIMEOUT_S", 2.5)
    with RtspServer() as server:
        _, frames = playing(server.url(), stall_timeout_s=5.0)
        began_s = time.monotonic()
        server.freeze()
        with pytest.raises(SourceError, match="nothing came for 5 s"):
            list(frames)
        assert time.monotonic() - began_s > 4.0
