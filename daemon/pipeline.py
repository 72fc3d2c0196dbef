"""One stream, whole: capture, mailbox, stream thread and writers, started and ended in order."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from daemon.capture import Capture, beat_limit_s, mailbox_for
from daemon.config.settings import Settings, StreamSettings
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.reading import Reading
from daemon.sinks.base import Outlet
from daemon.sinks.encode.shared import SharedEncoder
from daemon.sinks.make import group_by_encoding, holds_s, hung_s, make_sink, sink_labels
from daemon.sinks.shown import Shown
from daemon.sinks.writer import Writer
from daemon.stream import Stream

log = logging.getLogger("affectd.sink")

STREAM_LIMIT_S = 60.0  # a healthy stream beats at least twice a second
CLOSE_S = 5.0  # for all threads of a stream together to end
LATE_S = 0.5  # what each sink still gets after that
JOIN_S = 2.0  # of CLOSE_S, for source and stream each
FINISH_S = 600.0  # for each sink at the end of a file, while nobody stops the stream


@dataclass(frozen=True)
class Shared:
    """What all pipelines have in common. `publish` is called with each reading."""

    models: Models
    metrics: Metrics = field(default_factory=lambda: Metrics(CollectorRegistry()))
    board: Board = field(default_factory=lambda: Board(time.time))
    health: Health = field(default_factory=lambda: Health(time.monotonic))
    shown: Shown = field(default_factory=Shown)
    publish: Callable[[Reading], None] = lambda reading: None


class Pipeline:
    """From source to sinks for one `[[stream]]`.

    At the end of a file the sinks finish their files by themselves. With `offline`, as in
    `affectd video`, the first fault ends the stream, and the pipeline's owner calls `finish`.
    `more_outlets` get what the sinks get, in the stream's own thread.
    """

    def __init__(
        self,
        stream: StreamSettings,
        settings: Settings,
        shared: Shared,
        *,
        stop: threading.Event,
        offline: bool = False,
        more_outlets: Sequence[Outlet] = (),
    ) -> None:
        live = stream.is_live
        labels = sink_labels(stream.sink)
        metrics, board, health = shared.metrics, shared.board, shared.health
        # Half the stall time-out, so that a stall is shown before the source is opened again.
        quiet_s = stream.stall_timeout_s / 2 if live else math.inf
        self._row = board.add(stream.name, labels, quiet_s, only_counts=stream.aggregate_only)
        metrics.add_stream(stream.name, labels)
        metrics.watch(stream.name, board)
        self.name = stream.name
        self.sinks = labels
        self.holds = stream.holds
        self.stop = stop
        self._offline = offline
        self._stream_loop = health.loop(f"stream {stream.name}", STREAM_LIMIT_S)
        self._capture_loop = health.loop(f"capture {stream.name}", beat_limit_s(stream))
        self.mailbox = mailbox_for(stream, metrics)
        self.capture = Capture(
            stream,
            self.mailbox,
            metrics,
            self._row,
            stop=stop,
            offline=offline,
            beat=self._capture_loop,
            ended=self._capture_loop.end,
        )
        shared.shown.begin(stream)
        self.writers: list[Writer[Any]] = [
            Writer(
                make_sink(sink, stream.name, shared.shown),
                stream.name,
                label,
                keep_all=not live,
                metrics=metrics,
                stop=stop,
                retry=not offline,
                on_state=partial(self._row.set_sink, label),
                hung_s=hung_s(sink, live=live),
                holds_s=holds_s(sink),
            )
            for sink, label in zip(stream.sink, labels, strict=True)
        ]
        self.encoders = [
            SharedEncoder(
                list(group.values()),
                [self.writers[at] for at in group],
                stream.name,
                live=live,
                metrics=metrics,
                stop=stop,
                on_encoder=partial(self._on_encoder, [labels[at] for at in group]),
            )
            for group in group_by_encoding(stream.sink)
        ]
        outlets: list[Outlet] = [writer for writer in self.writers if writer.takes != "packets"]
        self.stream = Stream(
            stream,
            settings,
            self.mailbox,
            shared.models.detector.make,
            shared.models.batcher,
            [*self.encoders, *outlets, *more_outlets],
            offline=offline,
            metrics=metrics,
            row=self._row,
            stop=stop,
            beat=self._stream_loop,
            ended=self._at_end,
            publish=shared.publish,
        )

    def _on_encoder(self, labels: Sequence[str], encoder: str) -> None:
        """Log and show which encoder these sinks got."""
        log.info("%s: %s encoded with %s", self.name, " + ".join(labels), encoder)
        for label in labels:
            self._row.set_encoder(label, encoder)

    def start(self) -> None:
        for part in self.sink_threads:
            part.start()
        self.stream.start()
        self.capture.start()

    @property
    def sink_threads(self) -> list[SharedEncoder | Writer[Any]]:
        """In the order in which they end: writers last, so that all packets are written."""
        return [*self.encoders, *self.writers]

    @property
    def running(self) -> bool:
        """Whether frames may still come out of the stream."""
        return self.stream.running

    def _at_end(self) -> None:
        """The stream's thread ends; if its source ended it, finish the sinks, unless `offline`."""
        self._stream_loop.end()
        if not (self._offline or self.stop.is_set()):
            # A daemon thread: the process does not wait for what hangs.
            threading.Thread(target=self.finish, name=f"finish {self.name}", daemon=True).start()

    def finish(self) -> None:
        """Let every sink write what it was given and finish its file; the source has ended."""
        for encoder in self.encoders:
            encoder.close(FINISH_S)
        for writer in self.writers:
            if writer.close(FINISH_S):
                self._row.end_sink(writer.label)

    def close(self) -> None:
        """Join every thread and finish every sink, and warn of those that hang. Call it after
        `stop` was set or the source has ended."""
        end_s = time.monotonic() + CLOSE_S
        self.mailbox.close()
        for thread, what in ((self.capture, "the source"), (self.stream, "the stream")):
            if not thread.join(JOIN_S):
                log.warning("%s: %s did not end in %g s", self.name, what, JOIN_S)
        for parts in (self.encoders, self.writers):  # Writers last: all packets are written.
            for part in parts:
                part.end()  # In parallel: one that hangs takes no time from others.
            for part in parts:
                part.close(max(LATE_S, end_s - time.monotonic()))
        for loop in (self._stream_loop, self._capture_loop):
            loop.end()  # The watchdog need not watch what still hangs.

    def join(self) -> None:
        """After `close`: wait, however long, until every thread has ended."""
        self.capture.join()
        self.stream.join()
        for part in self.sink_threads:
            part.join()

    @property
    def error(self) -> Exception | None:
        """The first fault of a pipeline that was made with `offline`."""
        faults = [self.capture.error, *(writer.error for writer in self.writers), self.stream.error]
        return next((fault for fault in faults if fault is not None), None)
