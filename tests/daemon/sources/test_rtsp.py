"""A real RTSP server: passwords of every character, every refusal, and what comes after a loss."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from daemon.capture import Capture, mailbox_for
from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.sources.video import VideoSource
from tests.daemon.sources.videos import WAIT_S, playing
from tests.rtsp import RtspServer, needs_gstreamer
from tests.waiting import wait_until

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


class _Stream:
    """A running capture and how many frames came out of it."""

    def __init__(self, name: str, url: str, metrics: Metrics, board: Board) -> None:
        settings = StreamSettings(name=name, url=SecretStr(url), stall_timeout_s=5.0)
        board.add(name, [])
        metrics.add_stream(name, [])
        metrics.watch(name, board)
        self.stop = threading.Event()
        self.mailbox: Mailbox[Frame] = mailbox_for(settings, metrics)
        self.capture = Capture(
            settings,
            self.mailbox,
            metrics,
            board,
            stop=self.stop,
            # The pauses are tested elsewhere; here they only cost time.
            wait=lambda seconds: self.stop.wait(min(seconds, 0.05)),
            rng=random.Random(1),
        )
        self.capture.start()

    def close(self) -> None:
        self.stop.set()
        self.capture.join(WAIT_S)
        assert not self.capture.running


def test_a_server_that_dies_and_returns_is_found_again_while_others_go_on() -> None:
    """1. Two streams deliver. 2. One server dies: that stream is down, with its reason.
    3. The other one goes on. 4. The server is back on its port: the stream delivers again, and
    the reconnect is counted."""
    metrics = Metrics(CollectorRegistry())
    board = Board(time.time)
    with (
        RtspServer(user="u", password="p@ss") as mortal,
        RtspServer() as steady,
    ):
        one = _Stream("one", mortal.url(), metrics, board)
        two = _Stream("two", steady.url(), metrics, board)

        def frames(name: str) -> float:
            return metrics.registry.get_sample_value("affectd_frames_total", {"stream": name}) or 0

        def up(name: str) -> bool:
            value = metrics.registry.get_sample_value("affectd_stream_up", {"stream": name})
            return value == 1.0

        try:
            wait_until(lambda: frames("one") > 5 and frames("two") > 5)
            mortal.stop()
            wait_until(lambda: not up("one"))
            status = board.streams()[0]
            assert status.reason in (Reason.END_OF_STREAM, Reason.CONNECT_REFUSED)
            before, before_two = frames("one"), frames("two")
            wait_until(lambda: frames("two") > before_two + 5)
            assert frames("one") == before
            wait_until(lambda: up("two"))
            mortal.start()
            wait_until(lambda: up("one") and frames("one") > before + 5)
            assert board.streams()[0].state == "live"
            counted = sum(
                sample.value
                for metric in metrics.reconnects.collect()
                for sample in metric.samples
                if sample.name.endswith("_total") and sample.labels["stream"] == "one"
            )
            assert counted >= 1
            assert "p@ss" not in str(board.streams())
        finally:
            one.close()
            two.close()
