"""Simulated cameras through the daemon's own fleet, and how many of them are carried."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import SecretStr

from daemon import models
from daemon.commands.bench.power import Meter
from daemon.commands.bench.record import Load
from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import (
    EventsSinkSettings,
    MjpegSinkSettings,
    Mp4SinkSettings,
    SinkSettings,
)
from daemon.errors import Reason, SourceError
from daemon.fleet import Fleet
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Shared
from daemon.reading import Reading

SINKS = ("mp4", "events")
FRAMES_SHARE = 0.95  # of all cameras' pictures
WORST_SHARE = 0.85  # of the worst camera's
READINGS_A_FACE_S = 1.0
START_S = 8.0  # what cameras may take to give their first picture
SETTLE_S = 1.0
WATCH_S = 3.0
MOST = 128
_TICK_S = 0.05


class SimulatedCameras:
    """So many cameras that all show one clip, read as `affectd run` reads them: decoded, detected,
    tracked, classified together, drawn, encoded and counted. Leave its `with` block to end them.

    `fps` are the pictures a second of every clip, `faces` those in it; `sinks` are kinds out of
    `SINKS`, whose files go to `folder`. Everything else is as `settings` say.
    """

    def __init__(self, settings: Settings, loaded: models.Models, metrics: Metrics, fps: int,
                 faces: int, sinks: Sequence[str], folder: Path) -> None:  # fmt: skip
        self._settings = settings
        self._metrics = metrics
        self._fps, self._faces, self._sinks = fps, faces, sinks
        self._folder = folder
        self._board = Board(time.time)
        self._readings: list[Reading] = []
        self._fleet = Fleet(Shared(loaded, metrics, self._board, publish=self._readings.append))
        self._count = 0  # Names are not used twice, so that no series are.
        self._running: list[StreamSettings] = []
        self._meter = Meter()

    def __enter__(self) -> SimulatedCameras:
        return self

    def __exit__(self, *_: object) -> None:
        self._fleet.close()

    def show(self, clip: Path, cameras: int) -> None:
        """Let so many cameras show this clip, in place of those that run."""
        ending = [stream.name for stream in self._running]
        self._running = [self._camera(clip) for _ in range(cameras)]
        self._fleet.replace(ending, self._running, self._settings, is_over=lambda: False)
        for name in ending:
            for file in self._folder.glob(f"{name}.*"):
                file.unlink()

    def watch(self, seconds: float, tick: Callable[[], None] = lambda: None) -> Load:
        """What the cameras that run come to over the next seconds, once all have begun.

        `tick` is called often meanwhile. Raises SourceError where no camera gives any picture, or
        the classifier or a sink fails: what is left would be carried easily.
        """
        count = len(self._running)
        self._settle(tick)
        before, began_s, began_cpu_s = self._frames(), time.monotonic(), time.process_time()
        self._readings.clear()
        self._meter.begin()
        _wait(seconds, tick)
        after, elapsed_s = self._frames(), time.monotonic() - began_s
        cpu_s = time.process_time() - began_cpu_s
        readings = list(self._readings)
        if fault := self._fault():
            raise SourceError(Reason.INTERNAL, f"what the cameras feed does not work: {fault}")
        sent = elapsed_s * self._fps
        shares = [min(1.0, (b - a) / sent) for a, b in zip(before, after, strict=True)]
        ages = [reading.age_ms for reading in readings if reading.age_ms is not None]
        watts = self._meter.watts()
        return Load(
            cameras=count,
            frames_share=round(float(np.mean(shares)), 3),
            worst_share=round(min(shares), 3),
            readings_a_face_s=round(len(readings) / (elapsed_s * count * self._faces), 2),
            age_p50_ms=round(float(np.percentile(ages, 50)), 1) if ages else None,
            age_p99_ms=round(float(np.percentile(ages, 99)), 1) if ages else None,
            cpu_cores=round(cpu_s / elapsed_s, 2),
            watts=None if watts is None else round(watts, 1),
        )

    def _camera(self, clip: Path) -> StreamSettings:
        self._count += 1
        name = f"camera-{self._count}"
        sinks: list[SinkSettings] = []
        if "mp4" in self._sinks:
            sinks.append(Mp4SinkSettings(kind="mp4", path=self._folder / f"{name}.mp4"))
        else:  # Nobody watches it, and pictures are drawn for it.
            sinks.append(MjpegSinkSettings(kind="mjpeg"))
        if "events" in self._sinks:
            sinks.append(EventsSinkSettings(kind="events", path=self._folder / f"{name}.jsonl"))
        url = SecretStr(str(clip))
        return StreamSettings(name=name, url=url, policy="live", loop=True, sink=tuple(sinks))

    def _settle(self, tick: Callable[[], None]) -> None:
        """Wait until every camera has begun, though not for ever, and then for a moment."""
        end_s = time.monotonic() + START_S
        while not all(self._frames()) and time.monotonic() < end_s:
            _wait(_TICK_S, tick)
        if not any(self._frames()):
            faults = {status.last_error for status in self._board.streams()} - {None}
            why = "; ".join(sorted(map(str, faults))) or f"none came within {START_S:g} s"
            raise SourceError(Reason.STALLED, f"the simulated cameras give no picture: {why}")
        _wait(SETTLE_S, tick)

    def _fault(self) -> str | None:
        """Why a sink of the cameras that run, or the classifier, has failed; None where neither."""
        sinks = [sink for status in self._board.streams() for sink in status.sinks]
        if errors := [sink.last_error for sink in sinks if sink.last_error]:
            return errors[0]
        failed = {"stage": "classify", "reason": "error"}
        samples = (one for family in self._metrics.dropped.collect() for one in family.samples)
        if any(one.value and failed.items() <= one.labels.items() for one in samples):
            return "the classifier fails"
        return None

    def _frames(self) -> list[int]:
        """Pictures that each camera's stream has taken all the way."""
        shown = {status.name: status.frames for status in self._board.streams()}
        return [shown.get(stream.name, 0) for stream in self._running]


def carries(load: Load, max_age_ms: float) -> bool:
    """Whether nearly every picture came through, and every face was read often, its readings young.

    Where expressions are switched off, or no face was found, the pictures decide.
    """
    is_old = load.age_p99_ms is not None and load.age_p99_ms > max_age_ms
    if is_old or 0.0 < load.readings_a_face_s < READINGS_A_FACE_S:
        return False
    return load.frames_share >= FRAMES_SHARE and load.worst_share >= WORST_SHARE


def most(
    probe: Callable[[int], Load], max_age_ms: float, cores: int, is_late: Callable[[], bool]
) -> tuple[Load | None, Load | None]:
    """The largest load that is carried and the smallest that is not, as far as there was time.

    `probe` measures so many cameras. The first guess follows from what one costs; then the gap is
    halved until it is one camera, or a twentieth.
    """
    carried: Load | None = None
    failed: Load | None = None
    count = 1
    while True:
        load = probe(count)
        if carries(load, max_age_ms):
            carried = load
        else:
            failed = load
        low = carried.cameras if carried else 0
        if failed is None:
            if low >= MOST:
                return carried, failed
            guess = int(low * cores / max(0.01, load.cpu_cores))
            count = min(MOST, max(low + 1 + low // 4, min(guess, 8 * low)))
        else:
            if failed.cameras - low <= max(1, low // 20):
                return carried, failed
            count = (low + failed.cameras) // 2
        if is_late():
            return carried, failed


def _wait(seconds: float, tick: Callable[[], None]) -> None:
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0.0:
        time.sleep(min(_TICK_S, left_s))
        tick()
