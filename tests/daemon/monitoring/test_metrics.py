"""What counts from zero on: a rate over a series that is born at one would miss the first event."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from daemon.config import sink_settings
from daemon.errors import SINK_REASONS, STREAM_REASONS, Reason
from daemon.monitoring.metrics import Metrics

DAEMON = Path(__file__).resolve().parents[3] / "daemon"
KINDS = [
    get_args(kind.model_fields["kind"].annotation)[0]
    for kind in get_args(get_args(sink_settings.SinkSettings)[0])
]


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """By the values of all labels but the stream, in the order of their names."""
    values = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == name:
                labels = sorted(sample.labels.items())
                values[tuple(label for key, label in labels if key != "stream")] = sample.value
    return values


def test_every_kind_of_sink_and_every_reason_has_its_series_from_the_start() -> None:
    metrics = Metrics(CollectorRegistry())
    labels = [*KINDS, "mp4-2", "rtsp-13"]
    metrics.add_stream("lobby", labels)
    reconnects = samples(metrics, "affectd_stream_reconnects_total")
    assert reconnects == {(reason,): 0.0 for reason in STREAM_REASONS}
    errors = samples(metrics, "affectd_sink_errors_total")
    assert set(errors.values()) == {0.0}
    assert {sink for _, sink in errors} == set(labels)
    assert {reason for reason, sink in errors if sink == "mp4-2"} == set(SINK_REASONS["mp4"])
    # A stream with one of each: no more than this many, however long it runs.
    assert len(errors) == sum(map(len, SINK_REASONS.values())) + len(SINK_REASONS["mp4"]) + len(
        SINK_REASONS["rtsp"]
    )
    assert samples(metrics, "affectd_sink_up") == {(label,): 0.0 for label in labels}
    at_zero: dict[str, list[tuple[str, ...]]] = {
        "affectd_frames_total": [()],
        "affectd_frames_dropped_total": [
            (reason, "classify") for reason in ("superseded", "queue_full", "too_old")
        ],
        "affectd_stage_seconds_count": [
            (stage,) for stage in ("decode", "detect", "track", "overlay", "encode")
        ],
        "affectd_load_steps_total": [("down",), ("up",)],
    }
    for name, keys in at_zero.items():
        assert samples(metrics, name) == dict.fromkeys(keys, 0.0)
    metrics.dropped.labels("lobby", "sink_mp4-2", "superseded").inc()
    metrics.remove_sink("lobby", "mp4-2")
    assert ("superseded", "sink_mp4-2") not in samples(metrics, "affectd_frames_dropped_total")
    assert "mp4-2" not in {sink for _, sink in samples(metrics, "affectd_sink_errors_total")}
    metrics.remove_stream("lobby")
    assert samples(metrics, "affectd_sink_errors_total") == {}
    assert samples(metrics, "affectd_stream_reconnects_total") == {}


def test_faces_are_looked_for_on_every_frame_before_the_first() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.add_stream("lobby", [])
    assert samples(metrics, "affectd_detect_every_frames") == {(): 1.0}


def test_what_is_fetched_holds_no_series_beside_those_of_the_guide() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.add_stream("lobby", ["mp4"])
    assert "_created" not in generate_latest(metrics.registry).decode()


def test_the_process_says_since_when_it_runs() -> None:
    (started_s,) = samples(Metrics(CollectorRegistry()), "process_start_time_seconds").values()
    assert 0 < time.time() - started_s < 86400


def test_a_batch_of_seconds_is_told_from_one_of_a_second() -> None:
    metrics = Metrics(CollectorRegistry())
    for metric in (metrics.classify_seconds, metrics.batch_wait_seconds):
        metric.labels("vgg10").observe(2.4)
    for name in ("affectd_classify_seconds_bucket", "affectd_batch_wait_seconds_bucket"):
        buckets = samples(metrics, name)
        assert (buckets["2.0", "vgg10"], buckets["5.0", "vgg10"]) == (0.0, 1.0)


def named(*files: str) -> set[Reason]:
    """The reasons that these files of the daemon can give."""
    text = "\n".join((DAEMON / file).read_text(encoding="utf-8") for file in files)
    return {Reason[name] for name in re.findall(r"Reason\.([A-Z_]+)", text)}


def test_no_stream_fails_for_a_reason_that_is_not_counted_from_the_start() -> None:
    sources = [str(path.relative_to(DAEMON)) for path in (DAEMON / "sources").glob("*.py")]
    assert named("capture.py", "stream.py", "remote.py", *sources) == set(STREAM_REASONS)


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("events", "events.py disk.py"),
        ("mqtt", "mqtt.py broker.py"),
        ("mp4", "mp4.py encode/fragments.py segments.py disk.py base.py encode/shared.py"),
        ("mjpeg", "mjpeg.py base.py"),
        ("hls", "hls.py encode/fragments.py base.py encode/shared.py"),
        ("rtsp", "push.py publisher.py base.py encode/shared.py"),
    ],
)
def test_no_sink_fails_for_a_reason_that_is_not_counted_from_the_start(
    kind: str, files: str
) -> None:
    known = named("sinks/writer.py", *(f"sinks/{file}" for file in files.split()))
    if kind == "rtsp":
        known |= named("remote.py")
    assert known == set(SINK_REASONS[kind])
    assert SINK_REASONS["rtsp"] == SINK_REASONS["rtmp"] == SINK_REASONS["srt"]
