"""A source that is away: its readers stay, see since when and why, and then its pictures again."""

from __future__ import annotations

import io
import re
import threading
import time
import tracemalloc
from collections import deque
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

from daemon.draw.slate import AWAY_S, EVERY_S, QUIET_FRAMES, QUIET_S, Slate, _moment, draw
from daemon.errors import Reason
from daemon.frame import Frame, plane
from daemon.monitoring.status import State, StreamStatus
from tests.affectd import Daemon
from tests.daemon.outputs import FULL, picture
from tests.rtsp import RtspServer, needs_gstreamer

CAPTURED_S = 1_795_262_400.0


class Quiet:
    """A slate whose clock stands until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.unix_s = CAPTURED_S
        self.slate = Slate("lobby", clock=lambda: self.unix_s, monotonic=lambda: self.now_s)
        self.seq = 0

    def see(
        self, count: int = 1, *, every_s: float = 0.04, image: av.VideoFrame | None = None
    ) -> None:
        for _ in range(count):
            self.now_s += every_s
            shown = picture(self.seq, width=320, height=240) if image is None else image
            self.slate.saw(Frame("lobby", self.seq, 5.0 + self.seq, CAPTURED_S, shown))
            self.seq += 1

    def first_after_s(self, state: State) -> float:
        """Seconds until the first slate, asked for ten times a second."""
        status = StreamStatus("lobby", state, 0.0, Reason.STALLED)
        for tick in range(1, 600):
            self.now_s += 0.1
            if self.slate.output(status) is not None:
                return tick * 0.1
        raise AssertionError("no slate within a minute")


def test_a_slate_comes_soon_when_the_source_is_away_and_later_when_it_is_slow() -> None:
    quiet = Quiet()
    quiet.see(100)
    assert abs(quiet.first_after_s("down") - AWAY_S) < 0.2
    quiet.see(100)
    assert abs(quiet.first_after_s("stalled") - AWAY_S) < 0.2
    quiet.see(100)
    assert abs(quiet.first_after_s("live") - QUIET_S) < 0.2
    quiet.see(100, every_s=5.0)
    assert abs(quiet.first_after_s("live") - QUIET_FRAMES * 5.0) < 1.0


def test_an_outage_makes_no_camera_a_slow_one() -> None:
    quiet = Quiet()
    quiet.see(100)
    quiet.see(every_s=600.0)
    assert abs(quiet.first_after_s("live") - QUIET_S) < 0.2


def test_no_slate_before_the_first_picture_nor_between_two() -> None:
    quiet = Quiet()
    down = StreamStatus("lobby", "down", 0.0, Reason.TIMEOUT)
    assert quiet.slate.output(down) is None
    for _ in range(50):
        quiet.see()
        assert quiet.slate.output(StreamStatus("lobby", "live", 0.0)) is None


def test_slates_come_once_a_second_and_time_goes_on() -> None:
    quiet = Quiet()
    quiet.see(10)
    down = StreamStatus("lobby", "down", 0.0, Reason.AUTH_FAILED)
    outputs = []
    for _ in range(100):
        quiet.now_s += 0.1
        if (output := quiet.slate.output(down)) is not None:
            outputs.append(output)
    assert len(outputs) == round((10 - AWAY_S) / EVERY_S) + 1
    times_s = [output.frame.pts_s for output in outputs]
    assert np.allclose(np.diff(times_s), EVERY_S, atol=0.11)
    assert 14 + AWAY_S <= times_s[0] < 14 + AWAY_S + 0.11
    assert all(output.slate and not output.readings for output in outputs)
    assert len({id(output.frame.image) for output in outputs}) == 1, "drawn once"


def test_slates_are_not_kept_in_memory() -> None:
    """An unsteady camera makes another one, with another time, at each of its outages."""
    image = av.VideoFrame(640, 360, "yuv420p")

    def outages(hour: int) -> int:
        for minute in range(20):
            draw(image, ("lobby", f"no picture since {hour}:{minute:02}:00", "stalled"))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = outages(12)
        assert outages(13) - before < 100_000  # bytes; one slate's letters take 30 000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("width", "height"), [(2160, 3840), (16, 8192)])
def test_a_tall_picture_asks_for_no_letters_that_cannot_fit(width: int, height: int) -> None:
    """Pillow warns of, and then refuses, what takes hundreds of megabytes."""
    image = av.VideoFrame(width, height, "yuv420p")
    draw(image, ("warehouse-east-loading-dock-2-" * 2, "no picture since 12:00:00", "stalled"))
    assert int(plane(image, 0).max()) > 200


@pytest.mark.parametrize("reason", [Reason.AUTH_FAILED, None])
def test_it_says_of_what_stream_since_when_and_why(
    monkeypatch: pytest.MonkeyPatch, reason: Reason | None
) -> None:
    """An hour after the last picture; it is itself as young as any other."""
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr("daemon.draw.slate.draw", lambda image, lines: said.append(lines))
    quiet = Quiet()
    quiet.see()
    quiet.now_s += 3600.0
    quiet.unix_s += 3600.0
    output = quiet.slate.output(StreamStatus("lobby", "down", 0.0, reason))
    assert output is not None
    assert output.captured_s == CAPTURED_S + 3600.0
    since = f"no picture since {_moment(CAPTURED_S, quiet.unix_s)}"
    assert said == [("lobby", since, "auth failed" if reason else "stalled")]


def test_it_holds_no_picture_of_the_decoders() -> None:
    quiet = Quiet()
    image = picture(0, width=320, height=240)
    at = image.planes[0].buffer_ptr
    quiet.see(image=image)
    assert quiet.slate.without_picture((), None).frame.image.planes[0].buffer_ptr != at


def test_it_looks_like_the_last_picture() -> None:
    quiet = Quiet()
    quiet.see(image=picture(0, width=640, height=480, pix_fmt="yuvj420p", color_range=FULL))
    quiet.now_s += 60.0
    output = quiet.slate.output(StreamStatus("lobby", "down", 0.0, Reason.NOT_FOUND))
    assert output is not None
    image = output.frame.image
    assert (image.width, image.height, image.format.name) == (640, 480, "yuvj420p")
    assert image.color_range == FULL
    luma = plane(image, 0)
    assert np.median(luma) < 30
    rows = np.flatnonzero((luma > 120).any(axis=1))
    assert 100 < rows[0] < 240 < rows[-1] < 380, "three lines in the middle"
    quiet.see(image=picture(0, width=64, height=48))
    quiet.now_s += 60.0
    small = quiet.slate.output(StreamStatus("lobby", "down", 0.0, Reason.NOT_FOUND))
    assert small is not None
    assert (small.frame.image.width, small.frame.image.height) == (64, 48)


def test_the_time_is_local_and_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The letters of Berlin's, and a number for a zone that has none."""
    try:
        for zone, said in {
            "UTC": "12:00:00 UTC",
            "CET-1CEST": "13:00:00 CET",
            "<+0530>-5:30": "17:30:00 +0530",
        }.items():
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert _moment(CAPTURED_S, CAPTURED_S + 60) == said
            assert _moment(CAPTURED_S, CAPTURED_S + 86_400) == f"2026-11-21 {said}"
    finally:
        monkeypatch.undo()
        time.tzset()


class MjpegReader:
    """Reads a stream's pictures over one connection, from a thread, until that ends."""

    def __init__(self, url: str) -> None:
        self.lumas: deque[float] = deque(maxlen=10_000)
        self.newest = b""
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(url,), name="mjpeg reader")
        self.thread.start()

    def _run(self, url: str) -> None:
        rest = b""
        with httpx.stream("GET", url, timeout=60.0) as answer:
            for chunk in answer.iter_raw():
                rest += chunk
                while (end := rest.find(b"\xff\xd9")) >= 0:
                    jpeg, rest = rest[rest.find(b"\xff\xd8") : end + 2], rest[end + 2 :]
                    with av.open(io.BytesIO(jpeg), format="mjpeg") as container:
                        frame = next(container.decode(video=0))
                    self.newest = jpeg
                    self.lumas.append(float(np.median(plane(frame, 0))))
                if self.stop.is_set():
                    return

    def sees_slate(self) -> bool:
        """The slate's ground is a little brighter than the black around the server's ball."""
        return bool(self.lumas) and self.lumas[-1] > 10


@pytest.mark.timeout(900)  # more than all that is waited for
@needs_gstreamer
def test_readers_stay_while_the_camera_is_away(tmp_path: Path) -> None:
    """1. Pictures. 2. The server is killed: the same connections show the slate, and time goes on.
    3. It is back: they show pictures. 4. The recording holds pictures alone."""
    with RtspServer() as server:
        config = f"""
[detector]
backend = "haar"
[expression]
enabled = false
[[stream]]
name = "door"
url = "{server.url()}"
sink = [
  {{ kind = "mjpeg", quality = 90 }}, {{ kind = "hls" }},
  {{ kind = "mp4", path = "door.mp4", segment_s = 3600 }},
]
"""
        with Daemon(tmp_path, config) as daemon:
            daemon.wait_for(lambda: daemon.stream("door")["state"] == "live", "pictures")
            reader = MjpegReader(f"{daemon.url}/streams/door/mjpeg")
            playlists: list[str] = []

            def hls(extra: int) -> bool:
                """Whether so many segments came since this was asked for the first time."""
                answer = daemon.get("/streams/door/hls/index.m3u8")
                if answer.status_code == 503:  # not enough of them yet
                    return False
                playlists.append(answer.text)
                first, last = (_newest(playlists[i]) for i in (began, -1))
                return last >= first + extra

            try:
                began = 0
                daemon.wait_for(
                    lambda: len(reader.lumas) > 10 and not reader.sees_slate(), "an MJPEG reader"
                )
                daemon.wait_for(lambda: hls(2), "HLS")
                server.stop()
                daemon.wait_for(reader.sees_slate, "the slate")
                began = len(playlists)
                daemon.wait_for(lambda: hls(4), "HLS to go on")
                assert daemon.stream("door")["state"] == "down"
                assert reader.sees_slate()
                server.start()
                daemon.wait_for(lambda: not reader.sees_slate(), "pictures again")
                began = len(playlists)
                daemon.wait_for(lambda: hls(3), "HLS to go on")
            finally:
                reader.stop.set()
                reader.thread.join(60)
                code, _ = daemon.end()
            assert code == 0
    numbers = [_newest(playlist) for playlist in playlists]
    assert numbers == sorted(numbers)
    assert max(playlist.count("#EXT-X-DISCONTINUITY\n") for playlist in playlists) == 1
    recordings = sorted(tmp_path.glob("door-*.mp4"))
    assert len(recordings) >= 2  # More where a busy machine showed the slate in between.
    pictures = 0
    for recording in recordings:
        with av.open(str(recording)) as container:
            lumas = [np.median(plane(frame, 0)) for frame in container.decode(video=0)]
        pictures += len(lumas)
        assert max(lumas) < 18, "limited range: black is 16, the slate's ground 33"
    assert pictures > 20


def _newest(playlist: str) -> int:
    return int(re.findall(r"(\d+)\.m4s", playlist)[-1])
