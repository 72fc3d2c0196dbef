"""One stream, from its mailbox to its writers: the only place that knows the order of the steps."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from daemon.backoff import GOOD_AFTER_S, Backoff, pause
from daemon.classify.batcher import Batcher
from daemon.classify.reader import Reader
from daemon.config.settings import Settings, StreamSettings
from daemon.draw.cover import cover
from daemon.draw.overlay import Overlay
from daemon.draw.slate import Slate
from daemon.errors import Reason
from daemon.frame import Frame, SmallLook
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.reading import FaceView, Reading
from daemon.redact import redact_text
from daemon.sinks.base import Outlet, Output
from daemon.track import Track, Tracker
from daemon.turns import Turn, Turns
from detectors.base import Box, Detection, Detector

log = logging.getLogger("affectd.stream")

POLL_S = 0.5

_TURNS = Turns(2)  # among the short steps of live streams


class Stream:
    """Detects, tracks, submits crops, covers, draws and hands out; one thread.

    Live: drawing never waits for the classifier; it shows each track's last smoothed reading.
    File (`keep_all`): every frame waits for its own readings, so two runs agree.

    With `privacy = "blur"` faces are covered before anything is drawn, and looked for on every
    frame, however busy the machine is. With `aggregate_only` nothing that comes out of here tells
    what a single face showed.

    A fault loses the frame at hand, counts it, and starts the stream anew after 1, 2, 4 .. 60 s;
    each kind of fault is logged once with its trace. With `once` the first one ends the stream,
    closes the mailbox and is kept in `error`.
    """

    def __init__(
        self,
        stream: StreamSettings,
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
        self.name = name = stream.name
        self.error: Exception | None = None
        self._settings = self._wanted = settings
        self._covers = stream.privacy == "blur"
        self._only_counts = stream.aggregate_only
        self._mailbox = mailbox
        self._make_detector = make_detector
        self._ladder = None if batcher is None or keep_all or self._covers else batcher.ladder
        self._reader: Reader | None = None
        if batcher is not None:
            self._reader = Reader(
                name,
                batcher,
                metrics,
                keep_all=keep_all,
                once=once,
                stop=stop,
                wake=mailbox.wake,
                clock=clock,
            )
        self._writers = writers
        self._keep_all = keep_all
        # A file's stream waits for its readings there, and would keep others from their turn.
        self._turn = Turn(None if keep_all else _TURNS)
        self._once = once
        self._metrics = metrics
        self._board = board
        self._stop = stop
        self._clock = clock
        self._beat = beat
        self._ended = ended
        self._publish = publish
        self._look = SmallLook(settings.detector.long_side_px)
        self._every = 0
        self._frames = 0
        self._fps = 0.0
        self._faults: set[str] = set()
        self._backoff = Backoff()
        self._failing = False
        self._slate = None if keep_all else Slate(name, clock=clock)
        self.forget()
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
            self._run()
        finally:
            self._mailbox.close()
        self._ended()  # One that dies is found by its silence.

    def _run(self) -> None:
        failed = False
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                if failed:
                    self._pause()
                    began_s = time.monotonic()
                if not self._stop.is_set():
                    self.run_once()
                return
            except Exception as error:  # noqa: BLE001 - one stream stops no other
                if self._once or self._stop.is_set():
                    self.error = error
                    return
                if time.monotonic() - began_s >= GOOD_AFTER_S:
                    self._backoff.reset()
                failed = True
                self._failed(error)

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
            if self._reader is not None:
                self._reader.stop()
            detector.close()

    def forget(self) -> None:
        """Start anew: what comes next has nothing to do with what was seen before."""
        if self._reader is not None:
            self._reader.forget()
        self._since_look = 0
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
        """No frame came: readings do not wait for one, and of a source that is down no face is in
        view."""
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
        # Without a turn: a detector may take all cores for itself, and gives them away once.
        found = self._find(frame, detector) if self._is_due(frame, tracker) else None
        with self._turn:
            readings = self._arrived(tracker)
            if found is None:
                with self._timed("track"):
                    tracks = tracker.carry(frame.pts_s)
            else:
                tracks, read = self._have_read(found, frame, detector, tracker)
                readings += read
            faces = [] if self._only_counts else [_view(track, frame.pts_s) for track in tracks]
            self._count(frame, tracks, faces)
            with self._timed("overlay"):
                if self._covers:
                    cover(frame.image, tracker.whereabouts(frame.pts_s), self._turn.sliced)
                self._overlay.draw(frame.image, faces, self._turn.sliced)
        return Output(frame, readings, faces)

    def _is_due(self, frame: Frame, tracker: Tracker) -> bool:
        """Whether faces are to be looked for: on every n-th frame, or after a gap."""
        every = 1 if self._covers else self._settings.detector.every
        if self._ladder is not None:
            every *= self._ladder.rung.thinning
        if every != self._every:
            self._every = every
            self._metrics.detect_every.labels(self.name).set(every)
            self._board.set_every(self.name, every)
        self._since_look += 1
        return self._since_look >= every or not tracker.can_carry(frame.pts_s)

    def _find(self, frame: Frame, detector: Detector) -> list[Detection]:
        """The faces in this frame, in its own pixels."""
        self._since_look = 0
        with self._timed("detect"):
            image = self._look(frame.image)
            fx, fy = frame.image.width / image.shape[1], frame.image.height / image.shape[0]
            seen = [detection.scaled(fx, fy) for detection in detector.detect(image)]
            return [detection for detection in seen if _has_area(detection)]

    def _have_read(
        self, found: list[Detection], frame: Frame, detector: Detector, tracker: Tracker
    ) -> tuple[list[Track], list[Reading]]:
        """Track the faces and have them read: only those that were found in this very frame, so
        that no reading is of a place where a face was merely expected."""
        with self._timed("track"):
            tracks = tracker.update(found, frame.pts_s)
            jobs = (
                []
                if self._reader is None
                else self._reader.jobs(frame, self._turn.sliced(tracks), detector.name)
            )
        if self._reader is None:
            return tracks, []
        return tracks, self._told(self._reader.ask(jobs, tracker, self._settings.expression))

    def _arrived(self, tracker: Tracker) -> list[Reading]:
        """The readings of what was submitted with earlier frames."""
        if self._reader is None:
            return []
        return self._told(self._reader.arrived(tracker, self._settings.expression))

    def _told(self, readings: list[Reading]) -> list[Reading]:
        """What of these, which are counted by now, leaves the stream."""
        return [] if self._only_counts else readings

    def _count(self, frame: Frame, tracks: Sequence[Track], faces: Sequence[FaceView]) -> None:
        """Metrics and the board: faces in view, frame rate, seconds that expressions were shown."""
        elapsed_s = 0.0 if self._last_pts_s is None else frame.pts_s - self._last_pts_s
        self._last_pts_s = frame.pts_s
        self._frames += 1
        if elapsed_s > 0.0:
            rate = 1.0 / elapsed_s
            self._fps = rate if self._fps == 0.0 else 0.9 * self._fps + 0.1 * rate
        self._metrics.faces.labels(self.name).set(len(tracks))
        for track in tracks:
            # Of the time since the frame before, and none for a face that is new.
            shown_s = max(0.0, min(track.shown_s, elapsed_s))
            if track.label is not None and shown_s > 0.0:
                self._metrics.face_seconds.labels(self.name, track.label).inc(shown_s)
        shown = None if self._only_counts else faces
        self._board.set_view(self.name, self._frames, self._fps, shown)

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
    return FaceView(track.id, _whole(track.place.box), track.label, track.probabilities, age_s)
