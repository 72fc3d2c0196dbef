"""The process that talks to a server for a push sink: packets come over standard input.

A process of its own, because PyAV 18 holds the interpreter lock while it connects and disconnects,
and its writes have no time-out: inside the daemon, one silent server would stop every stream.
Here only this sink waits, and a timer (SIGALRM) ends the process.

Standard input: a message of JSON (`PublishTask`), then one for each packet. A message is its length
(`LENGTH`) and that many bytes; a packet's begin with `PACKET`. Standard output: a line of JSON,
`{}` once the server has accepted the first packet, or else the error; one more line if something
fails after that. No URL is ever written there. The end of the input is the end of the publication.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from fractions import Fraction
from typing import BinaryIO, TypedDict

LENGTH = struct.Struct("<I")
PACKET = struct.Struct("<qq?")  # pts and dts in TIME_BASE, and whether it is a keyframe
TIME_BASE = Fraction(1, 90000)
START_S = 60.0
GOODBYE_S = 2.0


class PublishTask(TypedDict):
    """What to publish to, and how."""

    url: str
    format: str
    options: dict[str, str]
    width: int
    height: int
    timeout_s: float


def publish(source: BinaryIO) -> None:
    """Publish what comes from `source` until it ends. Raises av.FFmpegError or ValueError."""
    import av

    first = read_message(source)
    assert first is not None
    task: PublishTask = json.loads(first)
    container = av.open(task["url"], "w", format=task["format"], container_options=task["options"])
    stream = container.add_mux_stream("h264", width=task["width"], height=task["height"])
    stream.time_base = TIME_BASE
    told = False
    _ring_in(0.0)
    while (data := read_message(source)) is not None:
        pts, dts, key = PACKET.unpack_from(data)
        packet = av.Packet(data[PACKET.size :])
        packet.pts, packet.dts, packet.time_base = pts, dts, TIME_BASE
        packet.is_keyframe = key
        packet.stream = stream
        _ring_in(task["timeout_s"])
        container.mux(packet)
        _ring_in(0.0)
        if not told:
            _tell({})
            told = True
    _ring_in(GOODBYE_S)
    container.close()


def read_message(source: BinaryIO) -> bytes | None:
    """The next message; None at the end."""
    head = source.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (size,) = LENGTH.unpack(head)
    data = source.read(size)
    return data if len(data) == size else None


def main() -> None:
    # Ctrl-C and systemd's stop reach all processes; the daemon ends this one by ending its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _ring_in(START_S)
    import av  # only now, under the timer: it takes a while

    try:
        publish(sys.stdin.buffer)
    except (av.FFmpegError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        _tell({"error": type(error).__name__, "why": why})
        sys.exit(1)


def _ring_in(seconds: float) -> None:
    """End this process in so many seconds, whatever it is doing; 0 for never."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _tell(what: dict[str, str]) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
