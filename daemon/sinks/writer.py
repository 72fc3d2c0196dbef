"""One thread per sink, so that no sink ever holds up its stream or another sink."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from daemon.backoff import FIRST_DELAY_S, GOOD_AFTER_S, Backoff
from daemon.errors import Reason, SinkError
from daemon.metrics import Metrics
from daemon.reading import Reading
from daemon.sinks.base import Output, Sink, Takes

log = logging.getLogger("affectd.sink")

QUEUE_FRAMES = 8
QUEUE_READINGS = 4096
_POLL_S = 0.2


class Writer:
    """Hands outputs to a sink on a thread of its own.

    The queue holds `QUEUE_FRAMES` outputs. When it is full, live mode gives up the oldest: a
    sink of pictures has dropped a frame; for a sink of readings they move on to the next output,
    and only beyond `QUEUE_READINGS` the oldest are dropped. With `keep_all`, `put` waits for room
    instead. Every drop is counted under the stage `sink_LABEL`.

    A sink that fails is closed, counted and tried again after 1, 2, 4 … 60 s; it is reported
    once until it has held for `GOOD_AFTER_S`. Meanwhile the queue drops as above, in both modes.
    With `retry=False` the first failure ends the writer: `put` raises it, and it is in `error`.

    `label` is the sink's name in metrics and logs (`make.sink_labels`), `takes` the sink's own.
    `note` hears whenever the sink goes up or down, and then why.
    """

    def __init__(
        self,
        sink: Sink,
        stream: str,
        label: str,
        *,
        keep_all: bool,
        metrics: Metrics,
        stop: threading.Event,
        retry: bool = True,
        clock: Callable[[], float] = time.time,
        note: Callable[[bool, Reason | None, str | None], None] = lambda up, reason, error: None,
        first_delay_s: float = FIRST_DELAY_S,
    ) -> None:
        self.label = label
        self.takes: Takes = sink.takes
        self.error: Exception | None = None
        self._sink = sink
        self._stream = stream
        self._keep_all = keep_all
        self._metrics = metrics
        self._stop = stop
        self._retry = retry
        self._clock = clock
        self._note = note
        self._is_up = False
        self._backoff = Backoff(first_delay_s)
        self._began_s = 0.0
        self._reported: Reason | None = None
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._queue: deque[Output] = deque()
        self._carried: deque[Reading] = deque()
        self._spare: Output | None = None
        self._down = False
        self._closing = False
        # A daemon thread: one that hangs in a dead network disk must not keep the process.
        name = f"sink {stream} {label}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._count_drops("slow", 0)
        self._set_up(False)

    def start(self) -> None:
        self._thread.start()

    def put(self, output: Output) -> None:
        """Queue one frame's output.

        Live: never waits. With `keep_all` it waits for room, at most until the writer closes,
        its sink fails, or `stop` is set. Raises the sink's error if `retry` is off.
        """
        with self._changed:
            while self._must_wait():
                self._changed.wait(_POLL_S)
            if self.error is not None:
                raise self.error
            if self._closing or (self._stop.is_set() and len(self._queue) >= QUEUE_FRAMES):
                self._give_up(output, "stopping")
                return
            if len(self._queue) >= QUEUE_FRAMES:
                self._drop_oldest("down" if self._down else "slow")
            self._queue.append(output)
            self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """Write what is queued, finish the sink, end the thread. False if time ran out.

        Safe to call twice. Look at `error` afterwards if `retry` is off.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s: sink %s did not end in %g s", self._stream, self.label, timeout_s)
            return False
        return True

    def join(self) -> None:
        """After `close`: wait, however long, until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            last_try = self._closing or not self._retry
            self._began_s = time.monotonic()
            try:
                self._run_once()
                break
            except Exception as error:  # noqa: BLE001  # Where every fault of a sink ends.
                self._report(error)
                if last_try:
                    self._end(error)
                    break
                self._wait_down()
        self._set_up(False)

    def _run_once(self) -> None:
        """Write until the writer closes and nothing is left. Raises what the sink raises."""
        try:
            while (output := self._take()) is not None:
                self._write(output)
        except BaseException:
            # The fault that is on its way says more than what closing after it could.
            with suppress(SinkError):
                self._sink.close()
            raise
        self._sink.close()

    def _write(self, output: Output) -> None:
        began_s = time.perf_counter()
        try:
            written = self._sink.write(output)
        except Exception as error:
            with self._changed:
                self._down = True
                # After a bug the same readings would only meet it again.
                if self.takes == "pictures" or not isinstance(error, SinkError):
                    self._give_up(output, "down")
                else:
                    self._carry(output, older=True)
            raise
        if self._reported and time.monotonic() - self._began_s >= GOOD_AFTER_S:
            log.info("%s: sink %s works again", self._stream, self.label)
            self._reported = None
            self._backoff.reset()
        self._set_up(True)
        if not self._is_up:
            self._is_up = True
            self._note(True, None, None)
        if not written or output.slate:
            return
        if self.takes == "pictures":
            took_s = time.perf_counter() - began_s
            self._metrics.stage_seconds.labels(self._stream, "encode").observe(took_s)
        age_s = max(0.0, self._clock() - output.frame.captured_s)
        self._metrics.frame_age_seconds.labels(self._stream, self.label).observe(age_s)

    def _take(self) -> Output | None:
        """The next output with all that was carried over to it; None at the end."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            output = self._queue.popleft() if self._queue else self._spare
            self._spare = None
            self._changed.notify_all()
            if output is not None and self._carried:
                output = replace(output, readings=(*self._carried, *output.readings))
                self._carried.clear()
            return output

    def _must_wait(self) -> bool:
        full = self._keep_all and len(self._queue) >= QUEUE_FRAMES
        held = self._down or self._closing or self._stop.is_set() or self.error is not None
        return full and not held

    def _drop_oldest(self, reason: str) -> None:
        oldest = self._queue.popleft()
        if self.takes == "pictures":
            self._give_up(oldest, reason)
        else:
            self._carry(oldest)

    def _carry(self, output: Output, *, older: bool = False) -> None:
        """Keep the readings of an output for the next one, or for itself if none follows."""
        self._spare = replace(output, readings=())
        if older:
            self._carried.extendleft(reversed(output.readings))
        else:
            self._carried.extend(output.readings)
        excess = max(0, len(self._carried) - QUEUE_READINGS)
        for _ in range(excess):
            self._carried.popleft()
        self._count_drops("down" if self._down else "slow", excess)

    def _give_up(self, output: Output, reason: str) -> None:
        self._count_drops(reason, 1 if self.takes == "pictures" else len(output.readings))

    def _wait_down(self) -> None:
        """Wait until the next try is due, or the writer closes."""
        with self._changed:
            self._down = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, self._backoff.take_s())
            self._down = False

    def _end(self, error: Exception) -> None:
        with self._changed:
            if not self._retry:
                self.error = error
            self._count_drops("down", len(self._carried))
            for output in self._queue:
                self._give_up(output, "down")
            self._queue.clear()
            self._carried.clear()
            self._spare = None
            self._changed.notify_all()

    def _report(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, SinkError) else Reason.INTERNAL
        self._metrics.sink_errors.labels(self._stream, self.label, reason).inc()
        self._set_up(False)
        self._is_up = False
        what = "" if isinstance(error, SinkError) else f"{type(error).__name__}: "
        self._note(False, reason, f"{what}{error}")
        if self._retry and reason != self._reported:
            trace = error if reason == Reason.INTERNAL else None
            log.error("%s: %s; trying again until it works", self._stream, error, exc_info=trace)
            self._reported = reason

    def _set_up(self, up: bool) -> None:
        self._metrics.sink_up.labels(self._stream, self.label).set(up)

    def _count_drops(self, reason: str, count: int) -> None:
        stage = f"sink_{self.label}"
        self._metrics.dropped.labels(self._stream, stage, reason).inc(count)
