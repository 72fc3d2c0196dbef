"""H.264 in fragmented MP4, as pieces in memory: what a file grows by, or a reader fetches."""

from __future__ import annotations

from typing import Literal

import av
from av.container import OutputContainer

from daemon.config.settings import EncodedSink
from daemon.frame import Frame
from daemon.sinks.encoder import Encoder
from daemon.sinks.reference import TIME_BASE

# How far media time may step back before it counts as a new start of the source.
_RESTART_S = 1.0

TimesFrom = Literal["zero", "pts"]


class Fragments:
    """Encodes pictures of one size and format. Every call returns the fragments that it completed:
    a picture with `key` begins a fragment, and so completes the one before.

    `header` goes before the first fragment. With `times_from` "zero" the first picture is at time
    zero; with "pts" each stays at its own, so that fragments of several headers follow one another.
    `settings` and `live` as in Encoder.
    Everything raises av.FFmpegError, some of which are OSErrors though no disk is touched.
    """

    def __init__(
        self,
        image: av.VideoFrame,
        settings: EncodedSink,
        *,
        live: bool,
        times_from: TimesFrom = "zero",
    ) -> None:
        self._encoder = Encoder(image, settings, live=live)
        self._pts: int | None = None
        self._step = 0
        self._pipe = _Pipe()
        self._container = _open(self._pipe, times_from)
        self._stream = self._container.add_stream_from_template(self._encoder.template)
        self._container.start_encoding()
        self.header = self._pipe.take()

    @property
    def encoder(self) -> str:
        """The name of the encoder in use."""
        return self._encoder.name

    def fits(self, image: av.VideoFrame) -> bool:
        """Whether `image` can follow those before."""
        return self._encoder.fits(image)

    def write(self, image: av.VideoFrame, pts: int, *, key: bool) -> bytes:
        """`image` at `pts` in TIME_BASE, more than that of the picture before; it is left as it
        was."""
        if self._pts is not None:
            self._step = pts - self._pts
        self._pts = pts
        return self._mux(self._encoder.encode(image, pts, key=key))

    def finish(self) -> bytes:
        """What is left; nothing can be written after it."""
        last = self._mux(self._encoder.finish())
        self._container.close()
        return last + self._pipe.take()

    def _mux(self, packets: list[av.Packet]) -> bytes:
        for packet in packets:
            packet.stream = self._stream
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
