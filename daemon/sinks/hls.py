"""A stream's pictures as HLS: H.264 in short segments, while somebody asks for them."""

from __future__ import annotations

import math
from dataclasses import replace

from daemon.config.sink_settings import HlsSinkSettings
from daemon.sinks.base import Packet, Takes, encoding
from daemon.sinks.encode.fragments import Fragments
from daemon.sinks.encode.reference import TIME_BASE
from daemon.sinks.playlist import Playlist

_ROUNDING_S = 0.5  # A segment may be longer by less than this: its rounded length is the same.


class HlsSegments:
    """Adds to `playlist` segments that each begin with a keyframe and end with the next, or at a
    pause that would make them too long.

    Timestamps go on over new sizes, restarts of the encoder and idle spells. The playlist is not
    closed with the sink, and its readers stay.
    """

    takes: Takes = "packets"

    def __init__(self, config: HlsSinkSettings, playlist: Playlist) -> None:
        self._config = config
        self._playlist = playlist
        self._run: _Run | None = None

    @property
    def wanted(self) -> bool:
        return self._playlist.keep_if_wanted()

    def write(self, packet: Packet) -> bool:
        if not self._playlist.keep_if_wanted():
            self.close()
            return False
        run = self._run
        if run is not None and not run.continues_with(packet):
            if packet.encoder is not run.encoder and run.is_long_before(packet):
                self._run = None  # Nobody asked meanwhile: it is too old to be shown.
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
        self._keyframe = first
        self._last_pts = self._end_pts = first.pts
        self._media = bytearray()

    def continues_with(self, packet: Packet) -> bool:
        """Whether `packet` is of the same encoder, and not so late that a segment gets too long."""
        so_far = packet.pts - self._keyframe.pts
        return packet.encoder is self.encoder and so_far < self._limit_ticks

    def is_long_before(self, packet: Packet) -> bool:
        """Whether more than a segment's length passed before `packet`."""
        return packet.pts - self._end_pts > self._limit_ticks

    def write(self, packet: Packet) -> None:
        keyframe = packet if packet.is_keyframe else self._keyframe
        # The last picture's duration is unknown yet: assume the one before's, within the limit.
        most = keyframe.pts + self._limit_ticks - 1 - packet.pts
        packet = replace(packet, duration=min(packet.duration, most))
        self._media += self._fragments.write(packet)
        if packet.is_keyframe:
            self._end(packet.pts)
        self._keyframe = keyframe
        if packet.pts >= self._last_pts:
            self._last_pts, self._end_pts = packet.pts, packet.pts + packet.duration

    def finish(self) -> None:
        """End the last segment."""
        self._media += self._fragments.finish()
        self._end(self._end_pts)

    def _end(self, pts: int) -> None:
        """Hand over the segment that ends at `pts`; drop one without a duration, as of a single
        picture."""
        if self._media and pts > self._keyframe.pts:
            duration_s = float((pts - self._keyframe.pts) * TIME_BASE)
            self._playlist.add(bytes(self._media), duration_s, self._keyframe.captured_s)
            self._media.clear()
