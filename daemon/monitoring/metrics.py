"""Everything that affectd counts, on one registry. Labels come from the configuration only."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

from daemon.errors import SINK_REASONS, STREAM_REASONS
from daemon.monitoring.status import STATES, Board, State

STAGES = ("decode", "detect", "track", "overlay", "encode")
_FAST_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_BATCH_S = (*_FAST_S, 2.0, 5.0, 10.0)
_AGE_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
_CROPS = (1, 2, 4, 8, 16, 32, 64, 128)
# Why crops are dropped when the classifier cannot keep up.
_SLOW_CLASSIFIER = ("superseded", "queue_full", "too_old")

# The _created series would be a quarter of what Prometheus fetches, and nobody reads them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of docs/monitoring.md; each is an attribute, its labels in that order.

    Use a fresh `CollectorRegistry` per daemon and per test.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)  # exports when affectd was started, among others
        gauge = partial(Gauge, registry=registry)
        counter = partial(Counter, registry=registry)
        histogram = partial(Histogram, registry=registry)
        stream = ["stream"]
        self.build_info = Info(
            "affectd_build",
            "Version of affectd, torch, device, engine, weights and detector.",
            registry=registry,
        )
        self.stream_up = gauge("affectd_stream_up", "1 while the stream delivers frames.", stream)
        self.stream_state = gauge(
            "affectd_stream_state",
            "1 for the state that the stream is in: connecting, live, stalled, down or ended.",
            ["stream", "state"],
        )
        self.stream_since = gauge(
            "affectd_stream_state_since_timestamp_seconds",
            "Unix time at which the stream entered its state.",
            stream,
        )
        self.last_frame = gauge(
            "affectd_stream_last_frame_timestamp_seconds",
            "Unix time at which the last frame was decoded.",
            stream,
        )
        self.behind = gauge(
            "affectd_stream_behind_seconds",
            "How long a camera's pictures have waited to be decoded.",
            stream,
        )
        self.frames = counter("affectd_frames_total", "Frames decoded.", stream)
        self.dropped = counter(
            "affectd_frames_dropped_total",
            "Frames or crops given up, by the stage that gave them up.",
            ["stream", "stage", "reason"],
        )
        self.reconnects = counter(
            "affectd_stream_reconnects_total",
            "Times a source was opened again, or with internal the stream begun anew.",
            ["stream", "reason"],
        )
        self.stage_seconds = histogram(
            "affectd_stage_seconds",
            "Time that one frame spends in a stage.",
            ["stream", "stage"],
            buckets=_FAST_S,
        )
        self.classify_seconds = histogram(
            "affectd_classify_seconds", "Time to classify one batch.", ["model"], buckets=_BATCH_S
        )
        self.batch_crops = histogram(
            "affectd_batch_crops", "Faces in a batch.", ["model"], buckets=_CROPS
        )
        self.batch_wait_seconds = histogram(
            "affectd_batch_wait_seconds",
            "Time that a face waits for its batch to close.",
            ["model"],
            buckets=_BATCH_S,
        )
        self.frame_age_seconds = histogram(
            "affectd_frame_age_seconds",
            "Age of a frame, from capture to sink.",
            ["stream", "sink"],
            buckets=_AGE_S,
        )
        self.faces = gauge("affectd_faces", "Faces in view.", stream)
        self.readings = counter(
            "affectd_readings_total",
            "Readings, by the label that was given.",
            ["stream", "expression"],
        )
        self.reading_age_seconds = histogram(
            "affectd_reading_age_seconds",
            "Age of a live stream's reading when it arrives, from capture.",
            stream,
            buckets=_AGE_S,
        )
        self.face_seconds = counter(
            "affectd_expression_face_seconds_total",
            "Seconds that faces showed an expression, summed over faces.",
            ["stream", "expression"],
        )
        self.reload_ok = gauge(
            "affectd_config_last_reload_successful",
            "1 if the configuration that was read last is the one in use.",
        )
        self.reload_at = gauge(
            "affectd_config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration in use was read.",
        )
        self.tta_crops = gauge("affectd_tta_crops", "Crops per face at test time.", ["model"])
        self.detect_every = gauge(
            "affectd_detect_every_frames",
            "Faces are read, and looked for unless they are covered, on one of so many frames.",
            stream,
        )
        self.load_steps = counter(
            "affectd_load_steps_total",
            "Times that faces got less work because readings came late (down), or more again (up).",
            ["direction"],
        )
        for direction in ("down", "up"):
            self.load_steps.labels(direction)
        self.sink_up = gauge(
            "affectd_sink_up", "1 while the sink takes output.", ["stream", "sink"]
        )
        self.sink_errors = counter(
            "affectd_sink_errors_total", "Failures of a sink.", ["stream", "sink", "reason"]
        )

    def watch(self, stream: str, board: Board) -> None:
        """Export the stream's state as the board shows it at each scrape."""

        def is_in(state: State) -> float:
            status = board.stream(stream)
            return float(status is not None and status.state == state)

        def since_s() -> float:
            status = board.stream(stream)
            return 0.0 if status is None else status.since_s

        self.stream_up.labels(stream).set_function(partial(is_in, "live"))
        for state in STATES:
            self.stream_state.labels(stream, state).set_function(partial(is_in, state))
        self.stream_since.labels(stream).set_function(since_s)

    def add_stream(self, stream: str, sinks: Iterable[str]) -> None:
        """Make the stream's series appear at zero, so that the first rate over them is right."""
        self.faces.labels(stream).set(0)
        self.detect_every.labels(stream).set(1)
        self.behind.labels(stream).set(0)
        self.frames.labels(stream)
        self.reading_age_seconds.labels(stream)
        for stage in STAGES:
            self.stage_seconds.labels(stream, stage)
        for reason in _SLOW_CLASSIFIER:
            self.dropped.labels(stream, "classify", reason)
        for reason in STREAM_REASONS:
            self.reconnects.labels(stream, reason)
        for sink in sinks:
            self.sink_up.labels(stream, sink).set(0)
            self.frame_age_seconds.labels(stream, sink)
            kind = sink.partition("-")[0]
            for reason in SINK_REASONS[kind]:
                self.sink_errors.labels(stream, sink, reason)

    def remove_sink(self, stream: str, sink: str) -> None:
        """Make every series of one of the stream's sinks disappear."""
        self.dropped.remove_by_labels({"stream": stream, "stage": f"sink_{sink}"})
        self._remove(stream=stream, sink=sink)

    def remove_stream(self, stream: str) -> None:
        """Make every series of the stream disappear."""
        self._remove(stream=stream)

    def _remove(self, **labels: str) -> None:
        for metric in vars(self).values():
            if isinstance(metric, MetricWrapperBase) and labels.keys() <= {*metric._labelnames}:
                metric.remove_by_labels(labels)
