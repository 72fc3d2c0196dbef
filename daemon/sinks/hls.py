"""A stream's pictures as HLS: H.264 in short segments, while somebody asks for them."""

from __future__ import annotations

import math

from daemon.config.sink_settings import HlsSinkSettings
from daemon.sinks.base import Packet, Takes, encoding
from daemon.sinks.encode.fragments import Fragments
from daemon.sinks.encode.reference import TIME_BASE
from daemon.sinks.playlist import Playlist

_ROUNDING_S = 0.5  # A segment may be longer by less than this: its length rounds to the same.


class HlsSegments:
    """Adds to `playlist` segments that each begin with a keyframe and end with the next.

    Time goes on over new sizes, restarts of the encoder and idle spells. The playlist is not
    closed with the sink, and its readers stay.
    """

    takes: Takes = "packets"

    def __init__(self, config: HlsSinkSettings, playlist: Playlist) -> None:
        self._config = config
        self._playlist = playlist
        self._run: _Run | None = None

    @property
    def wanted(self) -> bool:
        return self._playlist.wanted

    def write(self, packet: Packet) -> bool:
        if not self._playlist.wanted:
            self.close()
            return False
        if self._run is not None and self._run.is_late(packet):
            self._run = None  # What was under way is too old to be shown.
        if self._run is not None and packet.encoder is not self._run.encoder:
            self.close()
        run, self._run = self._run, None
        if run is None and not packet.is_keyframe:
            return False
        with encoding("hls sink"):
            run = run or _Run(self._config.segment_s, self._playlist, packet)
            run.write(packet)
        self._run = run
        return True

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            with encoding("hls sink"):
                run.finish()


class _Run:
    """Segments that continue one another, from the keyframe `first` on. Raises
    av.FFmpegError."""

    def __init__(self, segment_s: float, playlist: Playlist, first: Packet) -> None:
        self.encoder = first.encoder
        self._playlist = playlist
        self._limit_ticks = round((segment_s + _ROUNDING_S) / TIME_BASE)
        self._fragments = Fragments(first.encoder, times_from="pts")
        playlist.begin(self._fragments.header, math.ceil(segment_s))
        self._keyframe: Packet | None = None
        self._end_pts = first.pts
        self._media = bytearray()

    def is_late(self, packet: Packet) -> bool:
        """Whether so much time passed before `packet` that something new has to begin."""
        return packet.pts - self._end_pts > self._limit_ticks

    def write(self, packet: Packet) -> None:
        self._media += self._fragments.write(packet)
        if packet.is_keyframe:
            self._end(packet.pts)
            self._keyframe = packet
        self._end_pts = max(self._end_pts, packet.pts + packet.duration)

    def finish(self) -> None:
        """End the last segment."""
        self._media += self._fragments.finish()
        if self._keyframe is not None:
            self._end(min(self._end_pts, self._keyframe.pts + self._limit_ticks - 1))

    def _end(self, pts: int) -> None:
        """Hand over the segment that ends at `pts`."""
        if self._keyframe is not None and self._media:
            duration_s = float((pts - self._keyframe.pts) * TIME_BASE)
            self._playlist.add(bytes(self._media), duration_s, self._keyframe.captured_s)
            self._media.clear()
