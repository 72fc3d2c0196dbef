"""What every sink takes. A writer thread (writer.py) owns each sink and calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.frame import Frame
from daemon.reading import FaceView, Reading


@dataclass(frozen=True, slots=True)
class Output:
    """What a stream hands to its sinks for each frame: the drawn picture, the readings that
    arrived since the frame before, and the faces as drawn. Shared by all sinks: read only."""

    frame: Frame
    readings: Sequence[Reading]
    faces: Sequence[FaceView]


class Sink(Protocol):
    """One place to write to, called from one thread. `kind` is its name in the configuration."""

    kind: str

    def write(self, output: Output) -> None:
        """Write one frame's output, opening whatever is needed. Raises SinkError."""
        ...

    def close(self) -> None:
        """Finish what was written, so that it can be used; safe to call twice."""
        ...
