"""Which packets of a live source are still worth decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av

# More than a network that hiccups makes, less than viewers would take for now.
LATE_S = 2.0
# One that takes longer was waited for: nothing older lies in a socket.
READY_S = 0.01
# With sound those of more than ten seconds, the longest usual distance of keyframes.
MOST_LOOKED_AT = 1000


def newest(
    packets: Iterator[av.Packet],
    video_index: int,
    *,
    behind_s: Callable[[], float],
    leave_out: Callable[[int], None],
    monotonic: Callable[[], float],
) -> Iterator[av.Packet]:
    """Give `packets` on, in their order. While pictures are more than `LATE_S` behind, all that lie
    ready are looked through first, or `MOST_LOOKED_AT` if they are more. If a keyframe is among
    them, those before the newest one are left out, and `leave_out` is told how many pictures that
    were; if none is, all are given on, so that a camera whose keyframes are rare goes on showing.
    """
    held: list[av.Packet] = []
    late, looked_at = False, 0
    asked_s = monotonic()
    for packet in packets:
        lay_ready = monotonic() - asked_s < READY_S
        if not held:
            late, looked_at = behind_s() > LATE_S, 0
        elif packet.stream.index == video_index and packet.is_keyframe and not packet.is_corrupt:
            if pictures := sum(one.stream.index == video_index for one in held):
                leave_out(pictures)
            held.clear()
        held.append(packet)
        looked_at += 1
        if not (late and lay_ready and looked_at < MOST_LOOKED_AT):
            yield from held
            held.clear()
        asked_s = monotonic()
    yield from held
