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

# Since when each is counted would be a quarter of what Prometheus fetches, and nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of docs/monitoring.md; every attribute is one of them, labels in that order.

    Use a fresh `CollectorRegistry` per daemon and per test.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)  # among its metrics is when affectd was started
        stream = ["stream"]
        self.build_info = Info(
            "affectd_build",
            "Version of affectd, torch, device, engine, weights and detector.",
            registry=registry,
        )
        self.stream_up = Gauge(
            "affectd_stream_up", "1 while the stream delivers frames.", stream, registry=registry
        )
        self.stream_state = Gauge(
            "affectd_stream_state",
            "1 for the state that the stream is in: connecting, live, stalled, down or ended.",
            ["stream", "state"],
            registry=registry,
        )
        self.stream_since = Gauge(
            "affectd_stream_state_since_timestamp_seconds",
            "Unix time at which the stream entered its state.",
            stream,
            registry=registry,
        )
        self.last_frame = Gauge(
            "affectd_stream_last_frame_timestamp_seconds",
            "Unix time at which the last frame was decoded.",
            stream,
            registry=registry,
        )
        self.behind = Gauge(
            "affectd_stream_behind_seconds",
            "How long a camera's pictures have waited to be decoded.",
            stream,
            registry=registry,
        )
        self.frames = Counter("affectd_frames_total", "Frames decoded.", stream, registry=registry)
        self.dropped = Counter(
            "affectd_frames_dropped_total",
            "Frames or crops given up, by the stage that gave them up.",
            ["stream", "stage", "reason"],
            registry=registry,
        )
        self.reconnects = Counter(
            "affectd_stream_reconnects_total",
            "Times a source was opened again, or with internal the stream begun anew.",
            ["stream", "reason"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "affectd_stage_seconds",
            "Time that one frame spends in a stage.",
            ["stream", "stage"],
            buckets=_FAST_S,
            registry=registry,
        )
        self.classify_seconds = Histogram(
            "affectd_classify_seconds",
            "Time to classify one batch.",
            ["model"],
            buckets=_BATCH_S,
            registry=registry,
        )
        self.batch_crops = Histogram(
            "affectd_batch_crops", "Faces in a batch.", ["model"], buckets=_CROPS, registry=registry
        )
        self.batch_wait_seconds = Histogram(
            "affectd_batch_wait_seconds",
            "Time that a face waits for its batch to close.",
            ["model"],
            buckets=_BATCH_S,
            registry=registry,
        )
        self.frame_age_seconds = Histogram(
            "affectd_frame_age_seconds",
            "Age of a frame, from capture to sink.",
            ["stream", "sink"],
            buckets=_AGE_S,
            registry=registry,
        )
        self.faces = Gauge("affectd_faces", "Faces in view.", stream, registry=registry)
        self.readings = Counter(
            "affectd_readings_total",
            "Readings, by the label that was given.",
            ["stream", "expression"],
            registry=registry,
        )
        self.reading_age_seconds = Histogram(
            "affectd_reading_age_seconds",
            "Age of a live stream's reading when it is there, from capture.",
            stream,
            buckets=_AGE_S,
            registry=registry,
        )
        self.face_seconds = Counter(
            "affectd_expression_face_seconds_total",
            "Seconds that faces showed an expression, summed over faces.",
            ["stream", "expression"],
            registry=registry,
        )
        self.reload_ok = Gauge(
            "affectd_config_last_reload_successful",
            "1 if the configuration that was read last is the one in use.",
            registry=registry,
        )
        self.reload_at = Gauge(
            "affectd_config_last_reload_success_timestamp_seconds",
            "Unix time at which the configuration in use was read.",
            registry=registry,
        )
        self.tta_crops = Gauge(
            "affectd_tta_crops", "Crops per face at test time.", ["model"], registry=registry
        )
        self.detect_every = Gauge(
            "affectd_detect_every_frames",
            "Faces are read, and unless covered looked for, on one of so many frames.",
            stream,
            registry=registry,
        )
        self.load_steps = Counter(
            "affectd_load_steps_total",
            "Times that faces got less work because readings came late (down), or more again (up).",
            ["direction"],
            registry=registry,
        )
        for direction in ("down", "up"):
            self.load_steps.labels(direction)
        self.sink_up = Gauge(
            "affectd_sink_up",
            "1 while the sink takes output.",
            ["stream", "sink"],
            registry=registry,
        )
        self.sink_errors = Counter(
            "affectd_sink_errors_total",
            "Failures of a sink.",
            ["stream", "sink", "reason"],
            registry=registry,
        )

    def watch(self, stream: str, board: Board) -> None:
        """Let the stream's state be what the board shows whenever somebody looks."""

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
        """Make the stream's series appear at zero, so that a rate over them is right at once."""
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
        for metric in vars(self).values():
            if isinstance(metric, MetricWrapperBase) and "sink" in metric._labelnames:
                metric.remove_by_labels({"stream": stream, "sink": sink})

    def remove_stream(self, stream: str) -> None:
        """Make every series of the stream disappear."""
        for metric in vars(self).values():
            if isinstance(metric, MetricWrapperBase) and "stream" in metric._labelnames:
                metric.remove_by_labels({"stream": stream})
