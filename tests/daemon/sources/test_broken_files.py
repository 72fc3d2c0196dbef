"""Files that are no video, too large, cut off or damaged: what is read of them and what is said."""

from __future__ import annotations

import random
import struct
import threading
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from daemon.errors import Reason
from daemon.sources.base import SourceCallbacks
from daemon.sources.video import VideoSource
from tests.daemon.sources.videos import fault_of, frames_of, open_video
from tests.media import write_clip


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
        fault = fault_of(tmp_path / name)
        assert fault.reason is reason, name
        assert words in str(fault)
        assert str(tmp_path / name) in str(fault)


def test_a_photo_in_tiles_is_not_taken_for_one_of_them(tmp_path: Path) -> None:
    """A phone's HEIC, with a thumbnail behind the tiles."""
    path = tmp_path / "me.heic"
    path.write_bytes(_heic())
    with av.open(path) as container:
        assert len(container.streams.video) == 3
    fault = fault_of(path)
    assert fault.reason is Reason.UNSUPPORTED
    assert str(fault) == (
        f"{path}: is a picture in tiles (HEIC, AVIF); accepted is a JPEG made of it"
    )


def _heic() -> bytes:
    """Two tiles side by side, the grid that says so, and a thumbnail (ISO/IEC 23008-12)."""
    tile = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes()
    grid = struct.pack(">4B2H", 0, 0, 0, 1, 128, 64)
    items = [(b"jpeg", tile), (b"jpeg", tile), (b"grid", grid), (b"jpeg", tile)]

    def box(kind: bytes, *parts: bytes) -> bytes:
        body = b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    def head(at: int) -> bytes:
        """All before the data, which begins at byte `at`."""
        places, infos = [], []
        for number, (kind, data) in enumerate(items, 1):
            places.append(struct.pack(">3H2I", number, 0, 1, at, len(data)))
            infos.append(box(b"infe", struct.pack(">I2H", 2 << 24, number, 0), kind, b"\0"))
            at += len(data)
        size = box(b"ispe", struct.pack(">3I", 0, 64, 64))
        sized = b"".join(struct.pack(">H2B", number, 1, 1) for number in (1, 2, 4))
        return box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"iloc", struct.pack(">I2BH", 0, 0x44, 0, len(items)), *places),
            box(b"iinf", struct.pack(">IH", 0, len(items)), *infos),
            box(b"iprp", box(b"ipco", size), box(b"ipma", struct.pack(">2I", 0, 3), sized)),
            box(
                b"iref",
                bytes(4),
                box(b"dimg", struct.pack(">4H", 3, 2, 1, 2)),
                box(b"thmb", struct.pack(">3H", 4, 1, 3)),
            ),
        )

    data = box(b"mdat", *(data for _, data in items))
    return head(len(head(0)) + 8) + data


def test_a_webcam_by_a_name_of_one_s_own_is_told_how_to_be_named(tmp_path: Path) -> None:
    """Such as a rule of udev gives it: only /dev/videoN and /dev/v4l/ are known for webcams."""
    (tmp_path / "doorcam").symlink_to("/dev/null")
    fault = fault_of(tmp_path / "doorcam")
    assert fault.reason is Reason.UNSUPPORTED
    assert str(fault).endswith(
        f"doorcam: is a device; accepted for a webcam is v4l2://{tmp_path}/doorcam"
    )


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

    fault = fault_of(clip(1, 1, "ffv1", "yuv444p"))
    assert fault.reason is Reason.UNSUPPORTED
    assert "1x1; accepted are pictures of 16 to 8192 px" in str(fault)
    assert fault_of(clip(8210, 16, "mjpeg", "yuvj420p")).reason is Reason.UNSUPPORTED
    huge = clip(8000, 8000, "libx264", "yuv420p")
    assert [(f.image.width, f.image.height) for f in frames_of(huge)] == [(8000, 8000)]


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_cut_file_gives_what_is_left_and_says_so(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"movflags": "faststart"} if name.endswith("mp4") else None
    clip = write_clip(tmp_path / name, frames=100, container_options=options)
    whole = open_video(clip)
    assert len(list(whole.frames())) == 100
    assert whole.cut is None
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    source = open_video(clip)
    frames = list(source.frames())
    assert 30 <= len(frames) <= 60
    assert source.cut is not None
    assert "of 4.0 s" in source.cut
    assert source.cut in caplog.text


@pytest.mark.parametrize("kind", ["mp4", "mkv", "flv", "avi"])
def test_a_file_is_not_cut_because_it_begins_late(tmp_path: Path, kind: str) -> None:
    """As the parts do that `ffmpeg -f segment` makes of one."""
    pts = [7000 + 100 * number for number in range(30)]
    late = write_clip(tmp_path / f"late.{kind}", frames=30, pts=pts)
    source = open_video(late)
    frames = source.frames()
    next(frames)
    first_s = source.first_picture_s
    assert len(list(frames)) == 29
    assert source.first_picture_s == first_s
    assert source.cut is None
    if kind == "mkv":
        late.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
        source = open_video(late)
        assert 10 < len(list(source.frames())) < 20
        assert source.cut is not None


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_a_file_is_not_cut_because_a_video_that_is_not_read_is_longer(
    tmp_path: Path, kind: str
) -> None:
    """Two cameras in one file, of 1 s and of 3 s."""
    both = tmp_path / f"both.{kind}"
    with av.open(both, "w") as container:
        short, long = (container.add_stream("libx264", rate=25) for _ in range(2))
        for video in (short, long):
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        for index in range(75):
            for video in (short, long):
                if index < 25 or video is long:
                    image = av.VideoFrame(160, 120, "yuv420p")
                    image.pts, image.time_base = index, Fraction(1, 25)
                    container.mux(video.encode(image))
        for video in (short, long):
            container.mux(video.encode(None))
    source = open_video(both)
    assert len(list(source.frames())) == 25
    assert source.cut is None


def test_a_file_without_its_index_cannot_be_opened(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=50)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    fault = fault_of(clip)
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
        callbacks=SourceCallbacks(on_damaged=lambda: told.append(1)),
    )
    frames = list(source.frames())
    assert 45 < len(frames) < 100
    assert source.damaged == len(told) > 0
    assert all(late.pts_s > early.pts_s for early, late in pairwise(frames))


def _blank(clip: Path, sound_each: int | None = None, left: float = 0.0) -> None:
    """Leave only every so-manieth picture of an AVI with Motion JPEG as it is, and of the others a
    part."""
    data = bytearray(clip.read_bytes())
    chunk = data.index(b"00dc", data.index(b"movi"))
    number = 1
    while data[chunk : chunk + 4] == b"00dc":
        size = int.from_bytes(data[chunk + 4 : chunk + 8], "little")
        if sound_each is None or number % sound_each:
            kept = round(size * left)
            data[chunk + 8 + kept : chunk + 8 + size] = bytes(size - kept)
        chunk += 8 + size + size % 2
        number += 1
    clip.write_bytes(data)


@pytest.mark.parametrize("sound_each", [None, 10])
def test_fifty_damaged_packets_with_hardly_a_sound_one_are_a_fault(
    tmp_path: Path, sound_each: int | None
) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=200, codec="mjpeg", pix_fmt="yuvj420p")
    _blank(clip, sound_each)
    fault = fault_of(clip)
    assert fault.reason is Reason.DECODE_ERROR
    assert "50 packets were damaged and hardly one was not" in str(fault)


@pytest.mark.parametrize("left", [0.0, 0.5])
def test_one_sound_packet_of_five_is_enough_to_go_on(tmp_path: Path, left: float) -> None:
    clip = write_clip(tmp_path / "clip.avi", frames=200, codec="mjpeg", pix_fmt="yuvj420p")
    _blank(clip, sound_each=5, left=left)
    source = VideoSource("s", str(clip), live=False, stop=threading.Event())
    assert len(list(source.frames())) == 40
    assert source.damaged == 160
