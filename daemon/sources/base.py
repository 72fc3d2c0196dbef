"""What every source gives."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from daemon.frame import Frame

DAMAGED_IN_A_ROW = 50  # So many make a source fail.
# For libav's decoder of JPEG, which else makes up what is missing and marks nothing.
WHOLE_JPEG = {"err_detect": "explode"}


@dataclass(frozen=True, slots=True)
class SourceCallbacks:
    """Where a source tells what frames do not: seconds spent decoding each frame, packets that
    were damaged and dropped, how many pictures newer ones superseded before they were decoded, and
    how many seconds a live picture is behind. Called from the thread that reads the source."""

    on_decoded: Callable[[float], None] = lambda seconds: None
    on_damaged: Callable[[], None] = lambda: None
    on_superseded: Callable[[int], None] = lambda pictures: None
    on_behind: Callable[[float], None] = lambda seconds: None


NO_CALLBACKS = SourceCallbacks()


class Source(ABC):
    """An open source, which one thread reads and any thread closes. What it holds must not be freed
    under the thread that reads it: that one frees it itself. `cut` is what to say of a file that
    ended too early. `codec`, `fps`, the `container` and where its sound begins are what the source
    says of itself, and from its first frame on the time of that; None where it says nothing. Times
    are by its own clock, media time 0 is `first_picture_s`."""

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
        """Yield frames until the end, `stop` or `close`. Raises SourceError; never holds for longer
        than the stream's stall time-out without yielding or raising."""
        with self._reading:
            try:
                yield from self._frames()
            finally:
                self._free()

    def close(self) -> None:
        """End `frames`, at the latest after its read time-out; free everything if none runs. Safe
        to call twice."""
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
