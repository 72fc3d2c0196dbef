"""Whole streams without the cost of cameras and models, for benchmarks and tests of scale.

The source gives pictures that were decoded before, the detector knows where faces are, and the
classifier what they show: all that is left is affectd's own work.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from classifiers.base import Reads
from classifiers.expression import LABELS
from daemon.capture import Capture, mailbox_for
from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import EventsSinkSettings, SinkSettings
from daemon.frame import Frame
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline, Shared
from daemon.reading import Reading
from daemon.sinks.base import Output
from daemon.sinks.encode.reference import Referencer
from daemon.sinks.events import EventsFile
from daemon.sinks.writer import Writer
from daemon.sources.base import Source, SourceCallbacks
from daemon.stream import Stream
from detectors.base import Box, Detection
from detectors.select import Choice
from tests.daemon.streams import batcher_for

PICTURES = 3  # that a source shows in turn, so that they do not count as frozen


class Knowing:
    """Finds `faces` faces in rows, which drift, whatever it is shown. Each has a square cell of the
    picture, of which it takes `share` of the width. The rows begin at `top` of the height."""

    name = description = "yunet"

    def __init__(self, faces: int, share: float = 0.6, top: float = 0.0) -> None:
        self._faces, self._share, self._top = faces, share, top
        self._frame = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self._frame += 1
        height, width = image.shape[:2]
        columns = math.ceil(math.sqrt(self._faces * width / height))
        cell = width / columns
        size = self._share * cell
        drift = 0.1 * cell * math.sin(self._frame / 20)
        found = []
        for face in range(self._faces):
            left = (face % columns + 0.2) * cell + drift
            top = self._top * height + face // columns * cell
            eyes = (left + 0.3 * size, top + 0.4 * size), (left + 0.7 * size, top + 0.4 * size)
            nose = left + 0.5 * size, top + 0.6 * size
            found.append(Detection(Box(left, top, size, size), 0.9, eyes, nose))
        return found

    def close(self) -> None:
        pass


THREE_FACES = Choice("yunet", "yunet", None, partial(Knowing, 3, share=324 / 640, top=0.3))
"""Finds three, of 324 px each in 1080p, with room for labels and bars around them."""


class Instant:
    """Knows what every face shows without looking."""

    name = "instant"
    reads: Reads = "face"
    labels: tuple[str, ...] = LABELS
    device = engine = "none"
    unknown_below = 0.0
    view_count = 10

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        row = np.array([0.02, 0.01, 0.02, 0.8, 0.03, 0.04, 0.08], np.float32)
        return np.tile(row, (len(batch), 1))


class Decoded(Source):
    """A camera whose pictures lie ready in memory: it costs a wait and a reference each."""

    def __init__(
        self,
        stream: str,
        pictures: Sequence[av.VideoFrame],
        fps: float,
        stop: threading.Event,
    ) -> None:
        super().__init__(stop)
        self._stream, self._pictures, self._fps = stream, pictures, fps
        self._referencer = Referencer()

    def _frames(self) -> Iterator[Frame]:
        began_s = time.monotonic()
        for seq in itertools.count():
            if self._stop.wait(max(0.0, began_s + seq / self._fps - time.monotonic())):
                return
            picture = self._pictures[seq % len(self._pictures)]
            image = self._referencer.reference(picture, seq)
            yield Frame(self._stream, seq, seq / self._fps, time.time(), image)

    def _free(self) -> None:
        pass


@dataclass
class Site:
    """Streams that run. `frames` counts those taken all the way, `readings` is what was read."""

    board: Board
    metrics: Metrics
    readings: list[Reading] = field(default_factory=list)

    def frames(self) -> int:
        return sum(status.frames for status in self.board.streams())


def pictures(width_px: int, height_px: int) -> list[av.VideoFrame]:
    """Grey pictures with noise, yuv420p."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(PICTURES):
        data = rng.integers(90, 160, (height_px * 3 // 2, width_px), dtype=np.uint8)
        image = av.VideoFrame.from_ndarray(data, format="yuv420p")
        image.pts, image.time_base = index, Fraction(1, 25)
        made.append(image)
    return made


def take_through(clip: Path, sinks: Sequence[SinkSettings], shared: Shared) -> int:
    """Take a clip from its file to `sinks`, as `affectd video` does; returns its frames.

    Raises the first fault of a part.
    """
    url = SecretStr(str(clip))
    stream = StreamSettings(name="video", url=url, policy="file", sink=tuple(sinks))
    settings, stop = Settings(stream=(stream,)), threading.Event()
    pipeline = Pipeline(stream, settings, shared, stop=stop, offline=True)
    pipeline.start()
    pipeline.stream.join()
    pipeline.finish()
    pipeline.close()
    if pipeline.error is not None:
        raise pipeline.error
    return shared.board.streams()[0].frames


@contextmanager
def site(
    streams: int, faces: int, fps: float, folder: Path, size_px: tuple[int, int] = (640, 360)
) -> Iterator[Site]:
    """Run live streams of `faces` faces each, with an events sink each, until the block is left."""
    metrics, board, stop = Metrics(CollectorRegistry()), Board(time.time), threading.Event()
    running = Site(board, metrics)
    batcher = batcher_for(Instant(), metrics, max_batch=16, max_wait_s=0.01, queue_crops=1024)
    shown = pictures(*size_px)
    parts: list[Capture | Stream] = []
    writers: list[Writer[Output]] = []
    batcher.start()
    for index in range(streams):
        name = f"camera-{index}"
        sink = EventsSinkSettings(kind="events", path=folder / f"{name}.jsonl")
        config = StreamSettings(name=name, url=SecretStr("rtsp://none"), sink=(sink,))
        metrics.add_stream(name, ["events"])
        row = board.add(name, ["events"])
        mailbox = mailbox_for(config, metrics)
        writer = Writer(
            EventsFile(sink), name, "events", keep_all=False, metrics=metrics, stop=stop
        )

        def make() -> Knowing:
            return Knowing(faces)

        def open_source(
            stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
        ) -> Decoded:
            return Decoded(stream.name, shown, fps, stop)

        steps = Stream(
            config,
            Settings(stream=(config,)),
            mailbox,
            make,
            batcher,
            (writer,),
            metrics=metrics,
            row=row,
            stop=stop,
            publish=running.readings.append,
        )
        capture = Capture(config, mailbox, metrics, row, stop=stop, open_source=open_source)
        writers.append(writer)
        parts += [steps, capture]
    for writer in writers:
        writer.start()
    for part in parts:
        part.start()
    try:
        yield running
    finally:
        stop.set()
        for part in reversed(parts):
            part.join(20.0)
        for writer in writers:
            writer.close(20.0)
        batcher.stop()
