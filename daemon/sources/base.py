"""The interface of every source, and what sources report besides frames."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from daemon.frame import Frame

DAMAGED_IN_A_ROW = 50  # A source fails after so many damaged packets or pictures.
# Without this, libav's JPEG decoder makes up missing parts and does not mark the picture corrupt.
WHOLE_JPEG = {"err_detect": "explode"}


@dataclass(frozen=True, slots=True)
class SourceCallbacks:
    """What a source reports besides its frames: the seconds spent decoding each frame, each damaged
    packet that was dropped, the number of pictures skipped undecoded in favour of newer ones, and
    the seconds that a live picture is behind. Called on the thread that reads the source."""

    on_decoded: Callable[[float], None] = lambda seconds: None
    on_damaged: Callable[[], None] = lambda: None
    on_superseded: Callable[[int], None] = lambda pictures: None
    on_behind: Callable[[float], None] = lambda seconds: None


NO_CALLBACKS = SourceCallbacks()


class Source(ABC):
    """An open source, which one thread reads and any thread may close. Its resources must not be
    freed while a thread reads it: that thread then frees them itself. `cut` is a message about a
    file that ended too early. `container`, `codec`, `fps` and `audio_start_s`, the time at which
    the sound begins, are as the source declares them; `first_picture_s` is known from the first
    frame on. Each is None where unknown. Both times are on the source's own clock, on which
    `first_picture_s` is media time 0."""

    cut: str | None = None
    container: str | None = None
    codec: str | None = None
    fps: float | None = None
    first_picture_s: float | None = None
    audio_start_s: float | None = None

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._closed = threading.Event()
        self._reading = threading.Lock()

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the end, `stop` or `close`. Raises SourceError; never blocks longer
        than the stream's stall time-out without yielding or raising."""
        with self._reading:
            try:
                yield from self._frames()
            finally:
                self._free()

    def close(self) -> None:
        """End `frames`, at the latest after its read time-out; if it is not running, free all
        resources. Safe to call twice."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            try:
                self._free()
            finally:
                self._reading.release()

    def _ending(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    @abstractmethod
    def _frames(self) -> Iterator[Frame]:
        """Yield frames until `_ending`, or the end."""

    @abstractmethod
    def _free(self) -> None:
        """Free what the source holds; safe to call twice."""
