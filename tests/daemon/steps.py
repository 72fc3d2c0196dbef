"""One stream whose steps a test walks, picture by picture, with a real detector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.reading import Reading
from daemon.sinks.base import Outlet, Output
from daemon.stream import Stream
from daemon.track import Tracker
from tests.daemon.streams import TALKING, yunet


def settings(stream: dict[str, object] | None = None, **tables: dict[str, object]) -> Settings:
    stream = {"name": "lobby", "url": str(TALKING), **(stream or {})}
    return Settings.model_validate({**tables, "stream": (stream,)})


def lobby_board() -> Board:
    """A board on which the stream is live."""
    board = Board(time.time)
    board.add("lobby", ())
    board.set_state("lobby", "live")
    return board


def made(
    batcher: Batcher | None,
    metrics: Metrics,
    board: Board,
    chosen: Settings | None = None,
    *,
    keep_all: bool = False,
    once: bool = False,
    mailbox: Mailbox[Frame] | None = None,
    stop: threading.Event | None = None,
    writers: Sequence[Outlet] = (),
    publish: Callable[[Reading], None] = lambda reading: None,
    ended: Callable[[], None] = lambda: None,
) -> Stream:
    chosen = chosen or settings()
    return Stream(
        chosen.stream[0],
        chosen,
        mailbox or Mailbox(keep_all=keep_all, on_drop=lambda: None),
        yunet().make,
        batcher,
        writers,
        keep_all=keep_all,
        once=once,
        metrics=metrics,
        board=board,
        stop=stop or threading.Event(),
        publish=publish,
        ended=ended,
    )


def tracker() -> Tracker:
    return Tracker(max_missing_s=1.0, half_life_s=0.5)


def walk(stream: Stream, frames: Sequence[Frame], tracks: Tracker | None = None) -> list[Output]:
    detector, tracks = yunet().make(), tracks or tracker()
    return [stream.step(frame, detector, tracks) for frame in frames]
