"""One stream, from its mailbox to its writers, and what becomes of it when a step fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from daemon.backoff import GOOD_AFTER_S, Backoff, pause
from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings, StreamSettings
from daemon.draw.slate import Slate, no_picture
from daemon.errors import Reason
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row
from daemon.reading import Reading
from daemon.redact import redact_text
from daemon.sinks.base import Outlet
from daemon.steps import Steps
from daemon.traces import Traces
from daemon.worker import Worker
from detectors.base import Detector

log = logging.getLogger("affectd.stream")

POLL_S = 0.5


class Stream(Worker):
    """Takes each frame through its steps and hands it out; one thread.

    At a fault the frame at hand is dropped and counted, and the stream restarts after 1, 2, 4 ..
    60 s; `Traces` decides which faults are logged as errors. With `offline` the first fault ends
    the stream, closes the mailbox and is kept in `error`.
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
        offline: bool = False,
        metrics: Metrics,
        row: Row,
        stop: threading.Event,
        beat: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
        publish: Callable[[Reading], None] = lambda reading: None,
    ) -> None:
        super().__init__(f"stream {stream.name}")
        self.name = stream.name
        self._stream = stream
        self.error: Exception | None = None
        self._settings = settings
        self._mailbox = mailbox
        self._make_detector = make_detector
        self._batcher = batcher
        self._writers = writers
        self._offline = offline
        self._metrics = metrics
        self._row = row
        self._stop = stop
        self._beat = beat
        self._ended = ended
        self._publish = publish
        self._traces = Traces()
        self._backoff = Backoff()
        self._failing = False
        self._slate = Slate(self.name) if stream.is_live else None

    def follow(self, settings: Settings) -> None:
        """Use these settings from the next frame on; tracks stay. Thread-safe."""
        self._settings = settings

    def run(self) -> None:
        """Process frames until the mailbox closes; a fault restarts the stream, and no other."""
        try:
            self._run()
        finally:
            self._mailbox.close()
        # Not in `finally`: a thread that dies of a bug stays watched, and the watchdog notices.
        self._ended()

    def _run(self) -> None:
        delay_s = 0.0
        while not self._stop.is_set():
            began_s = time.monotonic() + delay_s
            try:
                self._pause(delay_s)
                if not (self._stop.is_set() or self._mailbox.ended):
                    self.run_once()
                return
            except Exception as error:  # noqa: BLE001 - one stream stops no other
                if self._offline or self._stop.is_set():
                    self.error = error
                    return
                if time.monotonic() - began_s >= GOOD_AFTER_S:
                    self._backoff.reset()
                delay_s = self._backoff.take_s()
                self._failed(error)

    def run_once(self) -> None:
        """Process frames until the mailbox is closed and empty. Raises whatever a step raises."""
        detector = self._make_detector()
        steps = Steps(
            self._stream,
            self._settings,
            detector,
            self._batcher,
            offline=self._offline,
            metrics=self._metrics,
            row=self._row,
            stop=self._stop,
            wake=self._mailbox.wake,
            beat=self._beat,
        )
        try:
            while not (self._stop.is_set() or self._mailbox.ended):
                frame = self._mailbox.get(POLL_S)
                self._beat()
                if frame is None:
                    self._idle(steps)
                else:
                    self._give(frame, steps)
        finally:
            steps.stop()
            detector.close()

    def _give(self, frame: Frame, steps: Steps) -> None:
        """Take one frame through all steps and hand it out."""
        if steps.settings is not self._settings:
            steps.follow(self._settings)
        try:
            output = steps.take(frame)
        except Exception:
            self._metrics.dropped.labels(self.name, "stream", "error").inc()
            raise
        if self._failing:
            self._failing = False
            self._row.set_fault(None)
        for writer in self._writers:
            writer.put(output)
        if self._slate is not None:
            self._slate.saw(frame)
        self._tell(output.readings)

    def _idle(self, steps: Steps) -> None:
        """No frame came: hand out the readings that have arrived, and count no face in view while
        the source is down."""
        is_there = self._row.is_delivering()
        if not is_there:
            steps.clear_faces()
        if self._slate is not None and not self._slate.is_blank:
            readings = steps.arrived()
            output = self._slate.without_picture(readings, steps.faces() if is_there else None)
            for writer in self._writers:
                if writer.takes == "news" or (readings and writer.takes == "readings"):
                    writer.put(output)
            self._tell(readings)
        self._stand_in()

    def _tell(self, readings: Sequence[Reading]) -> None:
        # Once stopped, a newer stream of the same name may already be there.
        if not self._stop.is_set():
            for reading in readings:
                self._publish(reading)

    def _stand_in(self) -> None:
        """Give the sinks a slate where one is due, so that their viewers stay. Where there is none
        to show, as for a file, tell the sinks that publish states that the source is down."""
        status = self._row.status()
        if self._slate is not None and (output := self._slate.output(status)) is not None:
            for writer in self._writers:
                writer.put(output)
        elif status.state in ("down", "stalled") and (self._slate is None or self._slate.is_blank):
            for writer in self._writers:
                if writer.takes == "news":
                    writer.put(no_picture(self.name))

    def _failed(self, error: Exception) -> None:
        """Log, show and count that the stream restarts."""
        text = redact_text(f"{type(error).__name__}: {error}")
        self._traces.log(log, error, "stream %s: %s; it starts anew", self.name, text)
        self._failing = True
        self._row.set_fault(text)
        self._metrics.reconnects.labels(self.name, Reason.INTERNAL).inc()

    def _pause(self, delay_s: float) -> None:
        """Wait before a try."""

        def beat() -> None:
            self._beat()
            self._stand_in()

        pause(
            delay_s,
            wait=self._stop.wait,
            beat=beat,
            is_over=lambda: self._stop.is_set() or self._mailbox.ended,
        )
