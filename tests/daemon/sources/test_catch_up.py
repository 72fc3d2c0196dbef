"""Pictures that are decoded too slowly: what is left out, and that the rest is whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from daemon.sources.base import SourceCallbacks
from daemon.sources.catch_up import LATE_S, MOST_LOOKED_AT, READY_S, Arrivals, newest
from tests.clock import Clock
from tests.daemon.sources.videos import WAIT_S, open_video
from tests.media import write_clip
from tests.rtsp import RtspServer, needs_gstreamer


def given_on(
    clip: Path,
    *,
    behind_s: float = LATE_S + 1.0,
    waits: tuple[int, ...] = (),
    corrupt: tuple[int, ...] = (),
) -> tuple[list[int], list[int]]:
    """The numbers of the pictures that are given on, and how many were left out at a time. All
    packets lie ready but those of `waits`; those of `corrupt` are damaged."""
    clock = Clock()
    left: list[int] = []
    read = 0

    def coming(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        nonlocal read
        for packet in packets:
            if read in waits:
                clock.wait(2 * READY_S)
            packet.is_corrupt = read in corrupt
            read += 1
            yield packet

    numbers = []
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        packets = newest(
            Arrivals(coming(container.demux()), clock),
            video.index,
            behind_s=lambda: behind_s,
            leave_out=left.append,
        )
        for packet in packets:
            # Without a time it is the end.
            if packet.stream is video and packet.pts is not None and packet.time_base is not None:
                numbers.append(round(float(packet.pts * packet.time_base) * 25))
                assert read - numbers[-1] <= MOST_LOOKED_AT
    return numbers, left


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a keyframe every 12 pictures, of which there are 50."""
    return write_clip(tmp_path_factory.mktemp("late") / "clip.mp4", frames=50)


def test_what_is_not_late_is_given_on(clip: Path) -> None:
    assert given_on(clip, behind_s=LATE_S) == (list(range(50)), [])


def test_of_what_lies_ready_and_is_late_the_newest_keyframe_is_first(clip: Path) -> None:
    """The queue is empty after the 40th picture, and what came meanwhile has no keyframe."""
    numbers, left = given_on(clip, waits=(40, 47))
    assert numbers == list(range(36, 50))
    assert left == [12, 12, 12]


def test_a_damaged_keyframe_is_nothing_to_begin_with(clip: Path) -> None:
    assert given_on(clip, corrupt=(48,)) == (list(range(36, 50)), [12, 12, 12])


def test_sound_is_no_keyframe_and_no_picture(tmp_path: Path) -> None:
    loud = write_clip(tmp_path / "loud.mp4", frames=50, audio=True)
    assert given_on(loud) == ([48, 49], [12, 12, 12, 12])


def test_a_camera_without_a_keyframe_in_what_lies_ready_loses_nothing(tmp_path: Path) -> None:
    many = MOST_LOOKED_AT + 50
    rare = write_clip(
        tmp_path / "rare.mp4", frames=many, width=32, height=32, paint=None, options={"g": "9999"}
    )
    assert given_on(rare, waits=(30,)) == (list(range(many)), [])


def test_what_came_after_a_wait_is_not_behind(clip: Path) -> None:
    """A camera that sends in bursts of 12 pictures, which are decoded within 0.12 s: what a delay
    by its timestamps says of them is that of the camera. Then decoding takes 0.3 s a picture."""
    clock = Clock()

    def bursts(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        for number, packet in enumerate(packets):
            if number % 12 == 0 and number <= 24:
                clock.wait(4.0)
            yield packet

    behind_s = []
    with av.open(str(clip)) as container:
        arrivals = Arrivals(bursts(container.demux(container.streams.video[0])), clock)
        for number, _ in enumerate(arrivals):
            clock.wait(0.01 if number < 36 else 0.3)
            behind_s.append(arrivals.behind_s(4.0))
    assert max(behind_s[:36]) < 0.2
    assert behind_s[-1] == pytest.approx(4.0)


def test_pictures_that_lean_on_what_was_left_out_are_not_shown(tmp_path: Path) -> None:
    """Of a camera with B-frames around its keyframes; the rest is whole and in order."""
    open_gop = "open-gop=1:keyint=12:min-keyint=12:scenecut=0:b-adapt=0:ref=1"
    options = {"preset": "veryfast", "bf": "3", "x264-params": open_gop}
    clip = write_clip(tmp_path / "open.mkv", frames=60, options=options)
    left: list[int] = []
    clock = Clock()
    callbacks = SourceCallbacks(on_superseded=left.append)
    source = open_video(clip, live=True, callbacks=callbacks, monotonic=clock)
    source._stop.wait = clock.wait  # type: ignore[assignment, method-assign]
    frames = source.frames()
    assert [next(frames).seq for _ in range(3)] == [0, 1, 2]
    source._behind_s = LATE_S + 1.0
    numbers = [round(frame.pts_s * 25) for frame in frames]
    assert sum(left) > 12
    assert numbers == list(range(numbers[0], 60))
    assert source.damaged == 0


@needs_gstreamer
@pytest.mark.usefixtures("patient")
def test_a_camera_that_is_read_too_slowly_is_shown_as_it_is_after_a_while() -> None:
    """1. Pictures queue in the socket and get behind. 2. Some are left out, and what follows them
    is less behind and whole. 3. Read quickly, the stream is hardly behind."""
    behind_s: list[float] = []
    left: list[int] = []
    damaged: list[int] = []
    callbacks = SourceCallbacks(
        on_behind=behind_s.append,
        on_superseded=left.append,
        on_damaged=lambda: damaged.append(1),
    )
    end_s = time.monotonic() + WAIT_S
    with RtspServer() as server:
        source = open_video(server.url(), live=True, stall_timeout_s=WAIT_S, callbacks=callbacks)
        frames = source.frames()
        busy = threading.Event()
        while not left:
            assert time.monotonic() < end_s, f"never late enough: {behind_s}"
            next(frames)
            busy.wait(0.1)  # What a slow processor takes for a picture, of which 25 a second come.
        assert behind_s[-2] > LATE_S
        assert behind_s[-1] < behind_s[-2]
        while behind_s[-1] > 0.5:
            assert time.monotonic() < end_s, f"still late: {behind_s[-10:]}"
            next(frames)
        source.close()
        list(frames)
    assert sum(left) > 10
    assert not damaged
