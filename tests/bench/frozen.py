"""How long a still scene looks the same, by the noise of the sensor and by what counts as the same.

    python -m tests.bench.frozen

A scene that does not move is encoded for twelve seconds with one keyframe, as a thrifty camera
does, and decoded again. Printed is the longest run of pictures of which none differs from the first
by more than so many levels. A frozen picture is the one without noise: its run should be long, and
those of the others short. daemon/sources/frozen.py takes two levels, and half a minute.
"""

from __future__ import annotations

from fractions import Fraction
from threading import Event

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.frame import plane
from daemon.sources.demo.source import DemoSource
from tests.bench.parts.arguments import parser_of

FPS = 10
SECONDS = 12
LEVELS = (0, 1, 2, 4)
NOISES = (0.0, 0.5, 1.0, 2.0)  # standard deviation, in levels of 255
ENCODERS = {
    "60 kbit/s": {"preset": "ultrafast", "tune": "zerolatency", "b": "60000"},
    "crf 23": {"preset": "veryfast", "tune": "zerolatency", "crf": "23"},
    "crf 30": {"preset": "veryfast", "tune": "zerolatency", "crf": "30"},
}


def main() -> None:
    parser_of(__doc__).parse_args()
    source = DemoSource("x", "demo://x?faces=2&size=320x180&fps=1&seed=3", stop=Event(), live=False)
    scene = next(iter(source.frames())).image.to_ndarray()
    print(
        "longest run in s, of", SECONDS, "at", ", ".join(f"{level}" for level in LEVELS), "levels"
    )
    for name, options in ENCODERS.items():
        for noise in NOISES:
            seen = decoded(scene, noise, options)
            runs = "  ".join(f"{longest_run(seen, level) / FPS:5.1f}" for level in LEVELS)
            print(f"{name:10} noise {noise:3.1f}  {runs}", flush=True)


def decoded(
    scene: NDArray[np.uint8], noise: float, options: dict[str, str]
) -> list[NDArray[np.uint8]]:
    """Luma of the scene, uint8 [1.5 h, w] as yuv420p, after it went through a camera."""
    random = np.random.default_rng(0)
    height, width = scene.shape[0] * 2 // 3, scene.shape[1]
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), FPS
    rest = {key: value for key, value in options.items() if key != "b"}
    if "b" in options:
        encoder.bit_rate = int(options["b"])
    encoder.options = rest | {"g": str(FPS * SECONDS)}
    decoder = av.CodecContext.create("h264", "r")
    seen = []
    for index in range(FPS * SECONDS):
        shown = scene.copy()
        grain = random.normal(0.0, noise, (height, width)).round()
        shown[:height] = np.clip(shown[:height] + grain, 16, 235)
        image = av.VideoFrame.from_ndarray(shown, "yuv420p")
        image.pts, image.time_base = index, Fraction(1, FPS)
        for packet in encoder.encode(image):
            seen += [plane(picture, 0).copy() for picture in decoder.decode(packet)]
    return seen


def longest_run(seen: list[NDArray[np.uint8]], levels: int) -> int:
    """Pictures after one that all look like it."""
    longest = first = 0
    for index in range(1, len(seen)):
        if cv2.norm(seen[first], seen[index], cv2.NORM_INF) > levels:
            first = index
        longest = max(longest, index - first)
    return longest


if __name__ == "__main__":
    main()
