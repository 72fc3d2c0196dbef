"""What a simulated camera shows: a drawn scene with a sensor's noise, encoded as cameras do."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from daemon.frame import plane
from daemon.sources.demo.source import DemoSource

NOISE_LEVELS = 4.0  # standard deviation of luma, as indoors
BIT_PER_PX = 3.0  # 6 Mbit/s of 1080p, what a camera's main stream usually has


def make_clip(path: Path, width_px: int, height_px: int, fps: int, faces: int, frames: int) -> None:
    """Write `frames` pictures of `faces` moving faces to `path` as H.264 without B-frames."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, NOISE_LEVELS, (4, height_px, width_px)).astype(np.int16)
    url = f"demo://bench?faces={faces}&size={width_px}x{height_px}&fps={fps}&seconds={frames / fps}"
    source = DemoSource("bench", url, live=False, stop=threading.Event())
    with av.open(path, "w") as container:
        options = {"preset": "superfast", "bf": "0"}
        stream = container.add_stream("libx264", fps, options=options)
        stream.bit_rate = int(BIT_PER_PX * width_px * height_px)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        for index, frame in enumerate(source.frames()):
            frame.image.make_writable()
            luma = plane(frame.image, 0)
            luma[:] = np.clip(luma + np.roll(noise[index % 4], index, axis=1), 16, 235)
            frame.image.pts = index
            frame.image.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame.image))
        container.mux(stream.encode())
