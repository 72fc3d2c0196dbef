"""Which packets of a live source are still worth decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av

# More than a network that hiccups makes, less than viewers would take for now.
LATE_S = 2.0
# One that takes longer was waited for: nothing older lies in a socket.
READY_S = 0.01
# About ten seconds of packets with sound; keyframes are rarely further apart.
MOST_LOOKED_AT = 1000


class Arrivals:
    """Packets in their order, and whether the last of them lay ready or was waited for."""

    def __init__(self, packets: Iterator[av.Packet], monotonic: Callable[[], float]) -> None:
        self._packets, self._monotonic = packets, monotonic
        self._waited_s = monotonic()
        self.lay_ready = False

    def __iter__(self) -> Iterator[av.Packet]:
        asked_s = self._monotonic()
        for packet in self._packets:
            came_s = self._monotonic()
            self.lay_ready = came_s - asked_s < READY_S
            if not self.lay_ready:
                self._waited_s = came_s
            yield packet
            asked_s = self._monotonic()

    def behind_s(self, delay_s: float) -> float:
        """Of the `delay_s` by which a picture came later than at its promptest, how long it can
        have lain ready: at most since the last packet that had to be waited for. The rest is that
        of a camera which sends in bursts, pauses, or has a slow clock."""
        return min(delay_s, self._monotonic() - self._waited_s)


def newest(
    arrivals: Arrivals,
    video_index: int,
    *,
    behind_s: Callable[[], float],
    leave_out: Callable[[int], None],
) -> Iterator[av.Packet]:
    """Give packets on, in their order. While pictures are more than `LATE_S` behind, all that lie
    ready are looked through first, or `MOST_LOOKED_AT` if they are more. If a keyframe is among
    them, those before the newest one are left out, and `leave_out` is told how many pictures that
    were; if none is, all are given on, so that a camera whose keyframes are rare goes on showing.
    """
    held: list[av.Packet] = []
    late, looked_at = False, 0
    for packet in arrivals:
        if not held:
            late, looked_at = behind_s() > LATE_S, 0
        elif packet.stream.index == video_index and packet.is_keyframe and not packet.is_corrupt:
            if pictures := sum(one.stream.index == video_index for one in held):
                leave_out(pictures)
            held.clear()
        held.append(packet)
        looked_at += 1
        if not (late and arrivals.lay_ready and looked_at < MOST_LOOKED_AT):
            yield from held
            held.clear()
    yield from held
