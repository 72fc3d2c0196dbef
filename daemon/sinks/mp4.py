"""Fragmented MP4: every fragment is on disk when it ends, so a kill loses only the last one."""

from __future__ import annotations

from pathlib import Path

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from daemon.config import settings
from daemon.errors import Reason, SinkError
from daemon.frame import Frame, is_full_range
from daemon.sinks.base import Output, Takes
from daemon.sinks.recording import PieceFile, create_numbered, sink_error
from daemon.sinks.reference import TIME_BASE, Referencer

_INTRA = 1
_JPEG_RANGE = 2
# How far media time may step back before it counts as a new start of the source.
_RESTART_S = 1.0


class Mp4File:
    """Writes the pictures of a stream as H.264. `path` is the file in use, None before the first.

    The time of a file starts at its first picture and keeps every distance between two. A new
    size or pixel format finishes the file and opens the next. `live` trades some compression
    for an encoder that holds no picture back.
    """

    kind = "mp4"
    takes: Takes = "pictures"

    def __init__(self, config: settings.Mp4Sink, *, live: bool) -> None:
        self._config = config
        self._live = live
        self._recording: _Recording | None = None
        self.path: Path | None = None

    def write(self, output: Output) -> bool:
        image = output.frame.image
        if self._recording and not self._recording.fits(image):
            self.close()
        if self._recording is None:
            self._recording = _Recording(self._config, image, live=self._live)
            self.path = self._recording.path
        self._recording.write(output.frame)
        return True

    def close(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.close()


class _Recording:
    """One file, from its first frame to its last."""

    def __init__(self, config: settings.Mp4Sink, image: av.VideoFrame, *, live: bool) -> None:
        self._looks = _looks(image)
        self._fragment_ticks = max(1, round(config.fragment_s / TIME_BASE))
        self._referencer = Referencer()
        self._clock = _MediaClock()
        self._key_pts: int | None = None
        self._broken = False
        self._header_size = 0
        try:
            self.path, file = create_numbered(config.path)
        except OSError as error:
            raise sink_error("mp4", config.path, error) from error
        self._file = PieceFile(file)
        self._container = _open(self._file)
        self._stream = _add_h264(self._container, config, image, live=live)
        try:
            self._container.start_encoding()
            self._file.commit()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._header_size = self._file.size

    def fits(self, image: av.VideoFrame) -> bool:
        """Whether this file can go on with `image`."""
        return not self._broken and self._looks == _looks(image)

    def write(self, frame: Frame) -> None:
        picture = self._referencer.reference(frame.image, self._clock.ticks(frame))
        # Muxing a key picture closes the fragment before it.
        if self._key_pts is None or picture.pts - self._key_pts >= self._fragment_ticks:
            self._key_pts = picture.pts
            picture.pict_type = _INTRA
        self._encode(picture)

    def close(self) -> None:
        """Write the last fragment. A file without a picture is removed."""
        if self._broken:
            return
        self._encode(None)
        try:
            self._container.close()
            self._file.commit()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error
        self._finish()

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(picture))
            self._file.commit()
        except (av.FFmpegError, OSError) as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> SinkError:
        self._broken = True
        self._finish()
        # libav never touches the disk here, so its errors, some of them OSErrors, are of coding.
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            return sink_error("mp4", self.path, error)
        return SinkError(Reason.ENCODE_ERROR, f"mp4 sink: {self.path}: {error}")

    def _finish(self) -> None:
        self._file.close()
        if self._file.size <= self._header_size:
            self.path.unlink(missing_ok=True)


class _MediaClock:
    """Media time of one file in ticks: true distances, strictly rising."""

    def __init__(self) -> None:
        self._start_s = 0.0
        self._ticks = -1
        self._captured_s = 0.0

    def ticks(self, frame: Frame) -> int:
        if self._ticks < 0:
            self._start_s = frame.pts_s
        ticks = round((frame.pts_s - self._start_s) / TIME_BASE)
        if ticks < self._ticks - _RESTART_S / TIME_BASE:
            # The source began anew: what passed by the wall between the two is all one knows.
            gap_s = max(0.0, frame.captured_s - self._captured_s)
            ticks = self._ticks + round(gap_s / TIME_BASE)
            self._start_s = frame.pts_s - float(ticks * TIME_BASE)
        self._ticks = max(ticks, self._ticks + 1)
        self._captured_s = frame.captured_s
        return self._ticks


def _looks(image: av.VideoFrame) -> tuple[object, ...]:
    return image.width, image.height, image.format.name, is_full_range(image)


def _open(file: PieceFile) -> OutputContainer:
    movflags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
    container: OutputContainer = av.open(
        file,
        "w",
        format="mp4",
        container_options={
            # No index at the end: it would grow in memory with every fragment of a month.
            "movflags": movflags,
            "video_track_timescale": str(TIME_BASE.denominator),
            # Hand over after each packet: what arrives is nothing, or one whole fragment.
            "flush_packets": "1",
        },
    )
    return container


def _add_h264(
    container: OutputContainer, config: settings.Mp4Sink, image: av.VideoFrame, *, live: bool
) -> VideoStream:
    options = {"preset": config.preset, "crf": str(config.crf), "forced-idr": "1"}
    if live:
        options["tune"] = "zerolatency"
    stream = container.add_stream("libx264", options=options, time_base=TIME_BASE)
    codec = stream.codec_context
    codec.width, codec.height = image.width, image.height
    # The format is the picture's own: any other would be scaled to, and the range with it.
    codec.pix_fmt = image.format.name
    codec.time_base = TIME_BASE
    codec.color_range = _JPEG_RANGE if is_full_range(image) else int(image.color_range)
    codec.colorspace = int(image.colorspace)
    codec.color_primaries = int(image.color_primaries)
    codec.color_trc = int(image.color_trc)
    return stream
