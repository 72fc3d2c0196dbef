"""The way of a frame, from the detector to the drawn picture: the only place that knows the order
of the steps."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from daemon.classify.batcher import Batcher
from daemon.classify.reader import FaceReader
from daemon.config.settings import Settings, StreamSettings
from daemon.draw.cover import cover
from daemon.draw.overlay import Overlay
from daemon.frame import DetectorScaler, Frame
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from daemon.reading import UNKNOWN, FaceView, Reading
from daemon.sinks.base import Output
from daemon.track import Track, Tracker
from daemon.turns import Turn, Turns
from detectors.base import Detection, Detector

LONGEST_GAP_S = 1.0  # longest gap that the frame rate counts, or twice the average if longer
# A label counts as shown for this long after its reading, plus the time that the settings allow the
# next reading to take.
UNREAD_S = 10.0
_TURNS = Turns(2)  # live streams that may do their short steps at once


class Steps:
    """Finds and tracks the faces in one stream's frames, has them read, counts, covers and draws
    them, one frame after the other. Belongs to the stream's thread.

    Live: drawing never waits for the classifier; it shows each track's last smoothed reading, and
    `wake` is called when new readings arrive. File: every frame waits for its own readings, so two
    runs agree; `beat` is called meanwhile.

    With `privacy = "blur"` faces are covered before anything is drawn; they are looked for on every
    frame, however busy the machine is, and read on every n-th as usual. With `aggregate_only` no
    reading is handed out and no face is drawn. Nothing is covered or drawn where nobody takes the
    pictures: `shown` says whether somebody does; None: if a sink of the stream does.
    """

    def __init__(
        self,
        stream: StreamSettings,
        settings: Settings,
        detector: Detector,
        batcher: Batcher | None,
        *,
        offline: bool = False,
        shown: bool | None = None,
        metrics: Metrics,
        row: Row,
        stop: threading.Event,
        wake: Callable[[], None] = lambda: None,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = stream.name
        self._is_shown = stream.has_pictures if shown is None else shown
        self._covers = stream.privacy == "blur"
        self._only_counts = stream.aggregate_only
        self._detector = detector
        live = stream.is_live
        self._ladder = batcher.ladder if batcher is not None and live else None
        # The classifier's own limit, which a reload does not change.
        self._max_age_s = 0.0 if batcher is None else batcher.ladder.max_age_s
        self._tracker = Tracker(settings.tracking)
        self._reader: FaceReader | None = None
        if batcher is not None:
            self._reader = FaceReader(
                stream,
                settings.expression,
                batcher,
                self._tracker,
                metrics,
                offline=offline,
                stop=stop,
                wake=wake,
                beat=beat,
            )
        # A file's stream takes no turns: it would block the others while it waits for readings.
        self._turn = Turn(_TURNS if live else None)
        self._metrics = metrics
        self._row = row
        self._every = 0
        self._passed = 0  # frames since faces were looked for and read
        self._interval_s = 0.0
        self._size_px: tuple[int, int] | None = None
        self._last_pts_s: float | None = None
        self._in_view: tuple[list[Track], float] = [], 0.0  # in the last frame, and its media time
        self.follow(settings)

    def follow(self, settings: Settings) -> None:
        """Use these settings from now on; tracks stay."""
        self.settings = settings
        self._scaler = DetectorScaler(settings.detector.long_side_px)
        self._overlay = Overlay(settings.overlay)
        self._tracker.settings = settings.tracking
        if self._reader is not None:
            self._reader.limits = settings.expression
        # At most max_missing_s between two detections, and max_age_s until a crop is read.
        self._unread_s = UNREAD_S + settings.tracking.max_missing_s + self._max_age_s

    def stop(self) -> None:
        """Withdraw the crops that wait to be classified; no face is in view any more."""
        self.clear_faces()
        if self._reader is not None:
            self._reader.stop()

    def clear_faces(self) -> None:
        """Count no face in view: the source is down."""
        self._metrics.faces.labels(self.name).set(0)

    def take(self, frame: Frame) -> Output:
        """Take one frame all the way: find, track, read, count, cover and draw, in place."""
        self._fit(frame)
        self._keep_pace()
        due = self._is_due(frame)
        self._passed = 0 if due else self._passed + 1
        # Without a turn: a detector may use all cores by itself, and releases the GIL only once.
        found = self._find(frame) if due or self._covers else None
        with self._turn:
            readings = self.arrived()
            if found is None:
                with self._timed("track"):
                    tracks = self._tracker.carry(frame.pts_s)
            else:
                tracks, read = self._track_and_read(found, frame, due)
                readings += read
            self._in_view = tracks, frame.pts_s
            faces = self.faces()
            self._count(frame, tracks, faces)
            if self._is_shown:
                self._draw(frame, faces)
        return Output(frame, readings, faces=faces, looked=found is not None)

    def faces(self) -> list[FaceView]:
        """The faces in view in the last frame, with their newest readings."""
        tracks, pts_s = self._in_view
        return [] if self._only_counts else [_view(track, pts_s) for track in tracks]

    def _fit(self, frame: Frame) -> None:
        """Let the tracks follow a change of the picture's size."""
        size_px = frame.image.width, frame.image.height
        if self._size_px is not None and size_px != self._size_px:
            self._tracker.scale(size_px[0] / self._size_px[0], size_px[1] / self._size_px[1])
        self._size_px = size_px

    def _keep_pace(self) -> None:
        """Set on how many frames faces are looked for, by the settings and the machine's load."""
        every = self.settings.detector.every
        if self._ladder is not None:
            every *= self._ladder.rung.thinning
        if every != self._every:
            self._every = every
            self._metrics.detect_every.labels(self.name).set(every)
            self._row.set_every(every)

    def _is_due(self, frame: Frame) -> bool:
        """Whether faces are to be looked for and read: on every n-th frame, or after a gap."""
        return self._passed + 1 >= self._every or not self._tracker.can_carry(frame.pts_s)

    def _find(self, frame: Frame) -> list[Detection]:
        """The faces in this frame, in its own pixels."""
        with self._timed("detect"):
            image = self._scaler(frame.image)
            fx, fy = frame.image.width / image.shape[1], frame.image.height / image.shape[0]
            seen = [detection.scaled(fx, fy) for detection in self._detector.detect(image)]
            return [detection for detection in seen if _has_area(detection)]

    def arrived(self) -> list[Reading]:
        """The new readings of crops that were submitted with earlier frames."""
        if self._reader is None:
            return []
        return self._publishable(self._reader.arrived())

    def _track_and_read(
        self, found: list[Detection], frame: Frame, due: bool
    ) -> tuple[list[Track], list[Reading]]:
        """Track the faces and, if that is due, have them read: only those that were found in this
        very frame, so that no reading is of a place where a face was merely expected."""
        with self._timed("track"):
            tracks = self._tracker.update(found, frame.pts_s)
            if self._reader is None or not due:
                return tracks, []
            jobs = self._reader.jobs(frame, self._turn.sliced(tracks), self._detector)
        return tracks, self._publishable(self._reader.ask(jobs))

    def _publishable(self, readings: list[Reading]) -> list[Reading]:
        """Those of these readings, counted already, that may leave the stream."""
        return [] if self._only_counts else readings

    def _count(self, frame: Frame, tracks: Sequence[Track], faces: Sequence[FaceView]) -> None:
        """Metrics and the board: faces in view, frame rate, seconds that expressions were shown."""
        elapsed_s = 0.0 if self._last_pts_s is None else frame.pts_s - self._last_pts_s
        self._last_pts_s = frame.pts_s
        if elapsed_s > 0.0:
            # Intervals, not rates, are averaged: two frames at once would be a rate of hundreds.
            before_s = self._interval_s or elapsed_s
            # An outage says nothing of the frame rate.
            interval_s = min(elapsed_s, max(LONGEST_GAP_S, 2.0 * before_s))
            self._interval_s = 0.9 * before_s + 0.1 * interval_s
        self._metrics.faces.labels(self.name).set(len(tracks))
        for track in tracks:
            # Only time since the previous frame counts, and none for a new face.
            shown_s = max(0.0, min(track.gap_s, elapsed_s))
            if track.label is not None and shown_s > 0.0:
                # Age at the previous frame: a slow camera can have no newer reading by then.
                age_s = frame.pts_s - shown_s - track.read_s
                label = track.label if age_s <= self._unread_s else UNKNOWN
                self._metrics.face_seconds.labels(self.name, label).inc(shown_s)
        self._row.saw(1.0 / self._interval_s if self._interval_s else 0.0, faces)

    def _draw(self, frame: Frame, faces: Sequence[FaceView]) -> None:
        with self._timed("overlay"):
            if self._covers:
                places = self._tracker.whereabouts(frame.pts_s)
                cover(frame.image, places, self._turn.sliced)
            self._overlay.draw(frame.image, faces, self._turn.sliced)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        elapsed_s = time.perf_counter() - started_s
        self._metrics.stage_seconds.labels(self.name, stage).observe(elapsed_s)


def _has_area(detection: Detection) -> bool:
    box = detection.box
    finite = all(map(math.isfinite, (box.x, box.y, box.width, box.height)))
    return finite and box.width > 0.0 and box.height > 0.0


def _view(track: Track, now_s: float) -> FaceView:
    age_s = 0.0 if track.label is None else max(0.0, now_s - track.read_s)
    return FaceView(track.id, track.place.box.rounded(), track.label, track.probabilities, age_s)
