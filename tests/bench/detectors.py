"""How many of the faces in the shared clips each backend finds, and what a look costs.

    .venv/bin/python -m tests.bench.detectors            # the table of docs/detectors.md
    .venv/bin/python -m tests.bench.detectors --draw DIR # and pictures of what was found

What is there to find was written down by looking at the clips, not taken from a detector: for
each person the frames in which both eyes can be seen, and the way of the face's middle.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from daemon.frame import DetectorScaler
from detectors.base import Detection, Detector
from tests.bench.parts.arguments import parser_of
from tests.detectors.kinds import KINDS, build
from tests.shared import SHARED, VIDEO

# (frame, x, y): x and y as shares of the picture's width and height.
Stop = tuple[int, float, float]


@dataclass(frozen=True)
class Person:
    """A face on its way through a clip. From `faces_from` on, both its eyes can be seen.

    `reach` is the share of the picture's width within which a detection's middle is this face.
    """

    way: tuple[Stop, ...]
    reach: float
    faces_from: int = 0

    def at(self, frame: int) -> tuple[float, float]:
        frames, xs, ys = zip(*self.way, strict=True)
        return float(np.interp(frame, frames, xs)), float(np.interp(frame, frames, ys))


CLIPS: dict[str, tuple[Person, ...]] = {
    "two_people_head_pose.mp4": (
        Person(((0, 0.226, 0.38), (10, 0.18, 0.40), (20, 0.15, 0.42)), 0.07),
        Person(((0, 0.75, 0.33), (20, 0.69, 0.38)), 0.07),
    ),
    # Turned away by more than 45 degrees until frame 13: the far eye is behind the nose.
    "woman_head_pose.mp4": (
        Person(
            (
                (0, 0.425, 0.4),
                (12, 0.43, 0.4),
                (20, 0.475, 0.4),
                (28, 0.535, 0.42),
                (44, 0.46, 0.4),
            ),
            0.09,
            faces_from=13,
        ),
    ),
    "man_signing.mp4": (Person(((0, 0.49, 0.16),), 0.06),),
    "bbaf2n.mpg": (Person(((0, 0.44, 0.58),), 0.12),),
    "lbax4n.mpg": (Person(((0, 0.52, 0.55),), 0.12),),
    "sbia1a.mpg": (Person(((0, 0.50, 0.57),), 0.12),),
    "two_people_walking.mp4": (
        Person(
            (
                *((0, 0.574, 0.465), (20, 0.526, 0.48), (40, 0.469, 0.48)),
                *((60, 0.405, 0.47), (72, 0.367, 0.47)),
            ),
            0.035,
        ),
        Person(((0, 0.692, 0.41), (20, 0.663, 0.41), (40, 0.635, 0.4), (72, 0.628, 0.39)), 0.035),
    ),
}
FAR = "two_people_walking.mp4"


@dataclass
class Tally:
    """Counts over one clip. A frame counts as found when at least one of its faces was."""

    frames: int = 0
    frames_found: int = 0
    faces: int = 0
    faces_found: int = 0
    elsewhere: int = 0


def tally(detector: Detector, clip: Path, long_side_px: int, took_ms: list[float]) -> Tally:
    """Run the detector over every frame of a clip; the cost of each look goes to `took_ms`.

    The cost is processor time, summed over threads: it does not depend on what else runs.
    """
    count = Tally()
    people = CLIPS[clip.name]
    for number, image in enumerate(pictures(clip, long_side_px)):
        started_s = time.process_time()
        found = detector.detect(image)
        took_ms.append((time.process_time() - started_s) * 1000)
        whose = [person_at(detection, people, number, image.shape) for detection in found]
        facing = [i for i, person in enumerate(people) if number >= person.faces_from]
        count.elsewhere += whose.count(None)
        count.faces += len(facing)
        count.faces_found += sum(i in whose for i in facing)
        count.frames += bool(facing)
        count.frames_found += any(i in whose for i in facing)
    return count


def pictures(clip: Path, long_side_px: int) -> Iterator[np.ndarray]:
    scaler = DetectorScaler(long_side_px)
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            yield scaler(frame)


def person_at(
    detection: Detection, people: Sequence[Person], frame: int, shape: tuple[int, ...]
) -> int | None:
    """Whose face it is: the index of the person within whose reach its middle lies."""
    height, width = shape[:2]
    box = detection.box
    x, y = box.x + box.width / 2, box.y + box.height / 2
    for index, person in enumerate(people):
        at_x, at_y = person.at(frame)
        if np.hypot(x - at_x * width, y - at_y * height) <= person.reach * width:
            return index
    return None


def draw(detector: Detector, clip: Path, long_side_px: int, kind: str, folder: Path) -> None:
    """Write three frames of a clip side by side, with what was found and what was to be found."""
    images = list(pictures(clip, long_side_px))
    drawn = []
    for number in (0, len(images) // 2, len(images) - 1):
        image = np.ascontiguousarray(images[number][..., ::-1])
        height, width = image.shape[:2]
        for person in CLIPS[clip.name]:
            x, y = person.at(number)
            at = round(x * width), round(y * height)
            cv2.circle(image, at, round(person.reach * width), (0, 255, 255), 1)
        for face in detector.detect(images[number]):
            box = face.box
            corner = round(box.x), round(box.y)
            other = round(box.x + box.width), round(box.y + box.height)
            cv2.rectangle(image, corner, other, (0, 255, 0), 1)
            cv2.putText(image, f"{face.score:.2f}", corner, 0, 0.4, (0, 255, 0))
            for x, y in (*(face.eyes or ()), *((face.nose,) if face.nose else ())):
                cv2.circle(image, (round(x), round(y)), 1, (0, 0, 255), -1)
        drawn.append(image)
    name = f"{clip.stem}-{kind.replace(' ', '-')}-{long_side_px}.png"
    cv2.imwrite(str(folder / name), np.hstack(drawn))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--sides", nargs="+", type=int, default=[320, 480, 640])
    parser.add_argument("--min-score", type=float, default=0.5)
    parser.add_argument("--draw", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"the clips are not at {SHARED}; set AFFECTD_SHARED")
    clips = [VIDEO / name for name in CLIPS]
    near = [clip.stem for clip in clips if clip.name != FAR]
    show("| backend | long side | near frames | near faces | far frames | far faces |", end="")
    show(" elsewhere | CPU ms a frame |")
    show("|---|---|---|---|---|---|---|---|")
    for kind in arguments.kinds:
        for side_px in arguments.sides:
            detector = build(kind, arguments.min_score)
            took_ms: list[float] = []
            counts = {clip.stem: tally(detector, clip, side_px, took_ms) for clip in clips}
            if arguments.draw:
                arguments.draw.mkdir(parents=True, exist_ok=True)
                for clip in clips:
                    draw(detector, clip, side_px, kind, arguments.draw)
            detector.close()
            total = [sum_of(counts, near), counts[Path(FAR).stem]]
            cells = [cell for count in total for cell in shares(count)]
            elsewhere = sum(count.elsewhere for count in counts.values())
            show(f"| {kind} | {side_px} | {' | '.join(cells)} | {elsewhere} |", end="")
            show(f" {statistics.median(took_ms):.1f} |")
            for clip_name, count in counts.items():
                frames, faces = shares(count)
                show(
                    f"  {clip_name}: frames {frames}, faces {faces}, {count.elsewhere} elsewhere",
                    err=True,
                )


def sum_of(counts: dict[str, Tally], names: Sequence[str]) -> Tally:
    chosen = [counts[name] for name in names]
    return Tally(
        frames=sum(count.frames for count in chosen),
        frames_found=sum(count.frames_found for count in chosen),
        faces=sum(count.faces for count in chosen),
        faces_found=sum(count.faces_found for count in chosen),
    )


def shares(count: Tally) -> tuple[str, str]:
    return (
        f"{100 * count.frames_found / count.frames:.0f} %",
        f"{100 * count.faces_found / count.faces:.0f} %",
    )


def show(text: str, end: str = "\n", err: bool = False) -> None:
    (sys.stderr if err else sys.stdout).write(text + end)


if __name__ == "__main__":
    main()
