"""Two streams side by side, of which one is made to fail: what was found, counted and recovered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import av
import httpx
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from daemon.config.settings import (
    DaemonSettings,
    DetectorSettings,
    ExpressionSettings,
    Settings,
    StreamSettings,
)
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.errors import Reason
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, StreamStatus
from daemon.pipeline import Shared
from daemon.reading import Reading
from daemon.sinks.feed import Feed
from daemon.sinks.shown import Shown
from daemon.sources.video import VideoSource
from daemon.web.app import make_site
from daemon.web.server import WebServer
from detectors.base import Detection, Detector
from detectors.haar import Haar
from detectors.select import Choice
from tests.daemon.streams import value

STALL_S = 3.0
FROZEN_S = 4.0
BEFORE_S = 2.0  # for which the other stream's rate is measured before the fault
LIMIT_S = 90.0  # for whatever a loaded machine takes
TICK_S = 0.02
WEB_STOP_S = 60.0
PATIENT_S = 60.0  # of streams whose camera may pause because the machine is busy


@dataclass
class Outcome:
    """What a fault did. Times in seconds, None where it asks for no reconnect; `found_s` from the
    fault to its reason in the stream's state, `recovered_s` from the end of the fault to the next
    picture, its pause before the next try included. `counted` are reconnects by reason.
    `quiet_s` is the longest time without a picture of a stream that goes on."""

    fault: str
    found_s: float | None = None
    recovered_s: float | None = None
    quiet_s: float | None = None
    counted: dict[str, int] = field(default_factory=dict)
    damaged: int = 0
    last_error: str | None = None
    other_fps_before: float = 0.0
    other_fps_during: float = 0.0

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _Failing:
    """A detector that fails while `broken` is set."""

    def __init__(self, real: Detector, broken: threading.Event) -> None:
        self.name, self.description = real.name, real.description
        self._real, self._broken = real, broken

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        if self._broken.is_set():
            raise ZeroDivisionError("made to fail")
        return self._real.detect(image)

    def close(self) -> None:
        self._real.close()


def _breakable(broken: threading.Event) -> Choice:
    """Makes detectors of which that of the stream "cam" can be broken: a fake in so far as no real
    one fails and works again when it is told to."""

    def make() -> Detector:
        real = Haar()
        is_cam = threading.current_thread().name == "stream cam"
        return _Failing(real, broken) if is_cam else real

    return Choice("haar", "haar", None, make)


class Rig:
    """The streams "steady" and "cam" as affectd runs them, with their states over HTTP, within a
    `with` block. Every stream is recorded. "cam" stalls after `stall_s`."""

    def __init__(self, folder: Path, *, steady: str, cam: str, stall_s: float) -> None:
        self.folder = folder
        self.broken = threading.Event()
        detector = _breakable(self.broken)
        streams = tuple(
            StreamSettings(
                name=name,
                url=SecretStr(url),
                stall_timeout_s=patience_s,
                frozen_timeout_s=FROZEN_S,
                sink=(Mp4SinkSettings(kind="mp4", path=folder / f"{name}.mp4", fragment_s=0.5),),
            )
            for name, url, patience_s in (("steady", steady, PATIENT_S), ("cam", cam, stall_s))
        )
        self._settings = Settings(
            detector=DetectorSettings(backend="haar", long_side_px=160),
            expression=ExpressionSettings(enabled=False),
            stream=streams,
        )
        self.board = Board(time.time)
        self.metrics = Metrics(CollectorRegistry())
        health = Health(time.monotonic)
        readings: Feed[Reading] = Feed(16)
        shown = Shown()
        site = make_site(
            self.board,
            self.metrics,
            health,
            shown,
            readings,
            DaemonSettings(),
            "test",
        )
        self._web = WebServer(site, "127.0.0.1", 0)
        self._fleet = Fleet(
            Shared(
                Models(detector, None), self.metrics, self.board, health, shown, readings.publish
            )
        )

    def __enter__(self) -> Rig:
        self._web.start()
        self._fleet.start(self._settings.stream, self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.close()
        assert self._web.stop(WEB_STOP_S)

    def frames(self, name: str) -> int:
        """Pictures that the source gave so far."""
        return int(self.value("affectd_frames_total", stream=name))

    def value(self, name: str, **labels: str) -> float:
        return value(self.metrics.registry, name, **labels)

    def status(self, name: str = "cam") -> StreamStatus:
        status = self.board.stream(name)
        assert status is not None
        return status

    def reported(self, name: str = "cam") -> dict[str, object]:
        """The stream's state as /api/streams gives it."""
        answer = httpx.get(f"{self._web.url}api/streams", timeout=60.0, trust_env=False)
        assert answer.status_code == 200, answer.text
        found = {stream["name"]: stream for stream in answer.json()["streams"]}
        state: dict[str, object] = found[name]
        return state

    def reconnects(self, name: str = "cam") -> dict[str, int]:
        """Times that the stream was opened again, by reason."""
        counts = {str(r): self.reconnects_for(r, name) for r in Reason}
        return {reason: times for reason, times in counts.items() if times}

    def reconnects_for(self, reason: Reason, name: str = "cam") -> int:
        return int(self.value("affectd_stream_reconnects_total", stream=name, reason=reason))

    def until(self, is_so: Callable[[], bool], what: str) -> float:
        """Wait for it; returns how long that took."""
        began_s = time.monotonic()
        pause = threading.Event()
        while not is_so():
            waited_s = time.monotonic() - began_s
            assert waited_s < LIMIT_S, f"waited {LIMIT_S:g} s for {what}: {self.board.streams()}"
            pause.wait(TICK_S)
        return time.monotonic() - began_s

    def rate(self, name: str, seconds: float) -> float:
        """Pictures a second over the next so many seconds."""
        before, began_s = self.frames(name), time.monotonic()
        threading.Event().wait(seconds)
        return (self.frames(name) - before) / (time.monotonic() - began_s)


def recordings(folder: Path) -> list[tuple[int, int, int]]:
    """Width, height and pictures of each recording of the camera, decoded to its end."""
    found = []
    for path in sorted(folder.glob("cam*.mp4")):
        stop = threading.Event()
        source = VideoSource("cam", str(path), live=False, stop=stop)
        images = [frame.image for frame in source.frames()]
        assert source.damaged == 0, path
        found.append((images[0].width, images[0].height, len(images)))
    return found


def pts_of(path: Path) -> list[float]:
    """Times of all pictures of a recording, in seconds."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0) if frame.time is not None]
