"""Fragmented MP4: every fragment is on disk when it ends, so a kill loses only the last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av

from daemon.config import settings
from daemon.errors import Reason, SinkError
from daemon.frame import Frame
from daemon.sinks.base import Output, Takes
from daemon.sinks.fragments import Fragments, MediaClock
from daemon.sinks.recording import PieceFile, create_numbered, sink_error
from daemon.sinks.reference import TIME_BASE
from daemon.sinks.segments import Segments


class Mp4File:
    """Writes the pictures of a stream as H.264. `path` is the file in use, None before the first.

    The time of a file starts at its first picture and keeps every distance between two. A new
    size or pixel format finishes the file and opens the next; so do `segment_s` and `segment_mb`,
    at the next fragment. A slate is no record of anything: it is not written, and what came
    before it is finished if there are segments.
    """

    kind = "mp4"
    takes: Takes = "pictures"

    def __init__(
        self,
        config: settings.Mp4Sink,
        *,
        live: bool,
        told: Callable[[str], None] = lambda encoder: None,
    ) -> None:
        self._config = config
        self._live = live
        self._told = told
        self._segments = Segments(config) if config.segmented else None
        self._recording: _Recording | None = None
        self.path: Path | None = None

    def write(self, output: Output) -> bool:
        frame = output.frame
        if output.slate:
            if self._segments is not None:
                self.close()
                self._segments.prune(frame.captured_s, None)
            return False
        if self._recording is None or not self._recording.write(frame):
            self.close()
            path = self._config.path
            if self._segments is not None:
                self._segments.prune(frame.captured_s, None)
                path = self._segments.path(frame.captured_s)
            self._recording = _Recording(self._config, path, frame.image, live=self._live)
            self.path = self._recording.path
            self._told(self._recording.encoder)
            self._recording.write(frame)
        elif self._segments is not None:
            self._segments.prune_now_and_then(frame.captured_s, self.path)
        return True

    def close(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()


class _Recording:
    """One file, from its first frame to its last."""

    def __init__(
        self, config: settings.Mp4Sink, path: Path, image: av.VideoFrame, *, live: bool
    ) -> None:
        self._fragment_ticks = max(1, round(config.fragment_s / TIME_BASE))
        self._most_ticks = round(config.segment_s / TIME_BASE)
        self._most_bytes = round(config.segment_mb * 1e6)
        self._clock = MediaClock()
        self._key_pts: int | None = None
        self._broken = False
        self._header_size = 0
        try:
            self.path, file = create_numbered(path)
        except OSError as error:
            raise sink_error("mp4", path, error) from error
        self._file = PieceFile(file)
        try:
            self._fragments = Fragments(image, config, live=live)
        except av.FFmpegError as error:
            raise self._not_encoded(error) from error
        self.encoder = self._fragments.encoder
        self._append(self._fragments.header)
        self._header_size = self._file.size

    def write(self, frame: Frame) -> bool:
        """Write `frame`, or return False if it must begin a file of its own."""
        if self._broken or not self._fragments.fits(frame.image):
            return False
        pts = self._clock.ticks(frame)
        key = self._key_pts is None or pts - self._key_pts >= self._fragment_ticks
        if key:
            if self._key_pts is not None and self._is_full(pts):
                return False
            self._key_pts = pts
        try:
            piece = self._fragments.write(frame.image, pts, key=key)
        except av.FFmpegError as error:
            raise self._not_encoded(error) from error
        self._append(piece)
        return True

    def close(self) -> None:
        """Write the last fragment. A file without a picture is removed."""
        if self._broken:
            return
        try:
            piece = self._fragments.finish()
        except av.FFmpegError as error:
            raise self._not_encoded(error) from error
        self._append(piece)
        self._finish()

    def _is_full(self, pts: int) -> bool:
        is_long = 0 < self._most_ticks <= pts
        return is_long or 0 < self._most_bytes <= self._file.size

    def _append(self, piece: bytes) -> None:
        try:
            self._file.append(piece)
        except OSError as error:
            self._finish()
            raise sink_error("mp4", self.path, error) from error

    def _not_encoded(self, error: av.FFmpegError) -> SinkError:
        self._finish()
        return SinkError(Reason.ENCODE_ERROR, f"mp4 sink: {self.path}: {error}")

    def _finish(self) -> None:
        self._broken = True
        self._file.close()
        if self._file.size <= self._header_size:
            self.path.unlink(missing_ok=True)
