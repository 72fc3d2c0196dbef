"""What every source gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from daemon.frame import Frame


class Source(Protocol):
    """An open source, read by one thread.

    `live` decides between the two policies: newest wins, or every frame is kept.
    """

    live: bool

    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends. Raises SourceError; never holds for longer than
        the stream's stall time-out without yielding or raising."""
        ...

    def close(self) -> None:
        """Free what the source holds; safe to call twice, and from another thread."""
        ...
