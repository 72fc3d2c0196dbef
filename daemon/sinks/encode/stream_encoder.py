"""A stream's pictures as packets that go on over new sizes, slates and gaps."""

from __future__ import annotations

from dataclasses import replace

import av

from daemon.config.sink_settings import EncodedSinkSettings
from daemon.frame import Frame
from daemon.sinks.base import Output, Packet
from daemon.sinks.encode.encoder import Encoder
from daemon.sinks.encode.reference import TIME_BASE

# A longer gap between two pictures is not filled with repetitions of the first.
LONGEST_GAP_S = 10.0
_LATE_S = 0.5


class StreamEncoder:
    """Encodes one output after the other, with a keyframe every `settings.keyframe_interval_s`, at
    the first after a slate, and where the size or pixel format changes: there a new encoder begins.

    With `repeats`, before a late picture the previous one is encoded again, once for each keyframe
    that was due meanwhile: no two keyframes are `keyframe_interval_s` and half a second apart.
    `live` as in Encoder. Everything raises av.FFmpegError; the next call then starts a new encoder.
    """

    def __init__(self, settings: EncodedSinkSettings, *, live: bool, repeats: bool = False) -> None:
        self._settings = settings
        self._live = live
        self._repeats = repeats
        self._interval_ticks = max(1, round(settings.keyframe_interval_s / TIME_BASE))
        self._late_ticks = round((settings.keyframe_interval_s + _LATE_S) / TIME_BASE)
        self._clock = MediaClock()
        self._encoder: Encoder | None = None
        self._pts = 0
        self._keyframe_pts: int | None = None
        self._is_slate = False
        self._last: Output | None = None  # Kept only to be repeated: its picture is large.
        self._waiting: dict[int, Packet] = {}  # By pts, without their data: what is held back.

    @property
    def encoder(self) -> Encoder | None:
        """The one in use."""
        return self._encoder

    def encode(self, output: Output) -> list[Packet]:
        """The packets that `output` completes; its picture is left as it was."""
        pts = self._clock.ticks(output.frame)
        packets: list[Packet] = []
        if self._encoder is not None and not self._encoder.fits(output.frame.image):
            packets += self.finish()
        try:
            if self._encoder is None:
                self._encoder = Encoder(output.frame.image, self._settings, live=self._live)
            packets += self._repeat_until(self._encoder, pts, output.captured_s)
            packets += self._put(self._encoder, output, pts, output.captured_s)
        except BaseException:
            self._drop()
            raise
        self._last = output if self._repeats else None
        return packets

    def finish(self) -> list[Packet]:
        """The packets that were held back. The next output gets a new encoder."""
        encoder = self._encoder
        try:
            return [] if encoder is None else self._packets(encoder.finish())
        finally:
            self._drop()

    def _drop(self) -> None:
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._keyframe_pts = self._last = None
        self._waiting.clear()

    def _repeat_until(self, encoder: Encoder, pts: int, captured_s: float) -> list[Packet]:
        packets: list[Packet] = []
        if self._last is None or pts - self._pts > LONGEST_GAP_S / TIME_BASE:
            return packets
        while self._keyframe_pts is not None and pts - self._keyframe_pts >= self._late_ticks:
            again = self._keyframe_pts + self._interval_ticks
            behind_s = float((pts - again) * TIME_BASE)
            packets += self._put(encoder, self._last, again, captured_s - behind_s)
        return packets

    def _put(self, encoder: Encoder, output: Output, pts: int, captured_s: float) -> list[Packet]:
        step = 0 if self._keyframe_pts is None else pts - self._pts
        is_back = self._is_slate and not output.slate
        keyframe = (
            self._keyframe_pts is None
            or is_back
            or pts - self._keyframe_pts >= self._interval_ticks
        )
        if keyframe:
            self._keyframe_pts = pts
        self._pts, self._is_slate = pts, output.slate
        self._waiting[pts] = Packet(
            encoder, b"", pts, pts, step, keyframe, captured_s, output.slate
        )
        return self._packets(encoder.encode(output.frame.image, pts, keyframe=keyframe))

    def _packets(self, encoded: list[av.Packet]) -> list[Packet]:
        return [
            replace(
                self._waiting.pop(packet.pts),
                data=bytes(packet),
                dts=packet.dts,
                is_keyframe=packet.is_keyframe,
            )
            for packet in encoded
        ]


class MediaClock:
    """Media time in ticks of TIME_BASE from the first frame on, strictly rising. Distances are
    true, except for delayed pictures whose time slates have taken already: those are spaced by
    media time or by arrival, whichever is less, so that a burst of them falls back into media
    time."""

    def __init__(self) -> None:
        self._start_s = 0.0
        self._ticks = -1
        self._pts_s = self._captured_s = 0.0

    def ticks(self, frame: Frame) -> int:
        if self._ticks < 0:
            self._start_s = frame.pts_s
        ticks = round((frame.pts_s - self._start_s) / TIME_BASE)
        if ticks <= self._ticks:
            step_s = min(frame.pts_s - self._pts_s, frame.captured_s - self._captured_s)
            ticks = self._ticks + max(1, round(step_s / TIME_BASE))
        self._ticks = ticks
        self._pts_s, self._captured_s = frame.pts_s, frame.captured_s
        return ticks
