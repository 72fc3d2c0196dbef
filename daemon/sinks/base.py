"""What every sink takes. A writer thread (writer.py) owns each sink and calls it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import av

from daemon.errors import Reason, SinkError, plain
from daemon.frame import Frame
from daemon.reading import FaceView, Reading
from daemon.sinks.encode.encoder import Encoder

Takes = Literal["pictures", "readings", "news", "packets"]


@dataclass(frozen=True, slots=True)
class Output:
    """What a stream hands out for each frame: the drawn picture, and the readings that arrived
    since the frame before. Shared by all that take it: read only.

    The picture's own pts and time base mean nothing here: sinks go by `frame.pts_s`, and take
    a reference of their own (encode/reference.py) before they set anything on it.

    `slate`: there is no new picture; one that is drawn says that the source is away, that readers
    may stay. `faces` are those in view by now; None while the source is away. `looked`: they were
    looked for in this very frame, else they are carried along."""

    frame: Frame
    readings: Sequence[Reading]
    slate: bool = False
    faces: Sequence[FaceView] | None = None
    looked: bool = False

    @property
    def captured_s(self) -> float:
        return self.frame.captured_s


@dataclass(frozen=True, slots=True)
class Packet:
    """One picture as H.264, shared by all sinks whose settings agree: read only.

    `pts`, `dts` and `duration` are in TIME_BASE; the duration is the distance from the picture
    before. Decoding can begin at a keyframe. Packets of one `encoder` continue one another; of it
    sinks may look at `name`, `template` and `header`. `captured_s` and `slate` are the Output's.
    """

    encoder: Encoder
    data: bytes
    pts: int
    dts: int
    duration: int
    is_keyframe: bool
    captured_s: float
    slate: bool


Item = TypeVar("Item", Output, Packet)
Taken = TypeVar("Taken", contravariant=True)


class Sink(Protocol[Taken]):
    """One place to write to, called from one thread. `takes` says what a loss would be a loss of:
    packets come encoded, pictures do not. News are readings, and how things are: who takes them
    hears of a source that never gave a picture, too, and nothing of when it was down itself."""

    takes: Takes

    @property
    def wanted(self) -> bool:
        """Whether anybody would see what is written; for sinks that all say no, nothing is
        encoded. From any thread."""
        ...

    def write(self, item: Taken, /) -> bool:
        """Write one Output or Packet, opening whatever is needed.

        Returns False if nothing of it was due (no reading, nobody watching). Raises SinkError;
        a later call then starts anew, and the first packet of that is a keyframe.
        """
        ...

    def close(self) -> None:
        """Finish what was written, so that it can be used; safe to call twice. Raises SinkError
        if that fails, and is closed all the same."""
        ...


class Outlet(Protocol):
    """Where a stream puts each output: the writer of a sink, or what encodes for several."""

    @property
    def takes(self) -> Takes: ...

    def put(self, output: Output, /) -> None: ...


def encode_error(where: str, error: av.FFmpegError) -> SinkError:
    """The SinkError of pictures that libav does not encode, or put into a file, for `where`."""
    return SinkError(Reason.ENCODE_ERROR, f"{where}: it cannot be encoded ({plain(error)})")


@contextmanager
def encoding(where: str) -> Iterator[None]:
    """Turns libav's errors into `encode_error`."""
    try:
        yield
    except av.FFmpegError as error:
        raise encode_error(where, error) from error
