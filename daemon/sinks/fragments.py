"""H.264 in fragmented MP4, as pieces in memory: what a file grows by, or a reader fetches."""

from __future__ import annotations

from typing import Literal

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from daemon.frame import Frame, is_full_range
from daemon.sinks.reference import TIME_BASE, Referencer

_INTRA = 1
_JPEG_RANGE = 2
# How far media time may step back before it counts as a new start of the source.
_RESTART_S = 1.0

TimesFrom = Literal["zero", "pts"]


class Fragments:
    """Encodes pictures of one size and format. Every call returns the fragments that it completed:
    a picture with `key` begins a fragment, and so completes the one before.

    `header` goes before the first fragment. With `times_from` "zero" the first picture is at time
    zero; with "pts" each stays at its own, so that fragments of several headers follow one another.
    `live` trades some compression for an encoder that holds no picture back.
    Everything raises av.FFmpegError, some of which are OSErrors though no disk is touched.
    """

    def __init__(
        self,
        image: av.VideoFrame,
        *,
        crf: int,
        preset: str,
        live: bool,
        times_from: TimesFrom = "zero",
    ) -> None:
        self._looks = _looks(image)
        self._referencer = Referencer()
        self._pts: int | None = None
        self._step = 0
        self._pipe = _Pipe()
        self._container = _open(self._pipe, times_from)
        self._stream = _add_h264(self._container, image, crf=crf, preset=preset, live=live)
        self._container.start_encoding()
        self.header = self._pipe.take()

    def fits(self, image: av.VideoFrame) -> bool:
        """Whether `image` can follow those before."""
        return self._looks == _looks(image)

    def write(self, image: av.VideoFrame, pts: int, *, key: bool) -> bytes:
        """`image` at `pts` in TIME_BASE, more than that of the picture before; it is left as it
        was."""
        picture = self._referencer.reference(image, pts)
        if self._pts is not None:
            self._step = pts - self._pts
        self._pts = pts
        if key:
            picture.pict_type = _INTRA
        return self._encode(picture)

    def finish(self) -> bytes:
        """What is left; nothing can be written after it."""
        last = self._encode(None)
        self._container.close()
        return last + self._pipe.take()

    def _encode(self, picture: av.VideoFrame | None) -> bytes:
        for packet in self._stream.encode(picture):
            packet.duration = self._step  # Counts for the last picture alone.
            self._container.mux(packet)
        return self._pipe.take()


class MediaClock:
    """Media time in ticks of TIME_BASE from the first frame on: true distances, strictly rising."""

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


class _Pipe:
    """Takes what the muxer writes, until it is taken away. PyAV asks for `closed`."""

    closed = False

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def _looks(image: av.VideoFrame) -> tuple[object, ...]:
    return image.width, image.height, image.format.name, is_full_range(image)


def _open(pipe: _Pipe, times_from: TimesFrom) -> OutputContainer:
    movflags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
    if times_from == "pts":
        movflags += "+cmaf+frag_discont"
    container: OutputContainer = av.open(
        pipe,
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
    container: OutputContainer, image: av.VideoFrame, *, crf: int, preset: str, live: bool
) -> VideoStream:
    options = {"preset": preset, "crf": str(crf), "forced-idr": "1"}
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
