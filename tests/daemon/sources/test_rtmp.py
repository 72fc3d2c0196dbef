"""Playing from a real RTMP server."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import pytest

from daemon.errors import Reason, SourceError
from daemon.sources.network import Network
from tests.daemon.sources.videos import WAIT_S, fault_of, playing
from tests.media import write_clip
from tests.rtmp import RtmpServer, needs_rtmp
from tests.tls import certificate, needs_openssl, tls_before

pytestmark = pytest.mark.usefixtures("patient")


class Camera:
    """Publishes a film of 30 s under `url`, as time passes."""

    def __init__(self, folder: Path, url: str) -> None:
        self._clip = write_clip(folder / "clip.mp4", frames=750, fps=25)
        self._url = url
        self._over = threading.Event()
        self.sent_s = 0.0

    @contextmanager
    def sends(self) -> Iterator[Camera]:
        thread = threading.Thread(target=self._send, name="camera")
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _send(self) -> None:
        with (
            suppress(av.FFmpegError),  # until the server is gone
            av.open(str(self._clip)) as film,
            av.open(self._url, "w", format="flv") as server,
        ):
            track = server.add_stream_from_template(film.streams.video[0])
            began_s = time.monotonic()
            for packet in film.demux(video=0):
                if packet.dts is None or self._over.wait(
                    max(0.0, began_s + self.sent_s - time.monotonic())
                ):
                    return
                self.sent_s = float(packet.dts * packet.time_base)
                packet.stream = track
                server.mux(packet)


@needs_rtmp
def test_pictures_come_soon_and_until_the_server_dies(tmp_path: Path) -> None:
    """libav cannot know that RTMP brings no sound; it would wait for some."""
    with RtmpServer(tmp_path) as server, Camera(tmp_path, server.url()).sends() as camera:
        first, frames = playing(server.url(), stall_timeout_s=WAIT_S, pictures=3)
        assert camera.sent_s < 5.0
        steps_s = [after.pts_s - before.pts_s for before, after in itertools.pairwise(first)]
        assert steps_s == pytest.approx([0.04, 0.04])
        server.stop()
        with pytest.raises(SourceError) as caught:
            list(frames)
    assert caught.value.reason is Reason.END_OF_STREAM


@needs_rtmp
def test_a_camera_that_stops_sending_and_one_that_never_did(tmp_path: Path) -> None:
    with RtmpServer(tmp_path) as server:
        with Camera(tmp_path, server.url()).sends():
            _, frames = playing(server.url(), stall_timeout_s=4.0)
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED
        never = fault_of(server.url("/live/none"), live=True, stall_timeout_s=2.0)
        assert never.reason is Reason.TIMEOUT
        refused = fault_of(server.url("/nowhere/secret-key"), live=True, stall_timeout_s=WAIT_S)
        assert refused.reason is Reason.CONNECT_REFUSED
        assert str(refused) == f"{server.url('/nowhere/***')}: the server refuses to play it"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    gone = fault_of(f"rtmp://127.0.0.1:{port}/live/cam", live=True)
    assert gone.reason is Reason.CONNECT_REFUSED


@needs_rtmp
@needs_openssl
def test_rtmps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. A certificate that the server made itself is refused, but not by PyAV 18. 2. With
    tls_verify = false it will do. 3. It is trusted if the system does so."""
    own = certificate(tmp_path, "localhost")
    with (
        RtmpServer(tmp_path) as server,
        tls_before(server.port, own) as port,
        Camera(tmp_path, server.url()).sends(),
    ):
        url = f"rtmps://localhost:{port}/live/cam"
        playing(url, network=Network(tls_verify=False), stall_timeout_s=WAIT_S)
        if not av.__version__.startswith("18."):
            refused = fault_of(url, live=True, stall_timeout_s=WAIT_S)
            assert refused.reason is Reason.TLS
            assert "tls_verify = false" in str(refused)
        monkeypatch.setenv("SSL_CERT_FILE", str(own[0]))
        playing(url, stall_timeout_s=WAIT_S)
