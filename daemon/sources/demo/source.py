"""`demo://`: a drawn scene of moving faces whose expressions follow a known schedule.

    demo://NAME?faces=2&size=1280x720&fps=25&seed=3&seconds=60

NAME is free. All options may be left out; without `seconds` the scene does not end.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from threading import Event
from urllib.parse import parse_qsl, urlsplit

import av
from av.video.reformatter import ColorRange

from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.sources.base import Source
from daemon.sources.demo.people import PEOPLE
from daemon.sources.demo.scene import Scene
from daemon.sources.demo.script import Actor, cast
from daemon.sources.picture import AS_IT_IS, Orientation, to_frame_image

_SMPTE170M = 6
"""AVCOL_SPC_SMPTE170M (BT.601), numbered as in FFmpeg."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the query of a demo URL says."""

    faces: int = 2
    width_px: int = 1280
    height_px: int = 720
    fps: int = 25
    seed: int = 0
    seconds: float | None = None

    def actors(self) -> list[Actor]:
        return cast(self.faces, self.width_px, self.height_px, self.seed)


def parse(url: str) -> Options:
    """The options of a `demo://` URL.

    Raises SourceError (unsupported) that names the option and what is accepted.
    """
    values: dict[str, int | float] = {}
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name == "size":
            values["width_px"], values["height_px"] = _size(text)
        elif name in _WHOLE:
            values[name] = _whole(name, text, *_WHOLE[name])
        elif name == "seconds":
            values[name] = _seconds(text)
        else:
            known = ", ".join(sorted([*_WHOLE, "size", "seconds"]))
            raise SourceError(
                Reason.UNSUPPORTED, f"demo:// has no option {name!r}; accepted are {known}"
            )
    return Options(**values)  # type: ignore[arg-type]


_WHOLE = {"faces": (1, len(PEOPLE)), "fps": (1, 60), "seed": (0, 2**31 - 1)}


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise SourceError(
            Reason.UNSUPPORTED,
            f"demo:// option {name}={text!r}: accepted is a whole number from {low} to {high}",
        )
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    even = width % 2 == 0 and height % 2 == 0
    if not (160 <= width <= 3840 and 120 <= height <= 2160 and even):
        raise SourceError(
            Reason.UNSUPPORTED,
            f"demo:// option size={text!r}: accepted is WIDTHxHEIGHT, even, "
            "from 160x120 to 3840x2160",
        )
    return width, height


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise SourceError(
            Reason.UNSUPPORTED,
            f"demo:// option seconds={text!r}: accepted is a number above 0",
        )
    return seconds


class DemoSource(Source):
    """The scene as a source.

    If `live`, it behaves as a camera does: real time, and pictures whose time has passed are left
    out. Else it behaves as a file does: every picture, as fast as they are read. `orientation` is
    applied to each picture. `clock` gives seconds since the epoch, `monotonic` sets the pace.
    Raises SourceError for a faulty URL.
    """

    def __init__(
        self,
        stream: str,
        url: str,
        *,
        stop: Event,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        live: bool = True,
        orientation: Orientation = AS_IT_IS,
    ) -> None:
        super().__init__(stop)
        self._live, self._orientation = live, orientation
        self._options = parse(url)
        self.codec, self.fps = "demo", self._options.fps
        self._stream = stream
        self._clock = clock
        self._monotonic = monotonic

    def _frames(self) -> Iterator[Frame]:
        o = self._options
        scene = Scene(o.actors(), o.width_px, o.height_px, o.seed)
        count = math.inf if o.seconds is None else math.ceil(o.seconds * o.fps - 1e-9)
        start_s = self._monotonic()
        seq = 0
        while seq < count and not self._ending():
            if self._live:
                wait_s = start_s + seq / o.fps - self._monotonic()
                if wait_s > 0 and self._stop.wait(wait_s):
                    return
                seq = max(seq, math.floor((self._monotonic() - start_s) * o.fps))
                if seq >= count:
                    return
            image = av.VideoFrame.from_ndarray(scene.draw(seq / o.fps), format="yuv420p")
            image.color_range = ColorRange.MPEG
            image.colorspace = _SMPTE170M
            image.pts = seq
            image.time_base = Fraction(1, o.fps)
            image = to_frame_image(image, orientation=self._orientation)
            yield Frame(self._stream, seq, seq / o.fps, self._clock(), image)
            seq += 1

    def _free(self) -> None:
        pass
