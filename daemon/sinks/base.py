"""The interface of every sink, and what sinks are given. A writer thread (writer.py) owns each."""

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
    since the frame before. Shared by all sinks: read only.

    The picture's own pts and time base mean nothing here: sinks use `frame.pts_s`, and make a
    reference of their own (encode/reference.py) before they set any of its attributes.

    `slate`: there is no new picture; a drawn one says that the source is away, so that viewers
    stay connected. `faces` are those now in view; None while the source is away. `looked`: they
    were detected in this very frame; else their boxes are predicted from an earlier one."""

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
    before. Decoding can begin at a keyframe. Packets of one `encoder` continue one another; sinks
    may only read its `name`, `template` and `header`. `captured_s` and `slate` are the Output's.
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
    """One place to write to, called from one thread.

    `takes` says what the sink writes, and so what its losses are: encoded packets, pictures,
    readings, or news. A sink of news takes readings and the stream's state: it is given outputs of
    a source that never gave a picture, too, but none from the time when it was down itself."""

    takes: Takes

    @property
    def wanted(self) -> bool:
        """Whether anybody would see what is written; nothing is encoded while this is False for
        all sinks that share an encoder. May be called from any thread."""
        ...

    def write(self, item: Taken, /) -> bool:
        """Write one Output or Packet, opening whatever is needed.

        Returns False if there was nothing to write (no reading, nobody watching). Raises SinkError;
        the next call then starts afresh, packets with a keyframe.
        """
        ...

    def close(self) -> None:
        """Finish what was written, so that it can be used; safe to call twice. Raises SinkError
        if that fails; the sink is closed all the same."""
        ...


class Outlet(Protocol):
    """Where a stream puts each output: a sink's writer, or an encoder that several sinks share."""

    @property
    def takes(self) -> Takes: ...

    def put(self, output: Output, /) -> None: ...


def encode_error(where: str, error: av.FFmpegError) -> SinkError:
    """The SinkError for pictures that libav fails to encode or to mux; `where` names the sink."""
    return SinkError(Reason.ENCODE_ERROR, f"{where}: it cannot be encoded ({plain(error)})")


@contextmanager
def encoding(where: str) -> Iterator[None]:
    """Turns libav's errors into `encode_error`."""
    try:
        yield
    except av.FFmpegError as error:
        raise encode_error(where, error) from error
