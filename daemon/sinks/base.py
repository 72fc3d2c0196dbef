"""What every sink takes. A writer thread (writer.py) owns each sink and calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from daemon.frame import Frame
from daemon.reading import FaceView, Reading

Takes = Literal["pictures", "readings"]


@dataclass(frozen=True, slots=True)
class Output:
    """What a stream hands to its sinks for each frame: the drawn picture, the readings that
    arrived since the frame before, and the faces as drawn. Shared by all sinks: read only.

    The picture's own pts and time base mean nothing here: sinks go by `frame.pts_s`, and take
    a reference of their own (reference.py) before they set anything on it.

    `slate`: the picture is none of the source's. It says that the source is away, that readers
    may stay; to a sink that takes readings it is blank."""

    frame: Frame
    readings: Sequence[Reading]
    faces: Sequence[FaceView]
    slate: bool = False


class Sink(Protocol):
    """One place to write to, called from one thread. `kind` is its name in the configuration;
    `takes` says what a loss would be a loss of."""

    kind: str
    takes: Takes

    def write(self, output: Output) -> bool:
        """Write one frame's output, opening whatever is needed.

        Returns False if nothing of it was due (no reading, nobody watching). Raises SinkError;
        a later call then starts anew.
        """
        ...

    def close(self) -> None:
        """Finish what was written, so that it can be used; safe to call twice. Raises SinkError
        if that fails, and is closed all the same."""
        ...
