"""What drawing costs: milliseconds a frame, alone and beside decode and encode.

    python -m tests.bench.overlay [--width 1920 --height 1080 --frames 120 --faces 3]

The clip is made here: moving noise over a gradient, H.264, so that the codec has work to do.
Each pass decodes and encodes (x264 ultrafast) the same frames; the best of three is reported.
All figures are processor time, so that other work on the machine does not colour them.
"""

from __future__ import annotations

import io
import time
from fractions import Fraction

import av
import numpy as np

from classifiers.expression import LABELS
from daemon.config.settings import OverlaySettings
from daemon.draw.overlay import Overlay
from daemon.reading import FaceView
from tests.bench.parts.arguments import parser_of


def clip(width: int, height: int, frames: int) -> bytes:
    """An H.264 MP4 of that many frames."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, width, dtype=np.uint8)[None].repeat(height, 0)
    grain = rng.integers(0, 24, (height // 8 + 1, width // 8 + 1), np.uint8)
    grain = grain.repeat(8, 0).repeat(8, 1)[:height, :width]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = _h264(container, width, height)
        for index in range(frames):
            luma = ramp + np.roll(grain, 3 * index, 1)
            chroma = np.full((height // 2, width), 128, np.uint8)
            picture = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return file.getvalue()


def faces(count: int, index: int, width: int, height: int) -> list[FaceView]:
    """`count` faces in a row that drift and change."""
    rng = np.random.default_rng(index)
    views = []
    for track in range(1, count + 1):
        side = height // (4 + count // 4)
        x = int(width * track / (count + 1)) - side // 2 + index % 40
        label = LABELS[(track + index // 25) % 7]
        odds = dict(zip(LABELS, map(float, rng.dirichlet(np.ones(7))), strict=True))
        views.append(FaceView(track, (x, height // 3, side, side), label, odds, 0.1 * track))
    return views


def draw_only(data: bytes, count: int) -> tuple[float, float, float]:
    """Median and 95th percentile of `draw`, and the median copy within it, in ms."""
    overlay = Overlay(OverlaySettings())
    drawn_ms, copied_ms = [], []
    with av.open(io.BytesIO(data)) as container:
        for index, image in enumerate(container.decode(video=0)):
            views = faces(count, index, image.width, image.height)
            start = time.thread_time()
            image.make_writable()
            copied = time.thread_time()
            overlay.draw(image, views)
            drawn_ms.append(1000 * (time.thread_time() - copied))
            copied_ms.append(1000 * (copied - start))
    return (
        float(np.median(drawn_ms)),
        float(np.percentile(drawn_ms, 95)),
        float(np.median(copied_ms)),
    )


def transcode(data: bytes, count: int) -> float:
    """Decode, draw `count` faces (none: not even a copy) and encode: ms a frame."""
    overlay, frames = Overlay(OverlaySettings()), 0
    start = time.process_time()
    with av.open(io.BytesIO(data)) as container, av.open(io.BytesIO(), "w", format="mp4") as out:
        stream = None
        for image in container.decode(video=0):
            stream = stream or _h264(out, image.width, image.height)
            overlay.draw(image, faces(count, frames, image.width, image.height))
            out.mux(stream.encode(image))
            frames += 1
        if stream:
            out.mux(stream.encode())
    return 1000 * (time.process_time() - start) / frames


def _h264(container: av.container.OutputContainer, width: int, height: int) -> av.VideoStream:
    stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = Fraction(1, 25)
    return stream


def main() -> None:
    parser = parser_of(__doc__)
    for name, default in (("width", 1920), ("height", 1080), ("frames", 120), ("faces", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    data = clip(args.width, args.height, args.frames)
    median, worst, copy = draw_only(data, args.faces)
    print(f"{args.width}x{args.height}, {args.faces} faces, {args.frames} frames")
    print(f"draw       {median:6.2f} ms median, {worst:.2f} ms p95")
    print(f"frame copy {copy:6.2f} ms median")
    plain = min(transcode(data, 0) for _ in range(3))
    drawn = min(transcode(data, args.faces) for _ in range(3))
    print(f"decode + encode        {plain:6.2f} ms a frame")
    print(f"decode + draw + encode {drawn:6.2f} ms a frame, {drawn / plain:.3f} x")


if __name__ == "__main__":
    main()
