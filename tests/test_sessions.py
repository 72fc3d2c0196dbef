"""RTSP sessions are ended as the standard says (TEARDOWN): a camera that serves few clients at
once would otherwise refuse the next one until it finds by itself that this one is gone."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Literal

import pytest

from daemon.errors import Reason, SourceError
from daemon.sources.network import BY_TCP, Network
from daemon.sources.video import VideoSource
from tests.affectd import END_S, LIGHT, Daemon
from tests.daemon.sources.videos import WAIT_S, playing
from tests.faults.proxy import Harm, Proxy
from tests.rtsp import RtspServer, needs_gstreamer
from tests.test_reload import is_live, reload, sink, stream

pytestmark = [needs_gstreamer, pytest.mark.usefixtures("patient")]


def source(url: str, stop: Event, network: Network = BY_TCP) -> VideoSource:
    return VideoSource("s", url, live=True, stop=stop, stall_timeout_s=WAIT_S, network=network)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_stop_in_the_middle_takes_leave(transport: Literal["tcp", "udp"]) -> None:
    stop = Event()
    with RtspServer() as server:
        for _ in source(server.url(), stop, Network(transport=transport)).frames():
            stop.set()
        server.wait_for_teardown()


def test_a_source_that_nobody_read_takes_leave() -> None:
    with RtspServer() as server:
        source(server.url(), Event()).close()
        server.wait_for_teardown()


def test_a_stall_takes_leave() -> None:
    """The server is well, and nothing of what it sends comes through."""
    with RtspServer() as server, Proxy(server.port) as proxy:
        url = server.url().replace(str(server.port), str(proxy.port))
        _, frames = playing(url, stall_timeout_s=4.0)
        proxy.harm = Harm(hold=True)
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED
        server.wait_for_teardown()


def test_reload_and_stop_take_leave_of_camera_and_push(tmp_path: Path) -> None:
    """
    1. A camera is read and pushed to another server. 2. Its stream goes by SIGHUP: both servers
    are told. 3. It is back. 4. SIGTERM: they are told again, and it ends with 0.
    """
    with RtspServer() as camera, RtspServer("--record") as server:
        push = sink("rtsp") + f'url = "{server.url("/in")}"\n'
        both = LIGHT + stream("camera", camera.url(), push) + stream("lobby")
        with Daemon(tmp_path, both) as daemon:

            def is_pushed() -> bool:
                metrics = daemon.get("/metrics").text
                return 'affectd_sink_up{sink="rtsp",stream="camera"} 1.0' in metrics

            for is_last in (False, True):
                daemon.wait_for(lambda: is_live(daemon, "camera"), "the camera")
                daemon.wait_for(is_pushed, "the push")
                if is_last:
                    code, took_s = daemon.end()
                    assert (code, took_s < END_S) == (0, True), daemon.log
                else:
                    reload(daemon, LIGHT + stream("lobby"))
                camera.wait_for_teardown()
                server.wait_for_teardown()
                if not is_last:
                    reload(daemon, both)
