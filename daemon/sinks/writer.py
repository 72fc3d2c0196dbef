"""One thread per sink, so that no sink ever holds up its stream or another sink."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic

from daemon.backoff import FIRST_DELAY_S, GOOD_AFTER_S, Backoff
from daemon.errors import Reason, SinkError
from daemon.monitoring.metrics import Metrics
from daemon.sinks.backlog import Backlog, backlog_for
from daemon.sinks.base import Item, Sink, Takes
from daemon.worker import Worker

log = logging.getLogger("affectd.sink")

HUNG_S = 20.0
_POLL_S = 0.2


class Writer(Worker, Generic[Item]):
    """Hands outputs or packets to a sink on a thread of its own.

    The queue is bounded (backlog.py). When it is full, live mode drops the oldest item; with
    `keep_all`, `put` waits for room instead. Every loss is counted under the stage `sink_LABEL`.

    A sink that fails is closed, counted and tried again after 1, 2, 4 … 60 s. The same reason is
    logged again, and the delay reset, only after the sink has written without a fault for
    `GOOD_AFTER_S` plus `holds_s`, the time for which it may buffer items. Until then it shows as
    down (with readings or news: until the next write without a fault). While it is down, the queue
    drops items in both modes.
    With `retry=False` the first failure ends the writer: `put` raises it, and it is in `error`.
    A sink whose write has not returned for `hung_s` (a network disk that does not answer) counts as
    failed too, until the write returns: no stream waits for it for ever.

    `label` is the sink's name in metrics and logs (`make.sink_labels`). `on_state` is called when
    the sink goes up, and, with the reason, when it goes down.
    """

    def __init__(
        self,
        sink: Sink[Item],
        stream: str,
        label: str,
        *,
        keep_all: bool,
        metrics: Metrics,
        stop: threading.Event,
        retry: bool = True,
        clock: Callable[[], float] = time.time,
        on_state: Callable[[bool, Reason | None, str | None], None] = lambda *state: None,
        first_delay_s: float = FIRST_DELAY_S,
        hung_s: float = HUNG_S,
        holds_s: float = 0.0,
    ) -> None:
        super().__init__(f"sink {stream} {label}")
        self.label = label
        self.error: Exception | None = None
        self._sink: Sink[Item] = sink
        self._stream = stream
        self._keep_all = keep_all
        self._metrics = metrics
        self._up_gauge = metrics.sink_up.labels(stream, label)
        self._stop = stop
        self._retry = retry
        self._clock = clock
        self._on_state = on_state
        self._hung_s = hung_s
        self._good_after_s = GOOD_AFTER_S + holds_s
        self._is_up = False
        self._backoff = Backoff(first_delay_s)
        self._wrote_s: float | None = None  # the first write since the sink was last opened
        self._reported: Reason | None = None
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._backlog: Backlog[Item] = backlog_for(sink.takes, self._lose)
        self._fault: Exception | None = None
        self._busy_s: float | None = None  # Since when the sink has been writing.
        self._down = False
        self._hangs = False
        self._closing = False
        self._refusing = False
        self._count_drops("slow", 0)
        self._up_gauge.set(0)

    @property
    def takes(self) -> Takes:
        return self._sink.takes

    @property
    def wants(self) -> bool:
        """Whether what is put would be written now."""
        return self._sink.wanted and not self._down and self._fault is None

    def put(self, item: Item) -> None:
        """As `offer`. Raises the sink's error if `retry` is off."""
        self.check()
        self.offer(item)
        self.check()

    def check(self) -> None:
        """Raise the sink's error if `retry` is off and there is one."""
        if self.error is not None:
            raise self.error

    def offer(self, item: Item) -> None:
        """Queue one item.

        Live: never waits. With `keep_all` it waits for room, at most until the writer closes,
        its sink fails or hangs, or `stop` is set.
        """
        with self._changed:
            self._look_for_hang()
            while self._must_wait():
                self._changed.wait(_POLL_S)
                self._look_for_hang()
            # Once refused, always refused: a file must not go on after a gap.
            self._refusing |= self._closing or (self._stop.is_set() and self._backlog.is_full)
            if self._refusing or self.error is not None:
                self._count_drops("stopping", self._backlog.worth(item))
                return
            self._backlog.put(item)
            self._changed.notify_all()

    def missed(self, reason: str | None = None) -> None:
        """A picture was dropped before it got here: a loss if the sink wanted it. A sink that wants
        none and has no fault counts as up."""
        with self._changed:
            if self._sink.wanted:
                self._lose(1, reason)
            elif not (self._down or self._fault):
                self._came_up()

    def fail(self, error: Exception) -> None:
        """Let the sink fail with `error` when it has written what is queued."""
        with self._changed:
            if not self._down:
                self._fault = error
                self._changed.notify_all()

    def end(self) -> None:
        """Ask the thread to write what is queued, finish the sink, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self, timeout_s: float) -> bool:
        """As `end`, and wait for it. False if time ran out.

        Safe to call twice. Look at `error` afterwards if `retry` is off.
        """
        self.end()
        if not self.join(timeout_s):
            log.warning("%s: sink %s did not end in %g s", self._stream, self.label, timeout_s)
            return False
        return True

    def run(self) -> None:
        while True:
            last_try = self._closing or not self._retry
            self._wrote_s = None
            try:
                self._run_once()
                if self._wrote_s is not None:
                    self._came_up()  # Its file is complete, however recent the last fault.
                break
            except Exception as error:  # noqa: BLE001  # Where every fault of a sink ends.
                self._report(error)
                if last_try:
                    self._end(error)
                    break
                self._wait_down()
        self._up_gauge.set(0)

    def _run_once(self) -> None:
        """Write until the writer closes and nothing is left. Raises what the sink raises."""
        try:
            while (item := self._take()) is not None:
                self._write(item)
        except BaseException:
            # The error being raised says more than one of closing the sink after it.
            with suppress(SinkError):
                self._sink.close()
            raise
        self._sink.close()

    def _write(self, item: Item) -> None:
        began_s = time.perf_counter()
        try:
            written = self._sink.write(item)
        except Exception as error:
            with self._changed:
                self._busy_s, self._hangs, self._down = None, False, True
                # After a bug (no SinkError), the same readings would fail again.
                self._backlog.failed(item, again=isinstance(error, SinkError))
            raise
        with self._changed:
            if self._hangs:
                self._hangs = self._down = False
            self._busy_s = None
        if written and self._wrote_s is None:
            self._wrote_s = time.monotonic()
        good_s = -1.0 if self._wrote_s is None else time.monotonic() - self._wrote_s
        if self._reported and good_s >= self._good_after_s:
            log.info("%s: sink %s works again", self._stream, self.label)
            self._reported = None
            self._backoff.reset()
        # A full disk may still take a recording's header, and fail at its first fragment: one write
        # proves nothing. But a reading is written at once, and the next may be long in coming.
        if not self._reported or self.takes in ("readings", "news"):
            self._came_up()
        if not written or item.slate:
            return
        if self.takes == "pictures":
            took_s = time.perf_counter() - began_s
            self._metrics.stage_seconds.labels(self._stream, "encode").observe(took_s)
        age_s = max(0.0, self._clock() - item.captured_s)
        self._metrics.frame_age_seconds.labels(self._stream, self.label).observe(age_s)

    def _take(self) -> Item | None:
        """Wait for the next item; None at the end. Raises the error given to `fail` when nothing
        is left."""
        with self._changed:
            while (item := self._backlog.take()) is None:
                fault, self._fault = self._fault, None
                if fault is not None:
                    self._down = True
                    raise fault
                if self._closing:
                    return None
                self._changed.wait()
            self._busy_s = time.monotonic()
            self._changed.notify_all()
            return item

    def _must_wait(self) -> bool:
        full = self._keep_all and self._backlog.is_full
        held = self._down or self._closing or self._stop.is_set() or self.error is not None
        return full and not held

    def _look_for_hang(self) -> None:
        busy_s = 0.0 if self._busy_s is None else time.monotonic() - self._busy_s
        if self._retry and not self._down and busy_s > self._hung_s:
            self._down = self._hangs = True
            text = (
                f"{self.label} sink: it has not come back for {self._hung_s:g} s: "
                "a disk, network disk or server that does not answer?"
            )
            self._report(SinkError(Reason.TIMEOUT, text))

    def _wait_down(self) -> None:
        """Wait until the next try is due, or the writer closes."""
        with self._changed:
            self._down = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, self._backoff.take_s())
            self._backlog.comes_back()
            self._down = False

    def _end(self, error: Exception) -> None:
        with self._changed:
            self._down = True
            if not self._retry:
                self.error = error
            self._backlog.clear()
            self._changed.notify_all()

    def _report(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, SinkError) else Reason.INTERNAL
        self._metrics.sink_errors.labels(self._stream, self.label, reason).inc()
        self._up_gauge.set(0)
        self._is_up = False
        what = "" if isinstance(error, SinkError) else f"{type(error).__name__}: "
        self._on_state(False, reason, f"{what}{error}")
        if self._retry and reason != self._reported:
            trace = error if reason == Reason.INTERNAL else None
            log.error("%s: %s; trying again until it works", self._stream, error, exc_info=trace)
            self._reported = reason

    def _came_up(self) -> None:
        self._up_gauge.set(1)
        if not self._is_up:
            self._is_up = True
            self._on_state(True, None, None)

    def _lose(self, count: int, reason: str | None = None) -> None:
        is_down = self._down or self._fault is not None
        self._count_drops(reason or ("down" if is_down else "slow"), count)

    def _count_drops(self, reason: str, count: int) -> None:
        stage = f"sink_{self.label}"
        self._metrics.dropped.labels(self._stream, stage, reason).inc(count)
