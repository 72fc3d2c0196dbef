"""What affectd adds to a 1080p frame: its whole path without models, against decode plus encode.

    python -m tests.bench.path [--frames 300] [--rounds 3] [--clip YOUR_1080P.mp4]

Both ways read the same H.264 file and write the same kind of MP4. The path tracks and draws three
faces with all labels and bars, counts every metric, and hands frames through its threads; only
the detector and the classifier are stand-ins that cost nothing. Figures are processor time of the
whole process, and the ratio is taken round by round, so that a busy machine does less harm.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
from prometheus_client import CollectorRegistry

from daemon.commands.bench.clip import make_clip
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.models import Models
from daemon.monitoring.metrics import Metrics
from daemon.pipeline import Shared
from daemon.sinks.base import Output
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.mp4 import Mp4File
from daemon.sources.video import VideoSource
from tests.bench.parts.arguments import parser_of
from tests.bench.parts.sites import THREE_FACES, Instant, take_through
from tests.daemon.streams import batcher_for


def plain(clip: Path, target: Path) -> int:
    """Decode and encode, in one thread, with the source and the sink that affectd uses."""
    source = VideoSource("plain", str(clip), live=False, stop=threading.Event())
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
    metrics = Metrics(CollectorRegistry())
    batcher = batcher_for(Instant(), metrics, max_batch=16, max_wait_s=0.0, queue_crops=64)
    batcher.start()
    shared = Shared(Models(THREE_FACES, batcher), metrics)
    try:
        return take_through(clip, [Mp4SinkSettings(kind="mp4", path=target)], shared)
    finally:
        batcher.stop()


def ms_a_frame(way: Callable[[Path, Path], int], clip: Path, target: Path) -> float:
    """Processor time a frame, in milliseconds."""
    began_s = time.process_time()
    frames = way(clip, target)
    spent_s = time.process_time() - began_s
    target.unlink()
    return 1000.0 * spent_s / frames


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip", type=Path, help="a file of your own instead of a drawn one")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    with tempfile.TemporaryDirectory() as folder:
        clip, target = options.clip or Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        if options.clip is None:
            make_clip(clip, 1920, 1080, fps=25, faces=3, frames=options.frames)
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
