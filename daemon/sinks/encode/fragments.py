"""H.264 in fragmented MP4, as pieces in memory: what a file grows by, or a reader fetches."""

from __future__ import annotations

from typing import Literal

import av
from av.container import OutputContainer

from daemon.sinks.base import Packet
from daemon.sinks.encode.encoder import Encoder
from daemon.sinks.encode.reference import TIME_BASE

_SECOND = TIME_BASE.denominator
TimesFrom = Literal["zero", "pts"]


class Fragments:
    """Takes the packets of one encoder, the first a keyframe. Every call returns the fragments
    that it completed: a keyframe begins a fragment, and so completes the one before.

    `header` goes before the first fragment. With `times_from` "zero" the first picture is at time
    zero; with "pts" each stays at its own, so that fragments of several headers follow one another.
    Everything raises av.FFmpegError, some of which are OSErrors though no disk is touched.
    """

    def __init__(self, encoder: Encoder, *, times_from: TimesFrom = "zero") -> None:
        self._start: int | None = 0 if times_from == "pts" else None
        self._file = _MemoryFile()
        self._container = _open(self._file, times_from)
        self._stream = self._container.add_stream_from_template(encoder.template)
        self._container.start_encoding()
        self.header = self._file.take()

    def write(self, packet: Packet) -> bytes:
        duration = packet.duration
        if self._start is None:
            self._start = packet.pts
            duration = min(duration, _SECOND)  # A gap before the first picture is not in the file.
        own = av.Packet(packet.data)
        own.stream, own.time_base = self._stream, TIME_BASE
        own.pts, own.dts = packet.pts - self._start, packet.dts - self._start
        own.duration = duration  # Counts for the last picture alone.
        own.is_keyframe = packet.is_keyframe
        self._container.mux(own)
        return self._file.take()

    def finish(self) -> bytes:
        """The last fragment; nothing can be written after this."""
        self._container.close()
        return self._file.take()


class _MemoryFile:
    """Holds what the muxer writes until `take`. PyAV asks for `closed`."""

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


def _open(file: _MemoryFile, times_from: TimesFrom) -> OutputContainer:
    movflags = "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
    if times_from == "pts":
        movflags += "+cmaf+frag_discont"
    container: OutputContainer = av.open(
        file,
        "w",
        format="mp4",
        container_options={
            # No index at the end: it would grow in memory with every fragment of a month.
            "movflags": movflags,
            "video_track_timescale": str(TIME_BASE.denominator),
            # Flush after each packet: what arrives is nothing, or one whole fragment.
            "flush_packets": "1",
        },
    )
    return container
