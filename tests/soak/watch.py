"""What a running affectd says of itself, and what the kernel says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.affectd import Daemon

_READ = ("affectd_frames_", "affectd_stream_", "affectd_sink_errors_total")


@dataclass(frozen=True, slots=True)
class Sample:
    """The process at one moment. `at_s` counts from the begin of the soak."""

    at_s: float
    rss_mb: float
    threads: int
    fds: int


def sample(pid: int, at_s: float) -> Sample:
    """Read /proc; fds are what is open, sockets and files alike."""
    folder = Path("/proc") / str(pid)
    lines = (folder / "status").read_text().splitlines()
    status = {key: rest.split() for key, _, rest in (line.partition(":") for line in lines)}
    return Sample(
        round(at_s, 2),
        int(status["VmRSS"][0]) / 1024,
        int(status["Threads"][0]),
        len(list((folder / "fd").iterdir())),
    )


@dataclass
class View:
    """Metrics and states of all streams at one moment."""

    frames: dict[str, int]
    damaged: dict[str, int]
    reconnects: dict[str, dict[str, int]]
    states: dict[str, str]
    sink_failures: dict[str, int]


def look(daemon: Daemon) -> View:
    """Scrape it once."""
    view = View({}, {}, {}, {}, {})
    lines = daemon.get("/metrics").text.splitlines(keepends=True)
    # The rest is long, and reading it takes time from what is watched.
    text = "".join(line for line in lines if line.startswith(_READ))
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            stream = one.labels.get("stream", "")
            if one.name == "affectd_frames_total":
                view.frames[stream] = int(one.value)
            elif one.name == "affectd_frames_dropped_total":
                if (one.labels["stage"], one.labels["reason"]) == ("decode", "damaged"):
                    view.damaged[stream] = int(one.value)
            elif one.name == "affectd_stream_reconnects_total":
                counts = view.reconnects.setdefault(stream, {})
                counts[one.labels["reason"]] = int(one.value)
            elif one.name == "affectd_sink_errors_total" and one.value:
                view.sink_failures[" ".join(one.labels.values())] = int(one.value)
            elif one.name == "affectd_stream_state" and one.value == 1.0:
                view.states[stream] = one.labels["state"]
    return view
