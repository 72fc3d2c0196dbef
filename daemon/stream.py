"""One stream, from its mailbox to its writers: the only place that knows the order of the steps."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import ClassifierError
from classifiers.expression.crop import FRAMINGS, crop
from daemon.backoff import GOOD_AFTER_S, Backoff, pause
from daemon.batcher import Batcher, Job, Result
from daemon.config.settings import Settings
from daemon.draw.overlay import Overlay
from daemon.errors import Reason
from daemon.frame import Frame, SmallLook, is_full_range, plane
from daemon.mailbox import Mailbox
from daemon.metrics import Metrics
from daemon.quality import assess, is_poor
from daemon.reading import UNKNOWN, FaceView, Quality, Reading
from daemon.redact import redact_text
from daemon.sinks.base import Outlet, Output
from daemon.slate import Slate
from daemon.status import Board
from daemon.track import Track, Tracker
from detectors.base import Box, Detection, Detector

log = logging.getLogger("affectd.stream")

INBOX = 1024  # results that wait for the next frame; the batcher's queue bounds them too
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class _Look:
    """What is known of a crop while it is being classified; holds no picture in memory."""

    seq: int
    pts_s: float
    captured_s: float
    frame_px: tuple[int, int]
    track: int
    box: Box
    quality: Quality


class Stream:
    """Detects, tracks, submits crops, draws and hands out; one thread.

    Live: drawing never waits for the classifier; it shows each track's last smoothed reading.
    File (`keep_all`): every frame waits for its own readings, so two runs agree.

    A fault loses the frame at hand, counts it, and starts the stream anew after 1, 2, 4 .. 60 s;
    each kind of fault is logged once with its trace. With `once` the first one ends the stream,
    closes the mailbox and is kept in `error`.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        mailbox: Mailbox[Frame],
        make_detector: Callable[[], Detector],
        batcher: Batcher | None,
        writers: Sequence[Outlet],
        *,
        keep_all: bool,
        once: bool = False,
        metrics: Metrics,
        board: Board,
        stop: threading.Event,
        clock: Callable[[], float] = time.time,
        beat: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
        publish: Callable[[Reading], None] = lambda reading: None,
    ) -> None:
        self.name = name
        self.error: Exception | None = None
        self._settings = self._wanted = settings
        self._mailbox = mailbox
        self._make_detector = make_detector
        self._batcher = batcher
        self._writers = writers
        self._keep_all = keep_all
        self._once = once
        self._metrics = metrics
        self._board = board
        self._stop = stop
        self._clock = clock
        self._beat = beat
        self._ended = ended
        self._publish = publish
        self._look = SmallLook(settings.detector.long_side_px)
        self._frames = 0
        self._fps = 0.0
        self._faults: set[str] = set()
        self._backoff = Backoff()
        self._failing = False
        self._slate = None if keep_all else Slate(name, clock=clock)
        self.forget()
        if batcher is not None:
            # From zero on, so that a rate over them is right at once.
            for label in (*batcher.classifier.labels, UNKNOWN):
                metrics.readings.labels(name, label)
                metrics.face_seconds.labels(name, label)
        self._thread = threading.Thread(target=self.run, name=f"stream {name}")

    def start(self) -> None:
        self._thread.start()

    def adopt(self, settings: Settings) -> None:
        """Follow other settings from the next frame on; tracks stay. From any thread."""
        self._wanted = settings

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def run(self) -> None:
        """Process frames until the mailbox closes; a fault restarts the stream, and no other."""
        try:
            while not self._stop.is_set():
                began_s = time.monotonic()
                try:
                    self.run_once()
                    return
                except Exception as error:  # noqa: BLE001 - one stream stops no other
                    if self._once or self._stop.is_set():
                        self.error = error
                        return
                    if time.monotonic() - began_s >= GOOD_AFTER_S:
                        self._backoff.reset()
                    self._failed(error)
                    self._pause()
        finally:
            self._mailbox.close()
            self._ended()

    def run_once(self) -> None:
        """Process frames until the mailbox is closed and empty. Raises whatever a step raises."""
        self.forget()
        tracking = self._settings.tracking
        tracker = Tracker(max_missing_s=tracking.max_missing_s, half_life_s=tracking.half_life_s)
        detector = self._make_detector()
        try:
            while not (self._stop.is_set() or self._mailbox.ended):
                frame = self._mailbox.get(POLL_S)
                self._beat()
                if frame is None:
                    self._idle(tracker)
                else:
                    self._give(frame, detector, tracker)
        finally:
            self._metrics.faces.labels(self.name).set(0)
            if self._batcher is not None:
                self._batcher.forget(self.name)
            detector.close()

    def forget(self) -> None:
        """Start anew: what comes next has nothing to do with what was seen before."""
        # A new inbox: results for the tracks of an earlier run reach only the old one.
        self._inbox: deque[Result] = deque(maxlen=INBOX)
        self._overlay = Overlay(self._settings.overlay)
        self._last_pts_s: float | None = None

    def _give(self, frame: Frame, detector: Detector, tracker: Tracker) -> None:
        """Take one frame through all steps and hand it out."""
        if self._settings is not self._wanted:
            self._follow(self._wanted, tracker)
        try:
            output = self.step(frame, detector, tracker)
        except Exception:
            self._metrics.dropped.labels(self.name, "stream", "error").inc()
            raise
        if self._failing:
            self._failing = False
            self._board.set_fault(self.name, None)
        for writer in self._writers:
            writer.put(output)
        if self._slate is not None:
            self._slate.saw(frame)
        for reading in output.readings:
            self._publish(reading)

    def _follow(self, settings: Settings, tracker: Tracker) -> None:
        self._settings = settings
        self._look = SmallLook(settings.detector.long_side_px)
        self._overlay = Overlay(settings.overlay)
        tracker.follow(settings.tracking.max_missing_s, settings.tracking.half_life_s)

    def _idle(self, tracker: Tracker) -> None:
        """No frame came: of a source that is down no face is in view, and what was read of its
        last frame goes out without another one."""
        if not self._board.is_live(self.name):
            self._metrics.faces.labels(self.name).set(0)
        if self._slate is not None and (readings := self._arrived(tracker)):
            output = self._slate.without_picture(readings)
            for writer in self._writers:
                if writer.takes == "readings":
                    writer.put(output)
            for reading in readings:
                self._publish(reading)
        self._stand_in()

    def _stand_in(self) -> None:
        """Give the sinks a slate where one is due, that their readers stay."""
        if self._slate is None:
            return
        if (output := self._slate.output(self._board.stream(self.name))) is not None:
            for writer in self._writers:
                writer.put(output)

    def _failed(self, error: Exception) -> None:
        """Say and count that the stream starts anew; the trace once for each place that fails."""
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = "" if place is None else f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}"
        kind = f"{type(error).__name__} {where}"
        text = redact_text(f"{type(error).__name__}: {error}")
        known = kind in self._faults
        self._faults.add(kind)
        log.log(
            logging.DEBUG if known else logging.ERROR,
            "stream %s: %s; it starts anew",
            self.name,
            text,
            exc_info=None if known else error,
        )
        self._failing = True
        self._board.set_fault(self.name, text)
        self._metrics.reconnects.labels(self.name, Reason.INTERNAL).inc()

    def _pause(self) -> None:
        """Wait before the next try."""

        def beat() -> None:
            self._beat()
            self._stand_in()

        pause(
            self._backoff.take_s(),
            wait=self._stop.wait,
            beat=beat,
            is_over=lambda: self._stop.is_set() or self._mailbox.ended,
        )

    def step(self, frame: Frame, detector: Detector, tracker: Tracker) -> Output:
        """Take one frame all the way: found, tracked, read, counted and drawn, in place."""
        readings = self._arrived(tracker)
        with self._timed("detect"):
            image = self._look(frame.image)
            fx, fy = frame.image.width / image.shape[1], frame.image.height / image.shape[0]
            seen = [detection.scaled(fx, fy) for detection in detector.detect(image)]
            found = [detection for detection in seen if _has_area(detection)]
        with self._timed("track"):
            tracks = tracker.update(found, frame.pts_s)
            jobs = [self._job(frame, track, detector.name) for track in tracks]
        readings += self._classify(jobs, tracker)
        faces = [_view(track, frame.pts_s) for track in tracks]
        self._count(frame, tracks, faces)
        with self._timed("overlay"):
            self._overlay.draw(frame.image, faces)
        return Output(frame, readings, faces)

    def _job(self, frame: Frame, track: Track, detector: str) -> Job:
        """The crop of one face, and how well it can be seen."""
        detection = track.detection
        box = detection.box
        luma = plane(frame.image, 0)
        framing = FRAMINGS[detector]
        corners = (box.x, box.y, box.width, box.height)
        face = crop(luma, corners, detection.eyes, framing, is_full_range(frame.image))
        quality = assess(luma, corners, detection.eyes, detection.nose, face)
        size_px = (frame.image.width, frame.image.height)
        look = _Look(frame.seq, frame.pts_s, frame.captured_s, size_px, track.id, box, quality)
        return Job(self.name, track.id, face, look, time.monotonic(), track.turn)

    def _classify(self, jobs: Sequence[Job], tracker: Tracker) -> list[Reading]:
        """Submit the crops; readings come back at once from a file, with later frames if live."""
        if self._batcher is None:
            return []
        if self._keep_all:
            results = self._batcher.classify(jobs)
            lost = any(result.probabilities is None for result in results)
            if lost and self._once and not self._stop.is_set():
                raise ClassifierError(f"{self.name}: the classifier failed; its log says why")
            return self._read(results, tracker)
        for job in jobs:
            self._batcher.submit(job, self._inbox.append)
        return []

    def _arrived(self, tracker: Tracker) -> list[Reading]:
        results = [self._inbox.popleft() for _ in range(len(self._inbox))]
        return self._read(results, tracker)

    def _read(self, results: Sequence[Result], tracker: Tracker) -> list[Reading]:
        """Smooth each result into its track; a result of a track that has ended is dropped."""
        readings = []
        for result in results:
            look = result.token
            assert isinstance(look, _Look)
            track = tracker.get(look.track)
            if track is None:
                self._metrics.dropped.labels(self.name, "classify", "track_ended").inc()
            elif result.probabilities is not None:
                readings.append(self._reading(look, track, result.probabilities))
        return readings

    def _reading(self, look: _Look, track: Track, probabilities: NDArray[np.float32]) -> Reading:
        assert self._batcher is not None
        classifier = self._batcher.classifier
        limits = self._settings.expression
        smooth = track.smoother.update(probabilities, look.pts_s)
        track.turn += 1
        shares = {name: float(p) for name, p in zip(classifier.labels, smooth, strict=True)}
        best = max(shares, key=lambda name: shares[name])
        poor = is_poor(look.quality, limits.min_face_px, limits.max_blur, limits.max_yaw_deg)
        floor = limits.unknown_below
        if floor is None:
            floor = classifier.unknown_below
        label = UNKNOWN if poor or shares[best] < floor else best
        track.label, track.probabilities, track.read_s = label, shares, look.pts_s
        self._metrics.readings.labels(self.name, label).inc()
        live = not self._keep_all
        # A clock that was set back makes nothing younger than new.
        age_s = max(0.0, self._clock() - look.captured_s)
        if live:
            self._metrics.reading_age_seconds.labels(self.name).observe(age_s)
        return Reading(
            stream=self.name,
            seq=look.seq,
            media_time_s=look.pts_s,
            captured_s=look.captured_s if live else None,
            track=look.track,
            box_px=_whole(look.box),
            frame_px=look.frame_px,
            label=label,
            probabilities=shares,
            quality=look.quality,
            crops=classifier.crops,
            weights=classifier.name,
            age_ms=1000.0 * age_s if live else None,
        )

    def _count(self, frame: Frame, tracks: Sequence[Track], faces: Sequence[FaceView]) -> None:
        """Metrics and the board: faces in view, frame rate, seconds that expressions were shown."""
        elapsed_s = 0.0 if self._last_pts_s is None else frame.pts_s - self._last_pts_s
        self._last_pts_s = frame.pts_s
        self._frames += 1
        if elapsed_s > 0.0:
            rate = 1.0 / elapsed_s
            self._fps = rate if self._fps == 0.0 else 0.9 * self._fps + 0.1 * rate
        self._metrics.faces.labels(self.name).set(len(faces))
        for track in tracks:
            # Of the time since the frame before, and none for a face that is new.
            shown_s = max(0.0, min(track.shown_s, elapsed_s))
            if track.label is not None and shown_s > 0.0:
                self._metrics.face_seconds.labels(self.name, track.label).inc(shown_s)
        self._board.set_view(self.name, self._frames, self._fps, faces)

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


def _whole(box: Box) -> tuple[int, int, int, int]:
    return round(box.x), round(box.y), round(box.width), round(box.height)


def _view(track: Track, now_s: float) -> FaceView:
    age_s = 0.0 if track.label is None else max(0.0, now_s - track.read_s)
    return FaceView(track.id, _whole(track.detection.box), track.label, track.probabilities, age_s)
