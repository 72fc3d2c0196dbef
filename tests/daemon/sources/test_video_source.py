"""Real files of every odd kind through VideoSource."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import BT601, DetectorScaler, is_full_range, plane
from daemon.sources import decoder
from daemon.sources.base import SourceCallbacks
from daemon.sources.open import open_source
from daemon.sources.picture import to_frame_image
from daemon.sources.video import VideoSource
from tests.clock import Clock
from tests.daemon.sources.videos import frames_of, open_video, set_display_matrix
from tests.media import write_clip
from tests.shared import VIDEO, needs_shared


def test_every_frame_of_a_file_with_sound(tmp_path: Path) -> None:
    frames = frames_of(write_clip(tmp_path / "clip.mp4", frames=30, audio=True))
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
    assert len(frames_of(clip)) == 5
    assert len(frames_of(f"file://{clip}".replace("%", "%25"))) == 5


@pytest.mark.parametrize("starts_s", [(1000, 0), (0, 0), (90, 0), (95443,)], ids=str)
def test_a_transport_stream_whose_time_steps_back_goes_on_there(
    tmp_path: Path, starts_s: tuple[int, ...]
) -> None:
    """Joined of two recordings, or after 2^33 ticks (95443.7 s), when its counter runs over."""
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for start_s in starts_s:
            pts = [start_s * 1000 + 40 * index for index in range(50)]
            options = {"mpegts_copyts": "1"}
            part = write_clip(
                tmp_path / "p.ts", frames=len(pts), pts=pts, container_options=options
            )
            file.write(part.read_bytes())
    times_s = [frame.pts_s for frame in frames_of(joined)]
    pictures = 50 * len(starts_s)
    assert len(times_s) >= pictures - 2  # At a join a packet is damaged.
    assert times_s[-1] == pytest.approx((pictures - 1) / 25, abs=0.09)
    assert max(np.diff(times_s)) < 0.13


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
    frame = frames_of(write_clip(tmp_path / "c.mkv", codec=codec, pix_fmt=pix_fmt, frames=2))[0]
    assert frame.image.format.name == expected
    plain = frames_of(write_clip(tmp_path / "plain.mkv", frames=2))[0]
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
    assert DetectorScaler(80)(ready).shape == (60, 80, 3)


@pytest.mark.parametrize("pix_fmt", ["rgb24", "gbrp", "pal8", "gray", "ya8"])
def test_what_was_no_yuv_says_how_it_became_it(pix_fmt: str) -> None:
    ready = to_frame_image(av.VideoFrame(1280, 720, pix_fmt))
    assert ready.colorspace == BT601


@pytest.mark.parametrize(("range_", "luma"), [(0, 188), (1, 200), (2, 200)])
@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
def test_grey_of_limited_range_keeps_its_levels(pix_fmt: str, range_: int, luma: int) -> None:
    """Thermal cameras send it, tagged so. What has no tag is a photo's, of full range."""
    grey = av.VideoFrame.from_ndarray(np.full((120, 160), 200, np.uint8), "gray")
    image = grey.reformat(format=pix_fmt)
    image.color_range = range_
    ready = to_frame_image(image)
    assert np.abs(plane(ready, 0).astype(int) - luma).max() <= 1
    assert is_full_range(ready) == (range_ == 2)


@pytest.mark.parametrize(("width", "height"), [(161, 121), (17, 120), (160, 119)])
def test_odd_sizes_lose_their_last_row_or_column(tmp_path: Path, width: int, height: int) -> None:
    clip = write_clip(
        tmp_path / "odd.mkv", width=width, height=height, codec="ffv1", pix_fmt="yuv420p"
    )
    images = [frame.image for frame in frames_of(clip)]
    assert {(i.width, i.height) for i in images} == {(width & ~1, height & ~1)}
    assert plane(images[0], 1).shape == ((height & ~1) // 2, (width & ~1) // 2)
    luma = plane(images[0], 0)
    assert luma[-1, -1] > luma[0, 0] + 100


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("4/3", (214, 120)), ("1/2", (160, 240)), ("100/101", (160, 120)), ("50/1", (160, 120))],
)
def test_pixels_that_are_not_square_become_so(
    tmp_path: Path, ratio: str, size: tuple[int, int]
) -> None:
    """HDV, DV and DVDs have fewer columns than they show; so have some recorders of cameras."""
    options = {"x264-params": f"sar={ratio}"}
    plain = frames_of(write_clip(tmp_path / "square.mp4", frames=3))[0].image
    image = frames_of(write_clip(tmp_path / "narrow.mp4", frames=3, options=options))[0].image
    assert (image.width, image.height) == size
    wanted = plane(plain.reformat(width=size[0], height=size[1]), 0)
    assert np.abs(plane(image, 0).astype(int) - wanted).max() <= 4
    clip = write_clip(tmp_path / "lying.mp4", frames=3, options=options)
    set_display_matrix(clip, (0, 1, -1, 0))
    lying = frames_of(clip)[0].image
    assert (lying.height, lying.width) == size


@pytest.mark.parametrize("live", [False, True])
def test_the_shape_of_pixels_may_change_with_the_pictures(tmp_path: Path, live: bool) -> None:
    """A recorder that goes from half the columns to all of them, in a stream that goes on."""
    parts = []
    for width, ratio in ((128, "2/1"), (256, "1/1")):
        part = tmp_path / f"{width}.h264"
        options = {"x264-params": f"sar={ratio}"}
        write_clip(part, width=width, height=96, frames=10, options=options)
        parts.append(part.read_bytes())
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(parts))
    images = [frame.image for frame in open_video(joined, live=live).frames()]
    assert [(image.width, image.height) for image in images] == [(256, 96)] * 20


def test_a_photo_s_density_is_that_of_its_print(tmp_path: Path) -> None:
    Image.new("L", (160, 120)).save(tmp_path / "scan.jpg", dpi=(300, 600))
    image = frames_of(tmp_path / "scan.jpg")[0].image
    assert (image.width, image.height) == (160, 120)


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "vfr.mp4", frames=5, pts=[100, 140, 500, 520, 3000])
    assert [f.pts_s for f in frames_of(clip)] == pytest.approx([0.0, 0.04, 0.4, 0.42, 2.9])


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_in_an_avi_are_evenly_spaced(tmp_path: Path, codec: str) -> None:
    """An AVI has no times of presentation."""
    clip = write_clip(tmp_path / "b.avi", frames=40, codec=codec, options={"bf": "2"})
    frames = frames_of(clip)
    assert [f.pts_s for f in frames] == pytest.approx([i / 25 for i in range(40)])
    blue = [int(plane(f.image, 1)[0, 0]) for f in frames]
    assert blue[:20] == sorted(blue[:20])  # in the order of the pictures


def _times_open(clip: Path) -> int:
    return sum(file.resolve() == clip for file in Path("/proc/self/fd").iterdir())


def test_a_looped_file_goes_on_in_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "loop.mp4", frames=5)
    source = open_video(clip, loop=True)
    pts_s = []
    for frame in source.frames():
        pts_s.append(frame.pts_s)
        assert _times_open(clip) == 1
        if frame.seq == 12:
            source.close()
    assert _times_open(clip) == 0
    assert pts_s == pytest.approx([i / 25 for i in range(13)])


def test_a_file_is_opened_as_its_stream_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decoder, "works", lambda device: True)
    clip = write_clip(tmp_path / "clip.mkv", codec="ffv1", frames=3)
    stream = StreamSettings(name="s", url=SecretStr(str(clip)), loop=True, decoder="cuda")
    told: list[float] = []
    callbacks = SourceCallbacks(on_decoded=told.append)
    with closing(open_source(stream, stop=threading.Event(), callbacks=callbacks)) as source:
        assert [frame.seq for frame in islice(source.frames(), 5)] == [0, 1, 2, 3, 4]
    assert len(told) >= 5
    assert "cuda does not decode ffv1" in caplog.text


def test_a_file_read_as_live_keeps_its_own_pace(tmp_path: Path) -> None:
    clip, clock = write_clip(tmp_path / "paced.mp4", frames=8), Clock()
    source = open_video(clip, live=True, monotonic=clock)
    source._stop.wait = clock.wait  # type: ignore[assignment, method-assign]
    assert len(list(source.frames())) == 8
    assert sum(clock.waits_s) == pytest.approx(7 / 25)


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


@pytest.mark.parametrize("audio", [False, True], ids=["video", "and then sound"])
@pytest.mark.parametrize("name", ["joined.ts", "joined.m3u8"])
def test_video_that_moves_to_another_pid_is_read_on(tmp_path: Path, name: str, audio: bool) -> None:
    """Two recordings in one: the first is longer than what libav looks at to find the tracks."""
    for number, pid in enumerate(("0x100", "0x200")):
        options = {"mpegts_start_pid": pid}
        part = tmp_path / f"{number}.ts"
        write_clip(part, frames=200, audio=audio and number == 1, container_options=options)
    parts = [tmp_path / "0.ts", tmp_path / "1.ts"]
    joined = tmp_path / name
    if name.endswith("ts"):
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    else:
        listed = "#EXT-X-DISCONTINUITY\n".join(f"#EXTINF:8,\n{part.name}\n" for part in parts)
        joined.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:8\n{listed}#EXT-X-ENDLIST\n")
    source = open_video(joined)
    frames = list(source.frames())
    assert (len(frames), source.damaged) == (400, 0)
    assert frames[-1].pts_s == pytest.approx(399 / 25, abs=0.1)


def test_stop_and_close_end_a_source(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=20)
    stop = threading.Event()
    source = VideoSource("s", str(clip), live=False, stop=stop)
    reader = source.frames()
    next(reader)
    stop.set()
    assert list(reader) == []
    source.close()

    source = open_video(clip)
    reader = source.frames()
    next(reader)
    closer = threading.Thread(target=source.close, name="closer")
    closer.start()
    closer.join(60.0)
    assert list(reader) == []
    source.close()


def test_the_decode_time_of_every_frame_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the clock takes a second; the last packet completes several, which share it."""
    told: list[float] = []
    clip = write_clip(tmp_path / "clip.mp4", frames=10, options={"bf": "3"})
    ticks = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    source = VideoSource(
        "s",
        str(clip),
        live=False,
        stop=threading.Event(),
        callbacks=SourceCallbacks(on_decoded=told.append),
    )
    assert len(list(source.frames())) == len(told) == 10
    assert max(told) == 1.0
    assert 0.0 < min(told) < 1.0


@needs_shared
@pytest.mark.parametrize("name", ["bbaf2n.mpg", "woman_head_pose.mp4"])
def test_clips_from_the_world(name: str) -> None:
    source = open_video(VIDEO / name)
    frames = []
    for frame in source.frames():
        frames.append(frame)
        if len(frames) == 50:
            source.close()
    assert len(frames) >= 48
    steps_s = np.diff([frame.pts_s for frame in frames])
    assert steps_s == pytest.approx(np.full(len(steps_s), 0.04), abs=0.002)
    assert source.damaged == 0
