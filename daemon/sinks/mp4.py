"""Fragmented MP4: every fragment is on disk when it ends, so a kill loses only the last one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daemon.config.sink_settings import Mp4SinkSettings
from daemon.errors import SinkError
from daemon.sinks.base import Packet, Takes
from daemon.sinks.disk import PieceFile, create_numbered, sink_errors
from daemon.sinks.encode.fragments import Fragments
from daemon.sinks.encode.reference import TIME_BASE
from daemon.sinks.segments import SegmentFiles

MOST_PAUSE_S = 6 * 3600.0  # libav's muxer takes a pause of 2^31 ticks of TIME_BASE for an error
STEP_S = 30.0  # Longer than a packet waits on its way here.


class Mp4File:
    """Writes the pictures of a stream.

    The timestamps of a file start at its first picture and keep the distances between pictures. A
    new encoder (for a new size or pixel format) finishes the file and opens the next; so do, at the
    next keyframe, a pause of `MOST_PAUSE_S`, `segment_s` and `segment_mb`. Segments are named by
    the time of day, so a new one also begins when the clock was set, or the machine suspended, by
    more than `STEP_S`. A slate records nothing: it is not written, and ends the current segment if
    there are segments.
    """

    takes: Takes = "packets"
    wanted = True

    def __init__(
        self, config: Mp4SinkSettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._monotonic = monotonic
        self._segments = SegmentFiles(config) if config.segmented else None
        self._recording: _Recording | None = None

    def write(self, packet: Packet) -> bool:
        if packet.slate:
            if self._segments is not None:
                self.close()
                self._segments.prune_now_and_then(packet.captured_s, None)
            return False
        if self._recording is None or not self._recording.write(packet):
            self.close()
            path = self._config.path
            if self._segments is not None:
                self._segments.prune(packet.captured_s, None)
                path = self._segments.path(packet.captured_s)
            self._recording = _Recording(self._config, path, packet, self._monotonic)
        elif self._segments is not None:
            self._segments.prune_now_and_then(packet.captured_s, self._recording.path)
        return True

    def close(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            try:
                recording.close()
            finally:
                if self._segments is not None:
                    self._segments.add(recording.path)


class _Recording:
    """One file, from its first picture, which is a keyframe, to its last."""

    def __init__(
        self, config: Mp4SinkSettings, path: Path, first: Packet, monotonic: Callable[[], float]
    ) -> None:
        self._first = first
        self._last_pts = first.pts
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._most_step_s = STEP_S if config.segmented else math.inf
        self._most_ticks = round(config.segment_s / TIME_BASE)
        self._most_bytes = round(config.segment_mb * 1e6)
        self._broken = False
        self._header_size = 0
        with sink_errors(f"mp4 sink: {path}"):
            self.path, file = create_numbered(path)
        self._file = PieceFile(file)
        with self._whole():
            self._fragments = Fragments(first.encoder)
            self._file.append(self._fragments.header)
        self._header_size = self._file.size
        self._put(first)

    def write(self, packet: Packet) -> bool:
        """Write `packet`, or return False if it must begin a file of its own."""
        is_new = packet.encoder is not self._first.encoder
        if self._broken or is_new or (packet.is_keyframe and self._is_over(packet)):
            return False
        self._put(packet)
        return True

    def close(self) -> None:
        """Write the last fragment. A file without a picture is removed."""
        if self._broken:
            return
        with self._whole():
            self._file.append(self._fragments.finish())
        self._finish()

    def _put(self, packet: Packet) -> None:
        self._last_pts = packet.pts
        with self._whole():
            self._file.append(self._fragments.write(packet))

    def _is_over(self, packet: Packet) -> bool:
        has_paused = (packet.pts - self._last_pts) * TIME_BASE > MOST_PAUSE_S
        is_long = 0 < self._most_ticks <= packet.pts - self._first.pts
        is_large = 0 < self._most_bytes <= self._file.size
        return has_paused or is_long or is_large or self._has_stepped(packet)

    def _has_stepped(self, packet: Packet) -> bool:
        """Whether the time of day moved unlike the monotonic clock, which stops during suspend."""
        day_s = packet.captured_s - self._first.captured_s
        return abs(day_s - (self._monotonic() - self._began_s)) > self._most_step_s

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """At a fault the file is closed with what it holds. Raises SinkError."""
        try:
            with sink_errors(f"mp4 sink: {self.path}"):
                yield
        except SinkError:
            with suppress(SinkError):  # The first error says more.
                self._finish()
            raise

    def _finish(self) -> None:
        self._broken = True
        with sink_errors(f"mp4 sink: {self.path}"):
            self._file.close()
            if self._file.size <= self._header_size:
                self.path.unlink(missing_ok=True)
