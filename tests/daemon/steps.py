"""One stream whose steps a test runs picture by picture, with a real detector."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from daemon.classify.batcher import Batcher
from daemon.classify.reader import FaceReader
from daemon.config.settings import Settings, StreamSettings
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, Row
from daemon.reading import FaceView, Reading
from daemon.sinks.base import Outlet
from daemon.steps import Steps
from daemon.stream import Stream
from daemon.track import Tracker
from detectors.base import Detector
from tests.clock import Clock
from tests.daemon.streams import TALKING, yunet


def settings(stream: dict[str, object] | None = None, **tables: dict[str, object]) -> Settings:
    sinks = ({"kind": "mjpeg"},)
    stream = {"name": "lobby", "url": str(TALKING), "sink": sinks, **(stream or {})}
    return Settings.model_validate({**tables, "stream": (stream,)})


def only_stream(chosen: Settings, keep_all: bool) -> StreamSettings:
    policy = "file" if keep_all else "live"
    return chosen.stream[0].model_copy(update={"policy": policy})


def lobby_row() -> Row:
    """The board's row of a live stream; its clock stands still, so that faces do not age."""
    row = Board(time.time, monotonic=Clock()).add("lobby", ())
    row.set_state("live")
    return row


def made(
    batcher: Batcher | None,
    metrics: Metrics,
    row: Row,
    *,
    keep_all: bool = False,
    offline: bool = False,
    mailbox: Mailbox[Frame] | None = None,
    stop: threading.Event | None = None,
    writers: Sequence[Outlet] = (),
    publish: Callable[[Reading], None] = lambda reading: None,
    ended: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
) -> Stream:
    chosen = settings()
    return Stream(
        only_stream(chosen, keep_all),
        chosen,
        mailbox or Mailbox(keep_all=keep_all, on_drop=lambda: None),
        yunet().make,
        batcher,
        writers,
        offline=offline,
        metrics=metrics,
        row=row,
        stop=stop or threading.Event(),
        publish=publish,
        ended=ended,
        beat=beat,
    )


def stepping(
    batcher: Batcher | None,
    metrics: Metrics,
    row: Row,
    chosen: Settings | None = None,
    *,
    keep_all: bool = False,
    offline: bool = False,
    detector: Detector | None = None,
) -> Steps:
    """The steps of such a stream alone, without its thread."""
    chosen = chosen or settings()
    return Steps(
        only_stream(chosen, keep_all),
        chosen,
        detector or yunet().make(),
        batcher,
        offline=offline,
        metrics=metrics,
        row=row,
        stop=threading.Event(),
    )


def reading_by(
    batcher: Batcher,
    tracker: Tracker,
    metrics: Metrics,
    *,
    wake: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.time,
) -> FaceReader:
    """The reader of such a stream alone, which is live."""
    chosen = settings()
    return FaceReader(
        only_stream(chosen, keep_all=False),
        chosen.expression,
        batcher,
        tracker,
        metrics,
        offline=False,
        stop=threading.Event(),
        wake=wake,
        clock=clock,
    )


class Taken(NamedTuple):
    """The result of a frame: what the stream handed out, and the faces that the board shows."""

    frame: Frame
    readings: Sequence[Reading]
    faces: Sequence[FaceView]


def walk(steps: Steps, frames: Sequence[Frame]) -> list[Taken]:
    return [_taken(steps, frame) for frame in frames]


def _taken(steps: Steps, frame: Frame) -> Taken:
    output = steps.take(frame)
    return Taken(output.frame, output.readings, steps._row.status().faces)
