"""What affectd adds to a 1080p frame: its whole path without models, against decode plus encode.

    python -m tests.bench.path [--frames 300] [--rounds 3] [--clip YOUR_1080P.mp4]

Both ways read the same H.264 file and write the same kind of MP4. The path tracks and draws three
faces with all labels and bars, counts every metric, and hands frames through its threads; only
the detector and the classifier are stand-ins that cost nothing. Figures are processor time of the
whole process, and the ratio is taken round by round, so that a busy machine does less harm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from daemon.capture import Capture, mailbox_for
from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.frame import plane
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.sinks.base import Output
from daemon.sinks.encode.shared import SharedEncoder
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.mp4 import Mp4File
from daemon.sinks.writer import Writer
from daemon.sources.demo.source import DemoSource
from daemon.sources.video import VideoSource
from daemon.stream import Stream
from detectors.base import Box, Detection
from tests.bench.parts.sites import Instant
from tests.daemon.streams import batcher_for

STREAM = "bench"
NOISE_LEVELS = 4.0  # standard deviation of luma, as indoors
CAMERA_BIT_S = 6_000_000  # what a 1080p camera's main stream usually has


class ThreeFaces:
    """Finds three drifting faces, whatever it is shown."""

    name = description = "yunet"

    def __init__(self) -> None:
        self._frame = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self._frame += 1
        height, width = image.shape[:2]
        size = height * 0.3
        drift = 0.02 * width * np.sin(self._frame / 20)
        lefts = [0.05 * width + drift, 0.38 * width - drift, 0.72 * width + drift]
        return [
            Detection(
                Box(left, 0.3 * height, size, size),
                0.9,
                ((left + 0.3 * size, 0.45 * height), (left + 0.7 * size, 0.45 * height)),
                (left + 0.5 * size, 0.5 * height),
            )
            for left in lefts
        ]

    def close(self) -> None:
        pass


def make_clip(path: Path, frames: int) -> None:
    """Draw a 1080p clip of moving faces, with a sensor's noise, and encode it as a camera would."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, NOISE_LEVELS, (8, 1080, 1920)).astype(np.int16)
    url = f"demo://bench?faces=3&size=1920x1080&fps=25&seconds={frames / 25}"
    source = DemoSource(STREAM, url, live=False, stop=threading.Event())
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", 25, options={"preset": "superfast"})
        stream.bit_rate = CAMERA_BIT_S
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        for index, frame in enumerate(source.frames()):
            frame.image.make_writable()
            luma = plane(frame.image, 0)
            luma[:] = np.clip(luma + np.roll(noise[index % 8], index, axis=1), 16, 235)
            frame.image.pts = index
            frame.image.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame.image))
        container.mux(stream.encode())


def plain(clip: Path, target: Path) -> int:
    """Decode and encode, in one thread, with the source and the sink that affectd uses."""
    source = VideoSource(STREAM, str(clip), live=False, stop=threading.Event())
    config = Mp4SinkSettings(kind="mp4", path=target)
    encoder, sink = StreamEncoder(config, live=False), Mp4File(config)
    count = 0
    for frame in source.frames():
        for packet in encoder.encode(Output(frame, ())):
            sink.write(packet)
        count += 1
    for packet in encoder.finish():
        sink.write(packet)
    source.close()
    sink.close()
    return count


def whole(clip: Path, target: Path) -> int:
    """The path of `affectd video`, with models that cost nothing."""
    stream = StreamSettings(
        name=STREAM,
        url=SecretStr(str(clip)),
        policy="file",
        sink=(Mp4SinkSettings(kind="mp4", path=target),),
    )
    settings = Settings(stream=(stream,))
    metrics, board, stop = Metrics(CollectorRegistry()), Board(time.time), threading.Event()
    metrics.add_stream(STREAM, ["mp4"])
    row = board.add(STREAM, ["mp4"])
    batcher = batcher_for(Instant(), metrics, max_batch=16, max_wait_s=0.0, queue_crops=64)
    config = Mp4SinkSettings(kind="mp4", path=target)
    writer = Writer(
        Mp4File(config), STREAM, "mp4", keep_all=True, metrics=metrics, stop=stop, retry=False
    )
    encoder = SharedEncoder([config], [writer], STREAM, live=False, metrics=metrics, stop=stop)
    mailbox = mailbox_for(stream, metrics)
    steps = Stream(
        stream,
        settings,
        mailbox,
        ThreeFaces,
        batcher,
        (encoder,),
        metrics=metrics,
        row=row,
        stop=stop,
    )
    capture = Capture(stream, mailbox, metrics, row, stop=stop, offline=True)
    for part in (batcher, writer, encoder, steps, capture):
        part.start()
    steps.join()
    encoder.close(60.0)
    writer.close(60.0)
    batcher.stop()
    for error in (capture.error, steps.error, writer.error):
        if error is not None:
            raise error
    return board.streams()[0].frames


def ms_a_frame(way: Callable[[Path, Path], int], clip: Path, target: Path) -> float:
    """Processor time a frame, in milliseconds."""
    began_s = time.process_time()
    frames = way(clip, target)
    spent_s = time.process_time() - began_s
    target.unlink()
    return 1000.0 * spent_s / frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip", type=Path, help="a file of your own instead of a drawn one")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    with tempfile.TemporaryDirectory() as folder:
        clip, target = options.clip or Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        if options.clip is None:
            make_clip(clip, options.frames)
        plain(clip, target)  # warms codecs and caches
        target.unlink()
        rounds = [
            (ms_a_frame(plain, clip, target), ms_a_frame(whole, clip, target))
            for _ in range(options.rounds)
        ]
    base = statistics.median(first for first, _ in rounds)
    path = statistics.median(second for _, second in rounds)
    ratio = statistics.median(second / first for first, second in rounds)
    print(f"decode + encode     {base:6.1f} ms a frame")
    print(f"affectd, no models  {path:6.1f} ms a frame")
    print(f"ratio               {ratio:6.2f}")


if __name__ == "__main__":
    main()
