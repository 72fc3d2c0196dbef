"""What comes by HTTP: motion JPEG, HLS, files."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from daemon.errors import Reason, SourceError
from daemon.frame import Frame, plane
from tests.daemon.sources.videos import WAIT_S, frames_of, open_video, playing
from tests.media import write_clip

pytestmark = pytest.mark.usefixtures("patient")

FPS = 10


class WebCamera:
    """Serves /video as motion JPEG while `is_on`, /flv from clip.flv, and the files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.is_on = True
        self.over = threading.Event()
        self.asked: list[str] = []
        self.flv_sent_s = 0.0
        camera = self

        class Answer(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked.append(self.path)
                if self.path.startswith("/flv?"):
                    self.send_response(200)
                    self.end_headers()
                    with suppress(OSError):
                        camera.send_flv(self.wfile, (folder / "clip.flv").read_bytes())
                    return
                if self.path != "/video":
                    super().do_GET()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):
                    for number in itertools.count():
                        if camera.is_on:
                            self.wfile.write(part(number))
                        if camera.over.wait(1.0 / FPS):
                            return

            def log_message(self, *args: object) -> None:
                pass

        answer = partial(Answer, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web camera")

    def send_flv(self, file: BufferedIOBase, flv: bytes) -> None:
        """Send what `flv` holds as time passes, with sound announced that does not come."""
        began_s = time.monotonic()
        begin = 13  # behind the header's nine bytes and the length of no tag
        file.write(flv[:4] + bytes([flv[4] | 0x04]) + flv[5:begin])
        while begin < len(flv):
            self.flv_sent_s = int.from_bytes(flv[begin + 4 : begin + 7]) / 1000
            if self.over.wait(max(0.0, began_s + self.flv_sent_s - time.monotonic())):
                return
            end = begin + 11 + int.from_bytes(flv[begin + 1 : begin + 4]) + 4
            file.write(flv[begin:end])
            begin = end

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> WebCamera:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def part(number: int) -> bytes:
    image = np.full((120, 160), 20 + 10 * number % 200, np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % len(jpeg) + jpeg + b"\r\n"


def remuxed(clip: Path, target: Path) -> None:
    """Write what `clip` shows to `target`, in the container that its ending names."""
    with av.open(str(clip)) as given, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)


def test_a_file_of_motion_jpeg_says_no_time_nor_rate(tmp_path: Path) -> None:
    saved = tmp_path / "saved.mjpg"
    saved.write_bytes(b"".join(map(part, range(3))))
    source = open_video(saved)
    assert len(list(source.frames())) == 3
    assert (source.container, source.fps, source.first_picture_s) == ("mpjpeg", None, None)


def test_motion_jpeg_in_its_own_time_and_a_stall_of_it(tmp_path: Path) -> None:
    with WebCamera(tmp_path) as camera:
        made = open_video(camera.url("/video"), live=True, stall_timeout_s=WAIT_S)
        frames = made.frames()
        before_s = time.monotonic()
        first = next(frames)
        after_s = time.monotonic()
        seen = list(itertools.islice(frames, 19))
        before_last_s = time.monotonic()
        seen.append(next(frames))
        took_s = seen[-1].pts_s - first.pts_s
        # libav alone would say 0.8 s, whatever passed.
        assert before_last_s - after_s - 0.3 < took_s < time.monotonic() - before_s + 0.3
        assert (first.image.width, first.image.height) == (160, 120)
        lumas = [int(np.median(plane(frame.image, 0))) for frame in seen[:5]]
        assert [b - a for a, b in itertools.pairwise(lumas)] == pytest.approx([10] * 4, abs=2)
        made.close()
        _, frames = playing(camera.url("/video"), stall_timeout_s=3.0)
        camera.is_on = False
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED


def test_flv_whose_sound_never_comes_begins_without_it(tmp_path: Path) -> None:
    remuxed(write_clip(tmp_path / "clip.mp4", frames=750, fps=25), tmp_path / "clip.flv")
    with WebCamera(tmp_path) as camera:
        _, frames = playing(camera.url("/flv?stream=main"), stall_timeout_s=WAIT_S)
        assert camera.flv_sent_s < 5.0
        camera.over.set()
        with pytest.raises(SourceError):
            list(frames)


def test_hls_that_grows(tmp_path: Path) -> None:
    """1. Some segments are there. 2. The reader begins near the end. 3. More come: it goes on.
    4. None come: that is found."""
    clip = write_clip(tmp_path / "clip.mp4", frames=200, fps=25, options={"g": "25"})
    gone_on = threading.Event()
    over = threading.Event()
    seen: list[Frame] = []

    def grow() -> None:
        more = 0
        with (
            av.open(str(clip)) as given,
            av.open(
                str(tmp_path / "live.m3u8"),
                "w",
                format="hls",
                container_options={"hls_time": "1", "hls_list_size": "4"},
            ) as playlist,
        ):
            stream = playlist.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is None:
                    break
                if float(packet.pts * packet.time_base) >= 4.0:
                    gone_on.set()
                    while more > len(seen) and not over.wait(0.01):
                        pass  # The reader is late: what it reads next must stay in the list.
                    over.wait(0.03)
                    more += 1
                packet.stream = stream
                playlist.mux(packet)
            over.wait(2 * WAIT_S)

    grower = threading.Thread(target=grow, name="grow")
    with WebCamera(tmp_path) as camera:
        grower.start()
        try:
            assert gone_on.wait(WAIT_S)
            made = open_video(camera.url("/live.m3u8"), live=True, stall_timeout_s=8.0)
            began_s = time.monotonic()
            # Whichever comes first, libav calls it an end or our own time-out a stall.
            with suppress(SourceError):
                for frame in made.frames():
                    seen.append(frame)  # one by one: the other thread looks
            assert time.monotonic() - began_s < WAIT_S
        finally:
            over.set()
            grower.join()
    assert len(seen) >= 100
    steps = {round(b.pts_s - a.pts_s, 3) for a, b in itertools.pairwise(seen)}
    assert steps == {0.04}


def test_of_several_qualities_the_largest_is_read_and_no_other_fetched(tmp_path: Path) -> None:
    sizes = {"small": (64, 48), "large": (256, 192), "middle": (128, 96)}
    lines = ["#EXTM3U"]
    for name, (width, height) in sizes.items():
        clip = write_clip(tmp_path / f"{name}.mp4", width=width, height=height, frames=75)
        remuxed(clip, tmp_path / f"{name}.m3u8")
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={width * height}", f"{name}.m3u8"]
    (tmp_path / "all.m3u8").write_text("\n".join([*lines, ""]))
    with WebCamera(tmp_path) as camera:
        frames = frames_of(camera.url("/all.m3u8"))
        segments = [path for path in camera.asked if path.endswith(".ts")]
    assert {(frame.image.width, frame.image.height) for frame in frames} == {(256, 192)}
    assert len(frames) == 75
    # Of each the first is looked at to know what it holds.
    assert [path for path in segments if "large" not in path] == ["/small0.ts", "/middle0.ts"]


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.mp4"])
def test_what_lies_ready_on_a_server_comes_at_its_own_pace(tmp_path: Path, name: str) -> None:
    """Else the newest picture of each segment would win, and the others be lost."""
    clip = write_clip(tmp_path / "clip.mp4", frames=26, fps=25)
    remuxed(clip, tmp_path / "clip.m3u8")
    with WebCamera(tmp_path) as camera:
        made = open_video(camera.url(f"/{name}"), live=True, stall_timeout_s=8.0)
        began_s = time.monotonic()
        assert len(list(made.frames())) == 26
        assert time.monotonic() - began_s >= 25 / 25
