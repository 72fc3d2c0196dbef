"""What viewers see while a live source gives no picture: since when, and why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import av

from daemon.draw.glyphs import Strip, even, render_text
from daemon.draw.paint import Canvas, ColourSystem, Rgb
from daemon.errors import Reason
from daemon.frame import Frame, tag_alike
from daemon.monitoring.status import StreamStatus
from daemon.reading import FaceView, Reading
from daemon.sinks.base import Output

AWAY_S = 1.0  # a source that is known to be down gets a slate after so long
QUIET_S = 3.0  # one that merely gives no picture, after so long ...
QUIET_FRAMES = 3  # ... or after so many of its frame intervals, if longer
EVERY_S = 1.0
GROUND: Rgb = (15, 21, 27)
TEXT: Rgb = (232, 237, 242)
QUIET_TEXT: Rgb = (159, 173, 186)
_MARGIN = 0.05
_SMALLEST_PX = 8
_NARROW = 0.25  # of an em: letters are wider on average, so larger text cannot fit


def no_picture(stream: str) -> Output:
    """An output that says that the source of `stream` is down, for sinks that ignore pictures."""
    frame = Frame(stream, 0, 0.0, time.time(), av.VideoFrame(2, 2, "yuv420p"))
    return Output(frame, (), slate=True)


class Slate:
    """Stands in for the pictures of the live stream `name`, about one a second.

    A slate has the size and format of the last picture, so that sinks need not reopen; before the
    first picture there is none. Its media time is that of the last picture plus the time since.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._clock = clock
        self._monotonic = monotonic
        self._last: Frame | None = None
        self._last_s = 0.0
        self._usual_s = 0.0
        self._due_s = 0.0
        self._drawn: tuple[tuple[object, ...], av.VideoFrame] | None = None

    def saw(self, frame: Frame) -> None:
        """Note a picture that was handed out."""
        now_s = self._monotonic()
        if self._last is not None:
            # A pause that a slate filled is no measure of the frame rate.
            gap_s = min(now_s - self._last_s, 2 * max(self._usual_s, QUIET_S))
            self._usual_s += 0.1 * (gap_s - self._usual_s)
        # Not the image itself: the decoder wants its memory back.
        if self._last is not None and _frame_format(self._last.image) == _frame_format(frame.image):
            blank = self._last.image
        else:
            blank = _like(frame.image)
        self._last, self._last_s = replace(frame, image=blank), now_s

    def output(self, status: StreamStatus) -> Output | None:
        """The slate, if one is due for a stream of that status."""
        now_s = self._monotonic()
        last = self._last
        if last is None or now_s < self._due_s:
            return None
        quiet_s = now_s - self._last_s
        if quiet_s < self._patience_s(status):
            return None
        self._due_s = now_s + EVERY_S
        image = self._draw(last, status.reason)
        frame = replace(last, pts_s=last.pts_s + quiet_s, captured_s=self._clock(), image=image)
        return Output(frame, (), slate=True)

    @property
    def is_blank(self) -> bool:
        """Whether there was no picture yet."""
        return self._last is None

    def without_picture(
        self, readings: Sequence[Reading], faces: Sequence[FaceView] | None
    ) -> Output:
        """An output of readings whose frames were handed out before, and of the faces in view now,
        for sinks that ignore pictures."""
        assert self._last is not None
        return Output(self._last, readings, slate=True, faces=faces)

    def _patience_s(self, status: StreamStatus) -> float:
        if status.state in ("down", "stalled"):
            return AWAY_S
        return max(QUIET_S, QUIET_FRAMES * self._usual_s)

    def _draw(self, last: Frame, reason: Reason | None) -> av.VideoFrame:
        lines = (
            self._name,
            f"no picture since {_moment(last.captured_s, self._clock())}",
            str(reason or Reason.STALLED).replace("_", " "),
        )
        wanted = *lines, *_frame_format(last.image)
        if self._drawn is None or self._drawn[0] != wanted:
            image = _like(last.image)
            draw(image, lines)
            self._drawn = wanted, image
        return self._drawn[1]


def draw(image: av.VideoFrame, lines: tuple[str, ...]) -> None:
    """Fill all of `image` (writable, yuv420p or yuvj420p) with `lines`, as large as fits, the first
    larger than the rest."""
    colours, canvas = ColourSystem.of(image), Canvas(image)
    canvas.fill(canvas.frame, colours.paint(GROUND))
    strips = _fitting(lines, image.width * (1 - 2 * _MARGIN), image.height * (1 - 2 * _MARGIN))
    y = even((image.height - sum(strip.height for strip in strips)) / 2)
    for index, strip in enumerate(strips):
        paint = colours.paint(QUIET_TEXT if index else TEXT)
        canvas.write(strip, even((image.width - strip.width) / 2), y, paint)
        y += strip.height


def _fitting(lines: tuple[str, ...], width_px: float, height_px: float) -> list[Strip]:
    """The lines as large as fits, down to what can barely be read. Nothing is cached: each outage
    has another time in its text, and a large strip takes a megabyte."""
    letters = max(len(line) * (1.0 if index else 1.5) for index, line in enumerate(lines))
    size_px = max(_SMALLEST_PX, even(min(height_px / 10, width_px / (_NARROW * letters))))
    while True:
        strips = [
            render_text(line, size_px if index else even(1.5 * size_px))
            for index, line in enumerate(lines)
        ]
        fits = max(strip.width for strip in strips) <= width_px
        if size_px <= _SMALLEST_PX or (fits and sum(s.height for s in strips) <= height_px):
            return strips
        size_px = max(_SMALLEST_PX, min(size_px - 2, even(0.85 * size_px)))


def _moment(then_s: float, now_s: float) -> str:
    """The local time and its zone, with the date where it is not today's."""
    then, now = (datetime.fromtimestamp(moment_s).astimezone() for moment_s in (then_s, now_s))
    return then.strftime("%H:%M:%S %Z" if then.date() == now.date() else "%Y-%m-%d %H:%M:%S %Z")


def _frame_format(image: av.VideoFrame) -> tuple[object, ...]:
    colours = image.color_range, image.colorspace, image.color_primaries, image.color_trc
    return image.width, image.height, image.format.name, *colours


def _like(image: av.VideoFrame) -> av.VideoFrame:
    """A picture of that size, format and colour system, with nothing on it."""
    blank = av.VideoFrame(image.width, image.height, image.format.name)
    tag_alike(blank, image)
    return blank
