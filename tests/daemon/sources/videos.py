"""VideoSource as tests of it use it."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import SourceError
from daemon.frame import Frame
from daemon.sources.network import BY_TCP, Network
from daemon.sources.video import VideoSource

WAIT_S = 60.0


def open_video(url: Path | str, *, live: bool = False, **more: Any) -> VideoSource:
    return VideoSource("s", str(url), live=live, stop=threading.Event(), **more)


def playing(
    url: str, *, stall_timeout_s: float, network: Network = BY_TCP, pictures: int = 1
) -> tuple[list[Frame], Iterator[Frame]]:
    """The first pictures of a live source, and what follows. One that takes longer to begin than
    its time-out, or that puts the reader before away meanwhile, is opened again for a while: its
    machine may be busy."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            source = open_video(url, live=True, stall_timeout_s=stall_timeout_s, network=network)
            frames = source.frames()
            return [next(frames) for _ in range(pictures)], frames
        except SourceError:
            if time.monotonic() > end_s:
                raise


def frames_of(url: Path | str, **more: Any) -> list[Frame]:
    return list(open_video(url, **more).frames())


def fault_of(url: Path | str, **more: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        frames_of(url, **more)
    return caught.value


def set_display_matrix(clip: Path, abcd: Sequence[int]) -> None:
    """Write the display matrix, of which all else is 0 and 1, into an MP4's track header."""
    a, b, c, d = (value * (1 << 16) for value in abcd)
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    struct.pack_into(">9i", data, matrix, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(data)
