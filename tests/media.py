"""Real video files for tests, made with PyAV."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Paint = Callable[[int, NDArray[np.uint8]], None]


def ramp(index: int, rgb: NDArray[np.uint8]) -> None:
    """A picture whose corners differ: red grows rightwards, green downwards, blue with time."""
    height, width = rgb.shape[:2]
    rgb[:, :, 0] = np.linspace(0, 255, width, dtype=np.uint8)[None, :]
    rgb[:, :, 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    rgb[:, :, 2] = index * 8 % 256


def write_clip(
    path: Path,
    *,
    width: int = 160,
    height: int = 120,
    frames: int = 25,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: list[int] | None = None,
    audio: bool = False,
    video: bool = True,
    video_frames: int | None = None,
    paint: Paint | None = ramp,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of `frames` pictures that `paint(index, rgb)` fills, and return its path.

    Without `paint` the pictures hold what the memory held, which is quick for very large ones.
    `video_frames` ends the pictures earlier than the sound. `pts` are timestamps in milliseconds
    (variable frame rate); `audio` adds a track of silence; `codec` "libx264" is told to be quick,
    with a keyframe every 12 frames and no B-frames.
    """
    chosen = {"preset": "ultrafast", "g": "12", "bf": "0"} if codec == "libx264" else {}
    chosen |= options or {}
    with av.open(str(path), "w", options=container_options or {}) as container:
        picture = container.add_stream(codec, rate=fps, options=chosen) if video else None
        sound = container.add_stream("aac", rate=8000) if audio else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = width, height, pix_fmt
            if pts is not None:
                picture.codec_context.time_base = Fraction(1, 1000)
        rgb = np.zeros((height, width, 3) if paint else (0, 0, 3), np.uint8)
        for index in range(frames):
            if picture is not None and (video_frames is None or index < video_frames):
                if paint is None:
                    image = av.VideoFrame(width, height, pix_fmt)
                else:
                    paint(index, rgb)
                    image = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
                if pts is not None:
                    image.pts, image.time_base = pts[index], Fraction(1, 1000)
                else:
                    image.pts, image.time_base = index, Fraction(1, fps)
                container.mux(picture.encode(image))
            if sound is not None:
                silence = av.AudioFrame.from_ndarray(
                    np.zeros((1, 8000 // fps), np.float32), "fltp", "mono"
                )
                silence.sample_rate = 8000
                silence.pts, silence.time_base = index * (8000 // fps), Fraction(1, 8000)
                container.mux(sound.encode(silence))
        for stream in (picture, sound):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


def frames_in(path: Path) -> int:
    """How many pictures a file gives."""
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))
