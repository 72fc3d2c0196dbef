"""What each step of a 1080p frame costs by itself, the models aside.

    python -m tests.bench.steps [--frames 60] [--rounds 5]

Each step is run over the same frames of a drawn clip with a sensor's noise, three faces in each;
the figure is processor time of its thread (of the process for decoding and encoding, which have
threads of their own) a frame, and of several rounds the least: what the step costs where nothing
else runs. Prints a table, the dearest first.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import cv2

from classifiers.expression import LABELS
from classifiers.expression.crop import FRAMINGS, crop
from daemon.classify.quality import assess
from daemon.commands.bench.clip import make_clip
from daemon.config.settings import OverlaySettings, TrackingSettings
from daemon.config.sink_settings import EncodedSinkSettings
from daemon.draw.overlay import Overlay
from daemon.frame import DetectorScaler, Frame, is_full_range, plane
from daemon.reading import FaceView
from daemon.sinks.encode.encoder import Encoder
from daemon.sinks.encode.reference import TIME_BASE
from daemon.sources.picture import SQUARE, Orientation, to_frame_image
from daemon.sources.video import VideoSource
from daemon.track import Track, Tracker
from tests.bench.parts.arguments import parser_of
from tests.bench.parts.sites import THREE_FACES

Step = Callable[[Frame], object]
SHARES = dict(zip(LABELS, (0.02, 0.01, 0.02, 0.8, 0.03, 0.04, 0.08), strict=True))


def frames_of(clip: Path) -> Iterator[Frame]:
    return VideoSource("bench", str(clip), live=False, stop=threading.Event()).frames()


def boxes(track: Track) -> tuple[float, float, float, float]:
    box = track.place.box
    return box.x, box.y, box.width, box.height


def cut(frame: Frame, tracks: list[Track]) -> None:
    """The crops of the faces, and how well they can be seen."""
    luma, full = plane(frame.image, 0), is_full_range(frame.image)
    for track in tracks:
        found = track.place
        face = crop(luma, boxes(track), found.eyes, FRAMINGS["yunet"], full)
        assess(found, face)


def views(tracks: list[Track]) -> list[FaceView]:
    whole = [tuple(round(value) for value in boxes(track)) for track in tracks]
    return [
        FaceView(track.id, (x, y, width, height), "happy", SHARES, 0.0)
        for track, (x, y, width, height) in zip(tracks, whole, strict=True)
    ]


def decoding(clip: Path) -> int:
    return sum(1 for _ in frames_of(clip))


def encoding(frames: list[Frame]) -> int:
    encoder = Encoder(frames[0].image, EncodedSinkSettings(), live=False)
    for number, frame in enumerate(frames):
        encoder.encode(frame.image, round(number / 25 / TIME_BASE), keyframe=number % 25 == 0)
    encoder.finish()
    return len(frames)


def copying_ms(clip: Path) -> float:
    """What it costs to draw on a frame that the decoder may still predict from."""
    spent_s, count = 0.0, 0
    for frame in frames_of(clip):
        began_s = time.thread_time()
        frame.image.make_writable()
        spent_s += time.thread_time() - began_s
        count += 1
    return 1000.0 * spent_s / count


def least_ms(
    rounds: int, clock: Callable[[], float], work: Callable[[], int], get_ready: Callable[[], None]
) -> float:
    best_s = float("inf")
    for _ in range(rounds):
        get_ready()
        began_s = clock()
        count = work()
        best_s = min(best_s, (clock() - began_s) / count)
    return 1000.0 * best_s


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clip", type=Path, help="a file of your own instead of a drawn one")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or Path(folder) / "clip.mp4"
        if options.clip is None:
            make_clip(clip, 1920, 1080, fps=25, faces=3, frames=options.frames)
        frames: list[Frame] = []
        found = THREE_FACES.make()
        tracks: list[list[Track]] = []

        def decode_anew() -> None:
            """Fresh frames, which nobody has drawn on or made writable yet."""
            frames[:] = islice(frames_of(clip), options.frames)
            tracker = Tracker(TrackingSettings())
            small = DetectorScaler(1920)(frames[0].image)
            tracks[:] = [tracker.update(found.detect(small), frame.pts_s) for frame in frames]

        def each(step: Callable[[Frame, list[Track]], object]) -> Callable[[], int]:
            def work() -> int:
                for frame, seen in zip(frames, tracks, strict=True):
                    step(frame, seen)
                return len(frames)

            return work

        scaler, overlay = DetectorScaler(480), Overlay(OverlaySettings())
        quarter = Orientation(90)
        process, thread = time.process_time, time.thread_time
        steps = {
            "decode": (process, lambda: decoding(clip)),
            "encode": (process, lambda: encoding(frames)),
            "small picture for the detector": (thread, each(lambda f, t: scaler(f.image))),
            "quarter turn": (thread, each(lambda f, t: to_frame_image(f.image, SQUARE, quarter))),
            "crops and their quality": (thread, each(cut)),
            "overlay": (
                thread,
                each(lambda f, t: overlay.draw(f.image, views(t))),
            ),
        }
        spent = {
            name: least_ms(options.rounds, clock, work, decode_anew)
            for name, (clock, work) in steps.items()
        }
        spent["copy for the overlay"] = min(copying_ms(clip) for _ in range(options.rounds))
    for name, ms in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{name:45} {ms:6.2f} ms")


if __name__ == "__main__":
    main()
