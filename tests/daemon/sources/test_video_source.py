"""Real files of every odd kind through VideoSource."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from daemon.errors import Reason, SourceError
from daemon.frame import Frame, SmallLook, is_full_range, plane
from daemon.sources.base import Report
from daemon.sources.picture import to_frame_image
from daemon.sources.timeline import Timeline
from daemon.sources.video import VideoSource
from tests.media import write_clip
from tests.shared import VIDEO, needs_shared


def _source(url: Path | str, *, live: bool = False, loop: bool = False) -> VideoSource:
    return VideoSource("s", str(url), live=live, loop=loop, stop=threading.Event())


def _frames(url: Path | str) -> list[Frame]:
    return list(_source(url).frames())


def _fault(url: Path | str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        _frames(url)
    return caught.value


def test_every_frame_of_a_file_with_sound(tmp_path: Path) -> None:
    frames = _frames(write_clip(tmp_path / "clip.mp4", frames=30, audio=True))
    assert [frame.seq for frame in frames] == list(range(30))
    assert [frame.pts_s for frame in frames] == pytest.approx([i / 25 for i in range(30)])
    assert {frame.stream for frame in frames} == {"s"}
    assert frames[0].image.format.name == "yuv420p"
    assert time.time() - frames[0].captured_s < 60.0
    luma = plane(frames[0].image, 0)
    assert luma[-1, -1] > luma[0, 0] + 100


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.avi", "clip.mov", "a:b %03d@.mp4"])
def test_other_containers_and_odd_names(tmp_path: Path, name: str) -> None:
    clip = write_clip(tmp_path / name, frames=5)
    assert len(_frames(clip)) == 5
    assert len(_frames(f"file://{clip}".replace("%", "%25"))) == 5


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "expected"),
    [
        ("libx264", "yuv420p10le", "yuv420p"),
        ("libx264", "yuv422p", "yuv420p"),
        ("libx264", "nv12", "yuv420p"),
        ("mjpeg", "yuvj422p", "yuvj420p"),
        ("mjpeg", "yuvj420p", "yuvj420p"),
        ("ffv1", "gray", "yuv420p"),
        ("ffv1", "bgra", "yuv420p"),
        ("ffv1", "yuv444p16le", "yuv420p"),
    ],
)
def test_every_pixel_format_arrives_as_420_with_its_brightness(
    tmp_path: Path, codec: str, pix_fmt: str, expected: str
) -> None:
    frame = _frames(write_clip(tmp_path / "c.mkv", codec=codec, pix_fmt=pix_fmt, frames=2))[0]
    assert frame.image.format.name == expected
    plain = _frames(write_clip(tmp_path / "plain.mkv", frames=2))[0]
    luma, reference = (plane(f.image, 0).astype(float) for f in (frame, plain))
    if is_full_range(frame.image):
        luma = luma * 219 / 255 + 16
    assert np.abs(luma - reference).mean() < 4.0


@pytest.mark.parametrize("number", [3, 8, 14, 255])
def test_a_colour_space_that_means_nothing_is_not_passed_on(number: int) -> None:
    image = av.VideoFrame(160, 120, "yuv420p")
    image.colorspace = number
    ready = to_frame_image(image)
    assert ready is image
    assert SmallLook(80)(ready).shape == (60, 80, 3)


@pytest.mark.parametrize(("width", "height"), [(161, 121), (17, 120), (160, 119)])
def test_odd_sizes_lose_their_last_row_or_column(tmp_path: Path, width: int, height: int) -> None:
    clip = write_clip(
        tmp_path / "odd.mkv", width=width, height=height, codec="ffv1", pix_fmt="yuv420p"
    )
    images = [frame.image for frame in _frames(clip)]
    assert {(i.width, i.height) for i in images} == {(width & ~1, height & ~1)}
    assert plane(images[0], 1).shape == ((height & ~1) // 2, (width & ~1) // 2)
    luma = plane(images[0], 0)
    assert luma[-1, -1] > luma[0, 0] + 100


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("height", [120, 121])
def test_rotation_metadata_turns_the_picture_upright(
    tmp_path: Path, degrees: int, height: int
) -> None:
    """A phone held upright writes a lying picture and `turn it clockwise by so much`."""
    clip = write_clip(tmp_path / "lying.mp4", height=height, width=162, pix_fmt="yuv444p", frames=3)
    lying = plane(_frames(clip)[0].image, 0).copy()
    chroma = plane(_frames(clip)[0].image, 1).copy()
    _set_rotation(clip, degrees)
    image = _frames(clip)[0].image
    turned = np.rot90(lying, -degrees // 90)
    assert plane(image, 0).shape == turned.shape
    assert np.abs(plane(image, 0).astype(int) - turned).max() <= 8  # one row may be cropped
    assert np.abs(plane(image, 1).astype(int) - np.rot90(chroma, -degrees // 90)).max() <= 8


def _set_rotation(clip: Path, clockwise_degrees: int) -> None:
    """Write the display matrix into the MP4's track header (ISO 14496-12, 8.3.2)."""
    a, b, c, d = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[clockwise_degrees]
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    struct.pack_into(">9i", data, matrix, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    clip.write_bytes(data)


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "vfr.mp4", frames=5, pts=[100, 140, 500, 520, 3000])
    assert [f.pts_s for f in _frames(clip)] == pytest.approx([0.0, 0.04, 0.4, 0.42, 2.9])


def test_the_timeline_bears_missing_standing_and_leaping_timestamps() -> None:
    line = Timeline(step_s=0.04)
    given = [None, 7.0, 7.04, 7.04, None, 7.2, 1.0, 1.04]
    placed = [line.place(time_s) for time_s in given]
    assert placed == pytest.approx([0.0, 0.04, 0.08, 0.081, 0.121, 0.24, 0.28, 0.32])
    line.restart()
    assert line.place(50.0) == pytest.approx(0.36)


def test_live_timestamps_that_leap_forward_begin_anew_where_time_is() -> None:
    line = Timeline(step_s=0.04)
    came_s = [100.0, 100.04, 100.08, 100.5, 108.5, 108.54]
    given = [5.0, 5.04, 3605.04, 3605.46, 3613.46, 13.54]
    placed = [line.place(time_s, now_s) for time_s, now_s in zip(given, came_s, strict=True)]
    # An hour is jumped over, a gap of eight seconds that has really passed is not.
    assert placed == pytest.approx([0.0, 0.04, 0.08, 0.5, 8.5, 8.54])
    assert line.stood_s() == 0.0


def test_a_burst_of_what_was_held_back_is_no_leap() -> None:
    line = Timeline(step_s=0.04)
    given = [0.0, 0.04, 0.08, 0.12, 2.0, 4.0]
    came_s = [10.0, 10.04, 14.0, 14.0, 14.0, 14.04]
    placed = [line.place(time_s, now_s) for time_s, now_s in zip(given, came_s, strict=True)]
    assert placed == pytest.approx(given)


def test_timestamps_that_stand_still_are_timed() -> None:
    line = Timeline(step_s=0.04)
    stood_s = []
    for given, came_s in [(1.0, 10.0), (1.04, 10.1), (1.04, 11.0), (1.04, 12.1), (2.0, 12.2)]:
        line.place(given, came_s)
        stood_s.append(line.stood_s())
    assert stood_s == pytest.approx([0.0, 0.0, 0.9, 2.0, 0.0])
    line.place(None, 15.0)
    assert line.stood_s() == 0.0


def test_a_looped_file_goes_on_in_time(tmp_path: Path) -> None:
    source = _source(write_clip(tmp_path / "loop.mp4", frames=5), loop=True)
    pts_s = []
    for frame in source.frames():
        pts_s.append(frame.pts_s)
        if frame.seq == 12:
            source.close()
    assert pts_s == pytest.approx([i / 25 for i in range(13)])


def test_a_file_read_as_live_keeps_its_own_pace(tmp_path: Path) -> None:
    source = _source(write_clip(tmp_path / "paced.mp4", frames=8), live=True)
    began_s = time.monotonic()
    assert len(list(source.frames())) == 8
    assert time.monotonic() - began_s >= 7 / 25


def test_sound_that_goes_on_does_not_hide_that_the_video_stands_still(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=250, video_frames=5, audio=True)
    ticks = count()
    source = VideoSource(
        "s",
        str(clip),
        live=True,
        stop=threading.Event(),
        stall_timeout_s=2.0,
        monotonic=lambda: next(ticks) * 0.05,
    )
    reader = source.frames()
    for _ in range(5):
        next(reader)
    with pytest.raises(SourceError, match="no picture for 2 s") as caught:
        list(reader)
    assert caught.value.reason is Reason.STALLED


def test_stop_and_close_end_a_source(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=20)
    stop = threading.Event()
    source = VideoSource("s", str(clip), live=False, stop=stop)
    reader = source.frames()
    next(reader)
    stop.set()
    assert list(reader) == []
    source.close()

    source = _source(clip)
    reader = source.frames()
    next(reader)
    closer = threading.Thread(target=source.close, name="closer")
    closer.start()
    closer.join(5.0)
    assert list(reader) == []
    source.close()


def test_sources_that_are_no_video_say_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.mp4").write_bytes(random.Random(1).randbytes(20_000))
    (tmp_path / "notes.txt").write_text("no video, but a lot of words\n" * 500)
    sound = write_clip(tmp_path / "sound.mp4", audio=True, video=False)
    for name, reason, words in (
        ("missing.mp4", Reason.NOT_FOUND, "there is no such file"),
        ("empty.mp4", Reason.UNSUPPORTED, "the file is empty"),
        ("noise.mp4", Reason.UNSUPPORTED, "is no video"),
        ("notes.txt", Reason.UNSUPPORTED, ""),
        ("", Reason.UNSUPPORTED, "is a folder"),
        (sound.name, Reason.NO_VIDEO, "no video track (it has audio)"),
    ):
        fault = _fault(tmp_path / name)
        assert fault.reason is reason, name
        assert words in str(fault)
        assert str(tmp_path / name) in str(fault)


def test_too_small_and_too_large_pictures_are_refused_and_8000_is_taken(tmp_path: Path) -> None:
    def clip(width: int, height: int, codec: str, pix_fmt: str) -> Path:
        path = tmp_path / f"{width}x{height}.mkv"
        return write_clip(
            path,
            width=width,
            height=height,
            codec=codec,
            pix_fmt=pix_fmt,
            frames=1,
            paint=None,
        )

    fault = _fault(clip(1, 1, "ffv1", "yuv444p"))
    assert fault.reason is Reason.UNSUPPORTED
    assert "1x1; accepted are pictures of 16 to 8192 px" in str(fault)
    assert _fault(clip(8210, 16, "mjpeg", "yuvj420p")).reason is Reason.UNSUPPORTED
    huge = clip(8000, 8000, "libx264", "yuv420p")
    assert [(f.image.width, f.image.height) for f in _frames(huge)] == [(8000, 8000)]


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_cut_file_gives_what_is_left_and_says_so(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else None
    clip = write_clip(tmp_path / name, frames=100, container_options=options)
    whole = _source(clip)
    assert len(list(whole.frames())) == 100
    assert whole.cut is None
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    source = _source(clip)
    frames = list(source.frames())
    assert 30 <= len(frames) <= 60
    assert source.cut is not None
    assert "of 4.0 s" in source.cut
    assert source.cut in caplog.text


def test_a_file_without_its_index_cannot_be_opened(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=50)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    fault = _fault(clip)
    assert fault.reason is Reason.UNSUPPORTED
    assert "cut off" in str(fault)


def _damage(clip: Path, first: float, share: float) -> None:
    data = bytearray(clip.read_bytes())
    dice = random.Random(1)
    for index in range(int(len(data) * first), len(data)):
        if dice.random() < share:
            data[index] = dice.randrange(256)
    clip.write_bytes(data)


def test_damaged_packets_are_dropped_and_counted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=100)
    _damage(clip, first=0.5, share=0.004)
    told: list[int] = []
    source = VideoSource(
        "s",
        str(clip),
        live=False,
        stop=threading.Event(),
        report=Report(damaged=lambda: told.append(1)),
    )
    frames = list(source.frames())
    assert 45 < len(frames) < 100
    assert source.damaged == len(told) > 0
    assert all(late.pts_s > early.pts_s for early, late in pairwise(frames))


def test_fifty_damaged_packets_in_a_row_are_a_fault(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=60, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(clip.read_bytes())
    chunk = data.index(b"00dc", data.index(b"movi"))
    while data[chunk : chunk + 4] == b"00dc":
        size = int.from_bytes(data[chunk + 4 : chunk + 8], "little")
        data[chunk + 8 : chunk + 8 + size] = bytes(size)
        chunk += 8 + size + size % 2
    clip.write_bytes(data)
    fault = _fault(clip)
    assert fault.reason is Reason.DECODE_ERROR
    assert "50 damaged packets in a row" in str(fault)


def test_the_decode_time_of_every_frame_is_told(tmp_path: Path) -> None:
    told: list[float] = []
    clip = write_clip(tmp_path / "clip.mp4", frames=10)
    source = VideoSource(
        "s", str(clip), live=False, stop=threading.Event(), report=Report(decoded=told.append)
    )
    assert len(list(source.frames())) == len(told) == 10
    assert min(told) > 0.0


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
            fault = _fault(f"http://me:geheim@{address}/{status}")
            assert fault.reason is reason
            assert f"http://me:***@{address}/{status}: " in str(fault)
        assert _fault(f"https://me:geheim@{address}/200").reason is Reason.TLS
        assert _fault(f"rtsps://me:geheim@{address}/200").reason is Reason.TLS
    assert _fault(f"http://me:geheim@{address}/200").reason is Reason.CONNECT_REFUSED
    assert _fault("rtsp://no-such-host.invalid/x").reason is Reason.NOT_FOUND
    assert _fault("rtsp://").reason is Reason.UNSUPPORTED


def test_a_file_over_http(tmp_path: Path) -> None:
    write_clip(tmp_path / "my clip.mp4", frames=10, container_options={"movflags": "faststart"})
    with _http(partial(_Files, directory=str(tmp_path))) as address:
        assert len(_frames(f"http://{address}/my clip.mp4")) == 10


def test_a_silent_server_is_a_time_out() -> None:
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
            assert time.monotonic() - began_s < 3.0


@contextmanager
def _silent() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@needs_shared
@pytest.mark.parametrize("name", ["bbaf2n.mpg", "woman_head_pose.mp4"])
def test_clips_from_the_world(name: str) -> None:
    source = _source(VIDEO / name)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 50:
            source.close()
    assert len(frames) >= 48
    steps_s = np.diff([frame.pts_s for frame in frames])
    assert steps_s == pytest.approx(np.full(len(steps_s), 0.04), abs=0.002)
    assert source.damaged == 0
