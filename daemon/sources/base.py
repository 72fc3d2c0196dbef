"""What every source gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from daemon.frame import Frame

DAMAGED_IN_A_ROW = 50  # So many make a source fail.


def _ignore_seconds(seconds: float) -> None:
    pass


def _ignore() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Report:
    """Where a source tells what frames do not: seconds spent decoding each frame, and packets
    that were damaged and dropped. Called from the thread that reads the source."""

    decoded: Callable[[float], None] = _ignore_seconds
    damaged: Callable[[], None] = _ignore


class Source(Protocol):
    """An open source, read by one thread. One that reads files may have `cut: str | None`: what to
    say of a file that ended too early."""

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends. Raises SourceError; never holds for longer than
        the stream's stall time-out without yielding or raising."""
        ...

    def close(self) -> None:
        """Free what the source holds; safe to call twice, and from another thread."""
        ...
