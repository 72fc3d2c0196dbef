"""The capture thread of a stream: opens the source, reads it, and opens it again when it fails."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from daemon.backoff import GOOD_AFTER_S, LONGEST_DELAY_S, Backoff, pause
from daemon.config.settings import StreamSettings
from daemon.errors import STALLS, Reason, SourceError
from daemon.frame import Frame
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Row, State
from daemon.redact import redact_text
from daemon.sources.base import Source, SourceCallbacks
from daemon.sources.frozen import Stillness
from daemon.sources.open import open_source
from daemon.traces import Traces
from daemon.url import webcam_path
from daemon.worker import Worker

log = logging.getLogger("affectd.capture")

JITTER = 0.2


class OpenSource(Protocol):
    def __call__(
        self, stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source: ...


def mailbox_for(stream: StreamSettings, metrics: Metrics) -> Mailbox[Frame]:
    """The mailbox that fits the stream's policy; replaced frames are counted."""
    dropped = metrics.dropped.labels(stream.name, "capture", "superseded")
    return Mailbox(keep_all=not stream.is_live, on_drop=dropped.inc)


def beat_limit_s(stream: StreamSettings) -> float:
    """Seconds that a capture thread may take from one beat to the next."""
    # Two time-outs while opening, one to find why that failed, and 30 s for a DNS server that
    # does not answer.
    return 3.0 * stream.stall_timeout_s + 30.0


class Capture(Worker):
    """Reads one source into one mailbox, in a thread of its own.

    `run` tries again after 1, 2, 4 .. 60 s, each shortened or lengthened by up to a fifth so
    that a rack of cameras does not reconnect all at once; the delay falls back to 1 s only after
    `GOOD_AFTER_S` of frames. A webcam that is missing is tried again when it is plugged in, or
    after 60 s. A file that was read to its end gets the state `ended` and closes the mailbox. So
    does one that breaks off after its first frames: reading it again would repeat them, which only
    `loop` asks for.

    With `offline` nothing is tried again: the mailbox closes, and `error` keeps what went wrong.
    Media time and sequence numbers go on over a reconnect.

    `error` is why the stream is down, None while frames come; `cut` is why a file ended too early,
    None where it did not. `beat` is called in each round of the thread's loop, at least every
    `beat_limit_s`; `ended` after the last round.
    """

    def __init__(
        self,
        stream: StreamSettings,
        mailbox: Mailbox[Frame],
        metrics: Metrics,
        row: Row,
        *,
        stop: threading.Event,
        offline: bool = False,
        open_source: OpenSource = open_source,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
        rng: random.Random | None = None,
        beat: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"capture {stream.name}")
        self.name = stream.name
        self.error: Exception | None = None
        self.cut: str | None = None
        self._stream = stream
        self._mailbox = mailbox
        self._metrics = metrics
        self._row = row
        self._stop = stop
        self._offline = offline
        self._open_source = open_source
        self._monotonic = monotonic
        self._wait = wait or stop.wait
        self._rng = rng or random.Random()
        self._beat = beat
        self._ended = ended
        self._live = stream.is_live
        self._backoff = Backoff()
        self._seq = 0
        self._pts_s = 0.0
        self._last_frame_s: float | None = None
        self._stillness = Stillness(stream.frozen_timeout_s if self._live else 0.0)
        self._traces = Traces(monotonic)
        self._last_log = ""

    def run(self) -> None:
        """Read until stopped, or until a file ends. Always leaves the mailbox closed."""
        try:
            self._run()
        finally:
            self._mailbox.close()
        # Not in `finally`: a thread that dies of a bug stays watched, and the watchdog notices.
        self._ended()

    def _run(self) -> None:
        while not self._stop.is_set():
            given = self._seq
            try:
                self.run_once()
            except SourceError as error:
                reason: Reason = error.reason
                self._down(reason, error)
            except Exception as error:  # noqa: BLE001 - one stream stops no other
                reason = Reason.INTERNAL
                self._down(reason, error)
            else:
                return
            if self._offline or self._stop.is_set():
                return
            if not (self._live or self._stream.loop) and self._seq > given:
                self._row.set_state("ended", reason, str(self.error))
                return
            self._pause(reason)
            if not self._stop.is_set():
                self._metrics.reconnects.labels(self.name, reason).inc()

    def run_once(self) -> None:
        """Open the source and read it until it ends or the stream stops. Raises SourceError, also
        at the end of a live source, but not at the end of a file."""
        self._beat()
        if self.error is None:
            self._row.set_state("connecting")
        source = self._open_source(self._stream, stop=self._stop, callbacks=self._callbacks())
        self._beat()
        try:
            if not self._stop.is_set():
                self._read(source)
        finally:
            source.close()
        if self._stop.is_set() or self._mailbox.closed:
            return
        if self._live:
            raise SourceError(Reason.END_OF_STREAM, "the source ended")
        self.cut = source.cut
        self._row.set_state("ended", None if self.cut is None else Reason.DECODE_ERROR, self.cut)
        log.info("stream %s: ended after %d frames", self.name, self._seq)

    def _read(self, source: Source) -> None:
        began_s: float | None = None
        shift_s = 0.0
        frames = self._metrics.frames.labels(self.name)
        for frame in source.frames():
            self._beat()
            if self._stop.is_set():
                return
            now_s = self._monotonic()
            if began_s is None:
                began_s = now_s
                shift_s = self._gap(now_s, frame.pts_s)
                self._stillness.begin(now_s)
                self._up()
            elif now_s - began_s >= GOOD_AFTER_S:
                self._backoff.reset()
            patience_s = self._stillness.patience_s
            if self._stillness.is_frozen(frame.image, now_s):
                raise SourceError(Reason.FROZEN, f"the same picture for {patience_s:g} s")
            frame = self._continued(frame, shift_s)
            self._last_frame_s = now_s
            frames.inc()
            self._row.frame_came()
            # Set only now: 0 would mean a frame of 1970.
            self._metrics.last_frame.labels(self.name).set(frame.captured_s)
            if not self._mailbox.put(frame, self._stop, self._beat):
                return

    def _gap(self, now_s: float, pts_s: float) -> float:
        """Seconds to add to a reopened source's media time, so that it includes the outage."""
        if self._last_frame_s is None:
            return 0.0
        return self._pts_s + max(now_s - self._last_frame_s, 0.001) - pts_s

    def _continued(self, frame: Frame, shift_s: float) -> Frame:
        if shift_s or frame.seq != self._seq:
            frame = replace(frame, seq=self._seq, pts_s=frame.pts_s + shift_s)
        self._seq += 1
        self._pts_s = frame.pts_s
        return frame

    def _callbacks(self) -> SourceCallbacks:
        return SourceCallbacks(
            on_decoded=self._metrics.stage_seconds.labels(self.name, "decode").observe,
            on_damaged=self._metrics.dropped.labels(self.name, "decode", "damaged").inc,
            on_superseded=self._metrics.dropped.labels(self.name, "decode", "superseded").inc,
            on_behind=self._metrics.behind.labels(self.name).set,
        )

    def _up(self) -> None:
        self._row.set_state("live")
        self._last_log = ""
        self.error = None
        log.info("stream %s: frames arrive", self.name)

    def _down(self, reason: Reason, error: Exception) -> None:
        """Set the state and log the fault; a repeated one is logged at debug level only."""
        self.error = error
        if self._stop.is_set():
            return  # The stream may be removed, or replaced by one of the same name.
        self._metrics.behind.labels(self.name).set(0)
        text = str(error)
        if reason is Reason.INTERNAL:
            text = redact_text(f"{type(error).__name__}: {error}")
        state: State = "stalled" if reason in STALLS else "down"
        self._row.set_state(state, reason, text)
        again = text == self._last_log
        self._last_log = text
        trace = reason is Reason.INTERNAL and self._traces.is_due(error)
        log.log(
            logging.DEBUG if again else logging.WARNING,
            "stream %s: %s (%s): %s",
            self.name,
            state,
            reason,
            text,
            exc_info=error if trace else None,
        )

    def _pause(self, reason: Reason) -> None:
        """Wait before the next try; for a missing webcam no longer than until it is plugged in:
        looking for it costs nothing, and whoever plugs it in may be waiting beside it."""
        url = self._stream.url.get_secret_value()
        missing = webcam_path(url) if reason is Reason.NOT_FOUND else None
        if missing is None:
            delay_s = self._backoff.take_s() * (1.0 + self._rng.uniform(-JITTER, JITTER))
        else:
            self._backoff.reset()  # What failed before it was unplugged may work now.
            # Then try anyway: it may have come back as another device, which the error names.
            delay_s = LONGEST_DELAY_S

        def is_over() -> bool:
            return self._stop.is_set() or (missing is not None and Path(missing).exists())

        pause(delay_s, wait=self._wait, beat=self._beat, is_over=is_over)
