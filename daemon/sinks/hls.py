"""A stream's pictures as HLS: H.264 in short segments, while somebody asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import av

from daemon.config import settings
from daemon.errors import Reason, SinkError
from daemon.frame import Frame
from daemon.playlist import Playlist
from daemon.sinks.base import Output, Takes
from daemon.sinks.fragments import Fragments, MediaClock
from daemon.sinks.reference import TIME_BASE

# A second without a picture repeats the one before; after this long something new begins.
LONGEST_GAP_S = 10.0
_ROUNDING_S = 0.5  # A segment may be longer by less than this: its length rounds to the same.


class HlsSegments:
    """Adds to `playlist` segments of `segment_s`, each beginning with a key picture.

    Time goes on over new sizes, restarts of the encoder and idle spells. Nothing is encoded while
    nobody wants the playlist; it is not closed with the sink, and its readers stay.
    """

    kind = "hls"
    takes: Takes = "pictures"

    def __init__(
        self,
        config: settings.HlsSink,
        playlist: Playlist,
        told: Callable[[str], None] = lambda encoder: None,
    ) -> None:
        self._config = config
        self._told = told
        self._playlist = playlist
        self._clock = MediaClock()
        self._run: _Run | None = None

    def write(self, output: Output) -> bool:
        frame = output.frame
        pts = self._clock.ticks(frame)
        if not self._playlist.wanted:
            if self._run is not None:
                self.close()
                self._playlist.clear()
            return False
        try:
            if self._run is not None and not self._run.continues(frame, pts):
                self.close()
            if self._run is None:
                self._run = _Run(self._config, self._playlist, frame, pts)
                self._told(self._run.encoder)
            self._run.write(frame, pts)
        except av.FFmpegError as error:
            self._run = None
            raise SinkError(Reason.ENCODE_ERROR, f"hls sink: {error}") from error
        return True

    def close(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            try:
                run.finish()
            except av.FFmpegError as error:
                raise SinkError(Reason.ENCODE_ERROR, f"hls sink: {error}") from error


class _Run:
    """Segments that continue one another. Raises av.FFmpegError."""

    def __init__(
        self, config: settings.HlsSink, playlist: Playlist, frame: Frame, pts: int
    ) -> None:
        self._playlist = playlist
        self._segment_ticks = round(config.segment_s / TIME_BASE)
        self._limit_ticks = round((config.segment_s + _ROUNDING_S) / TIME_BASE)
        self._fragments = Fragments(frame.image, config, live=True, times_from="pts")
        self.encoder = self._fragments.encoder
        playlist.begin(self._fragments.header, math.ceil(config.segment_s))
        self._last, self._last_pts = frame, pts
        self._key_pts: int | None = None
        self._key_captured_s = 0.0
        self._media = bytearray()
        self._step = self._segment_ticks

    def continues(self, frame: Frame, pts: int) -> bool:
        """Whether `frame` can follow the one before."""
        gap = pts - self._last_pts
        return self._fragments.fits(frame.image) and gap <= round(LONGEST_GAP_S / TIME_BASE)

    def write(self, frame: Frame, pts: int) -> None:
        while self._key_pts is not None and pts - self._key_pts >= self._limit_ticks:
            again = self._key_pts + self._segment_ticks
            behind_s = float((pts - again) * TIME_BASE)
            self._put(self._last, again, frame.captured_s - behind_s)
        self._put(frame, pts, frame.captured_s)
        self._last = frame

    def finish(self) -> None:
        """End the last segment."""
        self._media += self._fragments.finish()
        if self._key_pts is not None:
            self._end(min(self._last_pts + self._step, self._key_pts + self._limit_ticks - 1))

    def _put(self, frame: Frame, pts: int, captured_s: float) -> None:
        key = self._key_pts is None or pts - self._key_pts >= self._segment_ticks
        self._media += self._fragments.write(frame.image, pts, key=key)
        if key:
            self._end(pts)
            self._key_pts, self._key_captured_s = pts, captured_s
        if pts > self._last_pts:
            self._step = pts - self._last_pts
        self._last_pts = pts

    def _end(self, pts: int) -> None:
        """Hand over the segment that ends at `pts`."""
        if self._key_pts is not None and self._media:
            duration_s = float((pts - self._key_pts) * TIME_BASE)
            self._playlist.add(bytes(self._media), duration_s, self._key_captured_s)
            self._media.clear()
