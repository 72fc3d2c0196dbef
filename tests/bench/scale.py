"""What a stream and a face cost when there are many: 1 to 64 streams, 1 to 200 faces.

    python -m tests.bench.scale [--seconds 4] [--rounds 3]

Camera, detector and classifier are simulated and cost next to nothing, so that what is measured is
affectd's own work: hand-overs, tracking, crops, queue, batches, smoothing, drawing, counting and
an events file. Figures are processor time of the whole process, medians over rounds in which every
number has its turn; ages are those of readings, from capture. Memory is what the process grew by.
"""

from __future__ import annotations

import gc
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tests.bench.parts.arguments import parser_of
from tests.bench.parts.sites import site

STREAMS = (1, 2, 4, 8, 16, 32, 64)
FACES = (1, 2, 5, 10, 20, 50, 100, 200)
SETTLE_S = 1.0
FPS = 2.0  # 64 streams are to fit one core


@dataclass(frozen=True)
class Measured:
    """One number of streams and faces: processor milliseconds a frame, the 50th and 99th age of
    readings in milliseconds, threads, and resident megabytes, each above those before it began."""

    cpu_ms: float
    frames_share: float
    age_ms: tuple[float, float]
    threads: int
    mb: float


def measure(streams: int, faces: int, fps: float, seconds: float, size_px: tuple[int, int],
            folder: Path) -> Measured:  # fmt: skip
    """Run so many for `seconds`."""
    gc.collect()
    mb, threads = resident_mb(), threading.active_count()
    with site(streams, faces, fps, folder, size_px) as running:
        time.sleep(SETTLE_S)
        running.readings.clear()
        frames, began_s, began_cpu_s = running.frames(), time.monotonic(), time.process_time()
        time.sleep(seconds)
        cpu_s, elapsed_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
        frames = running.frames() - frames
        ages = [reading.age_ms or 0.0 for reading in running.readings] or [float("nan")]
        mb, threads = resident_mb() - mb, threading.active_count() - threads
    return Measured(
        1000.0 * cpu_s / max(1, frames),
        frames / (elapsed_s * fps * streams),
        (float(np.percentile(ages, 50)), float(np.percentile(ages, 99))),
        threads,
        mb,
    )


def resident_mb() -> float:
    """Memory of this process, as Linux counts it."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def line(rounds: Sequence[Measured]) -> str:
    middle = statistics.median
    return (
        f"{middle(m.cpu_ms for m in rounds):9.2f} {middle(m.frames_share for m in rounds):9.0%} "
        f"{middle(m.age_ms[0] for m in rounds):9.1f} {middle(m.age_ms[1] for m in rounds):9.1f} "
        f"{rounds[0].threads:8d} {rounds[0].mb:9.1f}"
    )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=64, help="streams")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    head = f"{'CPU ms':>9} {'frames':>9} {'age p50':>9} {'age p99':>9} {'threads':>8} {'MB':>9}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure(1, 3, FPS, 1.0, (640, 360), folder)  # warms what is made once
        counts = [count for count in STREAMS if count <= options.most]
        rounds = [
            [measure(n, 3, FPS, options.seconds, (640, 360), folder) for n in counts]
            for _ in range(options.rounds)
        ]
        print(f"streams of 640x360 at {FPS:g} fps with 3 faces; CPU ms a frame\n{'':>8} {head}")
        for count, found in zip(counts, zip(*rounds, strict=True), strict=True):
            print(f"{count:8d} {line(found)}")
        rounds = [
            [measure(1, n, FPS, options.seconds, (1920, 1080), folder) for n in FACES]
            for _ in range(options.rounds)
        ]
        print(f"\nfaces in one stream of 1920x1080 at {FPS:g} fps; CPU ms a frame\n{'':>8} {head}")
        for count, found in zip(FACES, zip(*rounds, strict=True), strict=True):
            each = statistics.median(m.cpu_ms for m in found) / count
            print(f"{count:8d} {line(found)}   {each:.2f} a face")


if __name__ == "__main__":
    main()
