"""VideoSource as tests of it use it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.errors import SourceError
from daemon.frame import Frame
from daemon.sources.video import VideoSource


def open_video(url: Path | str, *, live: bool = False, loop: bool = False) -> VideoSource:
    return VideoSource("s", str(url), live=live, loop=loop, stop=threading.Event())


def frames_of(url: Path | str) -> list[Frame]:
    return list(open_video(url).frames())


def fault_of(url: Path | str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        frames_of(url)
    return caught.value
