"""A capture thread with everything around it, and sources that fail when a test says so.

`Scripted` is a fake source, since one must fail at a chosen moment of a chosen clock.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import av
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from daemon.capture import Capture, OpenSource, mailbox_for
from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import Frame, plane
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, StreamStatus
from daemon.sources.base import Source, SourceCallbacks
from daemon.sources.open import open_source
from tests.clock import Clock


class Rig:
    """A capture with everything around it; `read` takes all frames out of its mailbox."""

    def __init__(
        self,
        url: str,
        *,
        policy: str = "auto",
        offline: bool = False,
        loop: bool = False,
        frozen_timeout_s: float = 30.0,
        opener: OpenSource = open_source,
        clock: Clock | None = None,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.stream = StreamSettings.model_validate(
            {
                "name": "s",
                "url": SecretStr(url),
                "policy": policy,
                "loop": loop,
                "stall_timeout_s": 2.0,
                "frozen_timeout_s": frozen_timeout_s,
            }
        )
        self.metrics = Metrics(CollectorRegistry())
        self.metrics.add_stream("s", [])
        self.board = Board(lambda: 0.0)
        self.row = self.board.add("s", [])
        self.metrics.watch("s", self.board)
        self.stop = threading.Event()
        self.mailbox: Mailbox[Frame] = mailbox_for(self.stream, self.metrics)
        self.clock = clock or Clock()
        self.beats = self.ends = 0
        self.capture = Capture(
            self.stream,
            self.mailbox,
            self.metrics,
            self.row,
            stop=self.stop,
            offline=offline,
            open_source=opener,
            monotonic=self.clock,
            wait=wait or self.clock.wait,
            rng=random.Random(1),
            beat=self._beat,
            ended=self._end,
        )

    def _beat(self) -> None:
        self.beats += 1

    def _end(self) -> None:
        self.ends += 1

    def read(self) -> list[Frame]:
        frames = []
        while not self.mailbox.ended:
            frame = self.mailbox.get(60.0)
            if frame is not None:
                frames.append(frame)
        return frames

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"stream": "s", **labels})

    @property
    def status(self) -> StreamStatus:
        return self.board.streams()[0]


class Scripted(Source):
    """Gives the same picture at 25 per second of the rig's clock, then ends or raises `error`."""

    def __init__(self, clock: Clock, frames: int, error: Exception | None) -> None:
        super().__init__(threading.Event())
        self._clock, self._count, self._error = clock, frames, error
        self._image = av.VideoFrame(16, 16, "yuv420p")
        plane(self._image, 0)[:] = 120
        self.closed = 0

    def _frames(self) -> Iterator[Frame]:
        for seq in range(self._count):
            self._clock.now_s += 0.04
            yield Frame("s", seq, seq / 25, self._clock.now_s, self._image)
        if self._error is not None:
            raise self._error

    def _free(self) -> None:
        pass

    def close(self) -> None:
        super().close()
        self.closed += 1


def script(
    clock: Clock,
    runs: list[tuple[int, Exception | None]],
    when_done: Callable[[], None],
) -> tuple[OpenSource, list[Scripted]]:
    """A function that opens one source for each of `runs`: how many frames it gives (-1: it cannot
    be opened), and the error after them. After the last, `when_done` is called. Also returns the
    list of the sources that were opened."""
    opened: list[Scripted] = []
    left = list(runs)

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        if not left:
            when_done()
            return Scripted(clock, 0, None)
        frames, error = left.pop(0)
        if frames < 0:
            assert error is not None
            raise error
        opened.append(Scripted(clock, frames, error))
        return opened[-1]

    return opener, opened


def run_script(
    runs: list[tuple[int, Exception | None]],
    *,
    url: str = "rtsp://cam/x",
    frozen_timeout_s: float = 30.0,
) -> Rig:
    clock = Clock()
    rig: Rig
    opener, opened = script(clock, runs, lambda: rig.stop.set())
    rig = Rig(url, frozen_timeout_s=frozen_timeout_s, opener=opener, clock=clock)
    rig.capture.run()
    assert all(source.closed for source in opened)
    return rig


def refused() -> SourceError:
    return SourceError(Reason.CONNECT_REFUSED, "rtsp://u:***@cam: the connection was refused")
