"""Which packets of a live source are still worth decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import av

# Longer than a network hiccup delays pictures, short enough for viewers to take them for live.
LATE_S = 2.0
# A packet that takes longer was waited for: the socket held no older one.
READY_S = 0.01
# About ten seconds of packets, sound included; keyframes are rarely further apart.
MOST_LOOKED_AT = 1000


class Arrivals:
    """Iterates over packets in order. `lay_ready` says whether the last one had already arrived
    when it was asked for."""

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
        """The part of a picture's delay `delay_s` (see Timeline) for which it can have waited for
        us, in seconds: at most since the last packet that had to be waited for. The rest is the
        camera's own delay: it sends in bursts, pauses, or has a slow clock."""
        return min(delay_s, self._monotonic() - self._waited_s)


def newest(
    arrivals: Arrivals,
    video_index: int,
    *,
    behind_s: Callable[[], float],
    leave_out: Callable[[int], None],
) -> Iterator[av.Packet]:
    """Yield packets in their order. While pictures are more than `LATE_S` behind, all packets that
    lie ready, `MOST_LOOKED_AT` at most, are collected first. If a keyframe is among them, those
    before the newest keyframe are skipped, and `leave_out` is called with the number of pictures
    skipped; if not, all are yielded, so that a camera with rare keyframes still shows pictures.
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
