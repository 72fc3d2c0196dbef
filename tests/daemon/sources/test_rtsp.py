"""A real RTSP server: passwords of every character, every refusal, and how a stream ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.sources.video import VideoSource
from tests.daemon.sources.videos import WAIT_S, playing
from tests.rtsp import RtspServer, needs_gstreamer

pytestmark = [needs_gstreamer, pytest.mark.usefixtures("patient")]

USER = "view@er"
PASSWORD = "p@ss:w/rd#1?%&ü x"


@pytest.fixture(scope="module", params=["basic", "digest"])
def guarded(request: pytest.FixtureRequest) -> Iterator[RtspServer]:
    options = ["--digest"] if request.param == "digest" else []
    with RtspServer(*options, user=USER, password=PASSWORD) as server:
        yield server


def _some(url: str, count: int = 5) -> list[Frame]:
    source = VideoSource("s", url, live=True, stop=threading.Event(), stall_timeout_s=WAIT_S)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == count:
            source.close()
    return frames


def _some_soon(url: str) -> list[Frame]:
    """GStreamer refuses a reader that comes while the one before is being put away."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            return _some(url)
        except SourceError as error:
            if "5xx" not in str(error) or time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def _fault(url: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        _some(url)
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    return caught.value


def test_a_password_of_special_characters_opens_the_stream(guarded: RtspServer) -> None:
    raw = f"rtsp://{USER}:{PASSWORD}@127.0.0.1:{guarded.port}/cam"
    for url in (guarded.url(), raw):
        frames = _some_soon(url)
        assert len(frames) == 5
        assert (frames[0].image.width, frames[0].image.height) == (320, 240)
        assert [frame.pts_s for frame in frames] == sorted({frame.pts_s for frame in frames})


def test_a_wrong_password_and_none_are_refused(guarded: RtspServer) -> None:
    for url in (
        guarded.url(password="geheim"),
        guarded.url(password=PASSWORD + "x"),
        f"rtsp://127.0.0.1:{guarded.port}/cam",
    ):
        fault = _fault(url)
        assert fault.reason is Reason.AUTH_FAILED
        assert "geheim" not in str(fault)


def test_an_unknown_path_is_not_found(guarded: RtspServer) -> None:
    assert _fault(guarded.url("/attic")).reason is Reason.NOT_FOUND


def test_a_closed_port_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    fault = _fault(f"rtsp://u:p%40ss@127.0.0.1:{port}/cam")
    assert fault.reason is Reason.CONNECT_REFUSED


def test_a_server_that_ends_the_stream_ends_the_frames() -> None:
    with RtspServer("--frames", "15") as server:
        assert 10 <= len(_some(server.url(), count=1000)) <= 15


def test_bytes_that_stop_are_a_stall() -> None:
    with RtspServer() as server:
        _, reader = playing(server.url(), stall_timeout_s=2.0, pictures=5)
        server.freeze()
        frozen_s = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(reader)
        assert caught.value.reason is Reason.STALLED
        assert time.monotonic() - frozen_s < 30.0
