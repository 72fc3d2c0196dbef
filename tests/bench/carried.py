"""What is lost where faces are looked for on every n-th frame only, and carried between.

    python -m tests.bench.carried [--clips ../shared/video] [--backend auto] [--tta flip]

The measure is detection and a reading on every frame of the same clips. Prints, for each n, how
well boxes fit that are left where they were (`still`) and that keep their speed (`moving`): the
mean IoU on the frames between with the box that is found there. Then how often the shown label is
that of the measure, over all frames, where crops are read of found faces only (`found`), and of
carried ones too (`carried`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.expression import LABELS
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.crop import FRAMINGS, crop
from classifiers.expression.tta import STATIC_TTA
from daemon.config.settings import TrackingSettings
from daemon.frame import DetectorScaler, Frame, is_full_range, plane
from daemon.reading import UNKNOWN
from daemon.sources.video import VideoSource
from daemon.track import Track, Tracker
from detectors import select
from detectors.base import Box, Detection, Detector
from tests.bench.clips import clips_in
from tests.bench.parts.arguments import parser_of
from tests.shared import MODELS, VIDEO

EVERY = (2, 3, 5, 10)
HALF_LIFE_S = 0.5  # of the smoothing
SAME = 0.3  # IoU from which two boxes are of one face


@dataclass
class Shown:
    """One way's boxes and labels, frame by frame."""

    boxes: list[list[Box]] = field(default_factory=list)
    labels: list[list[str]] = field(default_factory=list)


class Reader:
    """Crops and classifies single faces."""

    def __init__(self, tta: str, framing: str) -> None:
        self.classifier = ExpressionClassifier.load("default", tta=tta)  # type: ignore[arg-type]
        self._framing = FRAMINGS[framing]

    def read(self, frame: Frame, faces: list[Detection]) -> NDArray[np.float32]:
        image = frame.image
        boxes = [(f.box.x, f.box.y, f.box.width, f.box.height) for f in faces]
        crops = [
            crop(plane(image, 0), box, face.eyes, self._framing, is_full_range(image))
            for box, face in zip(boxes, faces, strict=True)
        ]
        return self.classifier.predict(np.stack(crops))

    def smooth(self, frame: Frame, tracks: list[Track]) -> None:
        if not tracks:
            return
        for track, row in zip(
            tracks, self.read(frame, [track.place for track in tracks]), strict=True
        ):
            shares = track.smoother.update(row, frame.pts_s, HALF_LIFE_S)
            best = int(shares.argmax())
            sure = shares[best] >= self.classifier.unknown_below
            track.label = LABELS[best] if sure else UNKNOWN


def frames_of(clip: Path) -> list[Frame]:
    source = VideoSource("bench", str(clip), live=False, stop=threading.Event())
    frames = list(source.frames())
    source.close()
    return frames


def find_all(frames: list[Frame], detector: Detector) -> list[list[Detection]]:
    scaler = DetectorScaler(480)
    found = []
    for frame in frames:
        small = scaler(frame.image)
        scale = frame.image.width / small.shape[1], frame.image.height / small.shape[0]
        found.append([one.scaled(*scale) for one in detector.detect(small)])
    return found


def walk(
    frames: list[Frame], found: list[list[Detection]], every: int, reader: Reader, carried: bool
) -> Shown:
    """What is shown with detection on every `every`-th frame."""
    tracker, shown = Tracker(TrackingSettings(half_life_s=HALF_LIFE_S)), Shown()
    for number, (frame, faces) in enumerate(zip(frames, found, strict=True)):
        looked = number % every == 0
        tracks = tracker.update(faces, frame.pts_s) if looked else tracker.carry(frame.pts_s)
        if looked or carried:
            reader.smooth(frame, tracks)
        shown.boxes.append([track.place.box for track in tracks])
        shown.labels.append([track.label or UNKNOWN for track in tracks])
    return shown


def still_boxes(frames: list[Frame], found: list[list[Detection]], every: int) -> list[list[Box]]:
    """Boxes that stay where they were found."""
    tracker, boxes = Tracker(TrackingSettings(half_life_s=HALF_LIFE_S)), []
    for number, (frame, faces) in enumerate(zip(frames, found, strict=True)):
        looked = number % every == 0
        tracks = tracker.update(faces, frame.pts_s) if looked else tracker.carry(frame.pts_s)
        boxes.append([track.detection.box for track in tracks])
    return boxes


def iou(one: Box, other: Box) -> float:
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    both = max(0.0, width) * max(0.0, height)
    return both / (one.width * one.height + other.width * other.height - both)


def fit(boxes: list[list[Box]], measure: list[list[Box]], every: int) -> list[float]:
    """IoU of each face of the measure with the best box, on the frames between."""
    return [
        max((iou(box, true) for box in boxes[number]), default=0.0)
        for number in range(len(measure))
        if number % every
        for true in measure[number]
    ]


def agree(shown: Shown, measure: Shown) -> list[bool]:
    """For each face of the measure, whether it is shown with the same label."""
    same = []
    for boxes, labels, trues, wanted in zip(
        shown.boxes, shown.labels, measure.boxes, measure.labels, strict=True
    ):
        for true, label in zip(trues, wanted, strict=True):
            near = [iou(box, true) for box in boxes]
            best = int(np.argmax(near)) if near else 0
            same.append(bool(near) and near[best] >= SAME and labels[best] == label)
    return same


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--clips", type=Path, default=VIDEO, help="a folder of clips")
    parser.add_argument("--backend", default="auto", help="of the detector")
    parser.add_argument("--tta", default="flip", choices=STATIC_TTA)
    options = parser.parse_args()
    choice = select.resolve(
        options.backend, range="full", min_score=0.5, models=MODELS, pull=False, log=print
    )
    detector = choice.make()
    reader = Reader(options.tta, detector.name)
    fits: dict[tuple[int, str], list[float]] = {}
    same: dict[tuple[int, str], list[bool]] = {}
    for clip in clips_in(options.clips):
        frames = frames_of(clip)
        found = find_all(frames, detector)
        measure = walk(frames, found, 1, reader, True)
        for every in EVERY:
            carried = walk(frames, found, every, reader, True)
            still = still_boxes(frames, found, every)
            fits.setdefault((every, "still"), []).extend(fit(still, measure.boxes, every))
            fits.setdefault((every, "moving"), []).extend(fit(carried.boxes, measure.boxes, every))
            only = walk(frames, found, every, reader, False)
            same.setdefault((every, "found"), []).extend(agree(only, measure))
            same.setdefault((every, "carried"), []).extend(agree(carried, measure))
    detector.close()
    print(f"{detector.name}, {len(same[EVERY[0], 'found'])} faces, {options.tta}")
    print("| every | IoU still | IoU moving | label, read when found | label, carried read too |")
    print("|---|---|---|---|---|")
    for every in EVERY:
        boxes = [f"{np.mean(fits[every, way]):.3f}" for way in ("still", "moving")]
        labels = [f"{np.mean(same[every, way]):.1%}" for way in ("found", "carried")]
        print(f"| {every} | {' | '.join([*boxes, *labels])} |")


if __name__ == "__main__":
    main()
