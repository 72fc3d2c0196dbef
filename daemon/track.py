"""Which face is which from frame to frame, and what its readings say over time. Per stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from daemon.config.settings import TrackingSettings
from detectors.base import Box, Detection

LEAST_S = 0.01  # sightings closer in time than this weigh less in the speed
REACH = 1.0  # face sizes that a face may move from where it was expected
LEAST_P = 1e-6  # keeps one certain look from outweighing all others
COAST_S = 0.3  # a missing face is expected to keep its speed for this long
# Face sizes: a match further away may be another person, so the old place stays covered too.
STRAY = 0.3


@dataclass(slots=True)
class Smoother:
    """Exponential average of log-probabilities by elapsed time, so frame rate plays no part.

    The average in log space is the geometric mean of the looks, normalised: one doubtful look
    pulls less than a certain one.
    """

    at_s: float = -math.inf
    _mean_log: NDArray[np.float64] | None = None

    def update(
        self, probabilities: NDArray[np.float32], at_s: float, half_life_s: float
    ) -> NDArray[np.float64]:
        """Take in the probabilities of a look at `at_s`, float32 [K]; returns the smoothed ones,
        float64 [K], summing to 1.

        Earlier looks lose half their weight in every `half_life_s`; if that is 0, all of it.
        """
        log_p = np.log(np.maximum(probabilities.astype(np.float64), LEAST_P))
        if self._mean_log is None or half_life_s <= 0.0:
            self._mean_log = log_p
        else:
            kept = 0.5 ** (max(0.0, at_s - self.at_s) / half_life_s)
            self._mean_log = kept * self._mean_log + (1.0 - kept) * log_p
        self.at_s = max(self.at_s, at_s)
        smooth: NDArray[np.float64] = np.exp(self._mean_log - self._mean_log.max())
        smooth /= smooth.sum()
        return smooth


@dataclass(slots=True)
class Track:
    """One face over time. `detection` is where it was found last, `place` where it is taken to be
    in the newest frame. `speed` is in pixels a second, of the box's centre; `gap_s` is the time
    from the previous detection to the newest frame, 0 for a new face; `reading_count` is how many
    readings its average holds."""

    id: int
    detection: Detection
    seen_s: float
    smoother: Smoother = field(default_factory=Smoother)
    speed: tuple[float, float] = (0.0, 0.0)
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    read_s: float = -math.inf
    reading_count: int = 0
    gap_s: float = 0.0
    place: Detection = field(init=False)

    def __post_init__(self) -> None:
        self.place = self.detection

    def see(self, detection: Detection, now_s: float) -> None:
        elapsed_s = now_s - self.seen_s
        if elapsed_s > 0.0:
            (x0, y0), (x1, y1) = _centre(self.detection.box), _centre(detection.box)
            fresh = ((x1 - x0) / elapsed_s, (y1 - y0) / elapsed_s)
            share = 0.5 * min(1.0, elapsed_s / LEAST_S)
            vx, vy = self.speed
            self.speed = (vx + share * (fresh[0] - vx), vy + share * (fresh[1] - vy))
        self.detection = self.place = detection
        self.gap_s = elapsed_s
        self.seen_s = now_s

    def expected(self, now_s: float) -> Detection:
        """Where the face should be: it keeps its speed for `COAST_S`, then stands still."""
        elapsed_s = min(COAST_S, now_s - self.seen_s)
        return self.detection.moved(self.speed[0] * elapsed_s, self.speed[1] * elapsed_s)

    def whereabouts(self, now_s: float) -> Box:
        """A box around all places where the face may be, at its last speed since it was found."""
        elapsed_s = now_s - self.seen_s
        gone = self.detection.moved(self.speed[0] * elapsed_s, self.speed[1] * elapsed_s)
        return _hull(self.detection.box, gone.box)


class Tracker:
    """Assigns detections to tracks by expected place and size (Hungarian method).

    Ids count from 1 and are never used again. A track that was not seen for `max_missing_s`,
    or for two frames where those come more slowly, ends. No appearance is compared: affectd
    keeps no face embedding. New `settings` hold from the next frame on; the tracks stay.
    """

    def __init__(self, settings: TrackingSettings) -> None:
        self.settings = settings
        self._tracks: dict[int, Track] = {}
        self._next_id = 1
        self._strays: list[tuple[float, Box]] = []
        self._last_s: float | None = None
        self._interval_s = 0.0

    def update(self, detections: Sequence[Detection], now_s: float) -> list[Track]:
        """Take in a frame's detections; returns the tracks seen in it, in order of id."""
        # Where frames come slowly, a face that was in the frame before is not missing.
        limit_s = max(self.settings.max_missing_s, 2.0 * self._interval_s)
        self._interval_s = 0.0 if self._last_s is None else now_s - self._last_s
        self._last_s = now_s
        for track in list(self._tracks.values()):
            if now_s - track.seen_s > limit_s:
                del self._tracks[track.id]
        self._strays = [(left_s, box) for left_s, box in self._strays if now_s - left_s <= limit_s]
        old = list(self._tracks.values())
        free = set(range(len(detections)))
        if old and detections:
            cost = _distances(old, detections, now_s)
            # All pairs beyond reach cost the same: else two impossible pairs that are a little
            # nearer would outweigh a good one.
            reached = np.minimum(cost, REACH)
            for row, column in zip(*linear_sum_assignment(reached), strict=True):
                if cost[row, column] < REACH:
                    if cost[row, column] > STRAY:
                        self._strays.append((now_s, old[row].whereabouts(now_s)))
                    old[row].see(detections[column], now_s)
                    free.discard(int(column))
        for index in sorted(free):
            track = Track(self._next_id, detections[index], now_s)
            self._tracks[track.id] = track
            self._next_id += 1
        return [track for track in self._tracks.values() if track.seen_s == now_s]

    def can_carry(self, now_s: float) -> bool:
        """Whether faces were looked for so recently that their tracks may be carried."""
        if self._last_s is None:
            return False
        return 0.0 <= now_s - self._last_s <= self.settings.max_missing_s

    def carry(self, now_s: float) -> list[Track]:
        """The tracks of a frame in which no faces were looked for: those that were seen when they
        were looked for last, each in the place where it should be by now."""
        carried = [track for track in self._tracks.values() if track.seen_s == self._last_s]
        for track in carried:
            track.place = track.expected(now_s)
            track.gap_s = now_s - track.seen_s
        return carried

    def whereabouts(self, now_s: float) -> list[Box]:
        """Where faces may be in the frame of the last `update`: those of every track that has not
        ended, found or missing, and those whose track may have gone to another face."""
        tracks = [track.whereabouts(now_s) for track in self._tracks.values()]
        return tracks + [box for _, box in self._strays]

    def scale(self, fx: float, fy: float) -> None:
        """Scale where each face was found, and its speed: the picture's size has changed. Its place
        follows with the next `update` or `carry`."""
        for track in self._tracks.values():
            track.detection = track.detection.scaled(fx, fy)
            track.speed = track.speed[0] * fx, track.speed[1] * fy
        self._strays = [(left_s, box.scaled(fx, fy)) for left_s, box in self._strays]

    def get(self, track_id: int) -> Track | None:
        """The track of that id, unless it has ended."""
        return self._tracks.get(track_id)


def _hull(one: Box, other: Box) -> Box:
    """The smallest box around both."""
    x, y = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    bottom = max(one.y + one.height, other.y + other.height)
    return Box(x, y, right - x, bottom - y)


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.width / 2, box.y + box.height / 2


def _distances(
    tracks: Sequence[Track], detections: Sequence[Detection], now_s: float
) -> NDArray[np.float64]:
    """How far each detection is from where each track should be, in face sizes, plus the change of
    size: float64 [tracks, detections]."""
    there = _places([track.expected(now_s).box for track in tracks])[:, None]
    here = _places([detection.box for detection in detections])[None, :]
    size, other = there[..., 2], here[..., 2]
    apart = np.hypot(here[..., 0] - there[..., 0], here[..., 1] - there[..., 1])
    distances: NDArray[np.float64] = apart / ((size + other) / 2) + np.abs(np.log(other / size))
    return distances


def _places(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """Centre x and y and size in pixels of each box: float64 [N, 3]."""
    rows = [(*_centre(box), max(1.0, math.sqrt(max(0.0, box.width * box.height)))) for box in boxes]
    return np.array(rows, np.float64)
