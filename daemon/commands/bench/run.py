"""The order of a measurement, its progress bar and its time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from rich.console import Console

from daemon import models
from daemon.commands.bench import machine, nets, record, table
from daemon.commands.bench.bar import Bar
from daemon.commands.bench.cameras import SETTLE_S, SINKS, WATCH_S, SimulatedCameras, most
from daemon.commands.bench.clip import make_clip
from daemon.commands.bench.flops import face_mflop
from daemon.commands.bench.record import SIZES, BenchRecord, BenchSetup, Cameras, FaceRate, Load
from daemon.config.file import load_around
from daemon.config.settings import Settings, StreamSettings
from daemon.errors import ConfigError, Reason, SinkError
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.service import logs
from daemon.sinks.disk import sink_errors
from daemon.version import affectd_version

CLIP_S = 2
NEVER_MS = 60_000.0
NETS_SHARE = 0.2  # of the time, for faces a second


def bench(
    fps: int,
    faces: int,
    sinks: str,
    seconds: float,
    config: Path | None,
    target: Path | None,
    out: Console,
    err: Console,
) -> None:
    """Load models, measure for about `seconds`, print a table, keep the record where `check` looks
    for it.

    Everything but the streams comes from `config`. `target` gets the record too. Raises
    ConfigError for arguments that cannot be meant, SinkError when `target`, or what cameras would
    play, cannot be written.
    """
    kinds = _kinds(sinks)
    if target is not None:
        if config is not None and target.resolve() == config.resolve():
            raise ConfigError(f"--json: {target} is that of --config; accepted is another file")
        record.check(target)
    stream = StreamSettings(name="bench", url=SecretStr("bench"))
    configured = load_around(stream, config, os.environ)
    settings = configured.settings
    # Overloaded on purpose: what fails shows in the figures.
    logs.set_up("critical", configured.secrets)
    others = machine.Others()
    with Bar(seconds, err) as bar:
        bar.say("loading models")
        metrics = Metrics(CollectorRegistry())
        loaded = models.load(_unshed(settings), metrics, Health(time.monotonic), err.print)
        bar.begin()  # Models that had to be fetched take nothing from the measurement.
        try:
            setup = _setup(settings, loaded, fps, faces, kinds)
            with _scratch() as folder:
                simulated = SimulatedCameras(settings, loaded, metrics, fps, faces, kinds, folder)
                with simulated:
                    cameras = list(sizes(simulated, setup, folder, bar))
        finally:
            if loaded.batcher is not None:
                loaded.batcher.stop()
        rates = _rates(settings, bar)
    found = BenchRecord(
        schema=record.SCHEMA,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        affectd=affectd_version(),
        processor=machine.processor(),
        cores=machine.cores(),
        device=loaded.description["device"],
        others_share=others.share(),
        asked=setup,
        cameras=tuple(cameras),
        faces=tuple(rates),
    )
    keep(found, err)
    table.show(found, out)
    if target is not None:
        record.save(found, target)


def keep(found: BenchRecord, err: Console) -> None:
    """Write the record to where `check` looks for it, if that can be written."""
    try:
        record.save(found, record.kept_path())
    except SinkError as error:
        text = f"affectd: warning: {error}; so `affectd check` does not go by these figures"
        err.print(text, style="yellow")


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that is gone afterwards. Raises SinkError where there can be none."""
    try:
        made = tempfile.TemporaryDirectory(prefix="affectd-bench-")
    except OSError as error:
        raise SinkError(
            Reason.NOT_WRITABLE,
            f"{error.strerror}; accepted is a TMPDIR that affectd may write to",
        ) from error
    with made as folder:
        yield Path(folder)


def _kinds(sinks: str) -> tuple[str, ...]:
    kinds = tuple(kind.strip() for kind in sinks.split(",") if kind.strip() not in ("", "none"))
    for kind in kinds:
        if kind not in SINKS:
            raise ConfigError(
                f"--sinks: found {kind!r}; accepted: none, or any of {', '.join(SINKS)}"
            )
    return kinds


def _unshed(settings: Settings) -> Settings:
    """The same, but no work is shed under load: what is measured is what was configured."""
    expression = settings.expression.model_copy(update={"max_age_ms": NEVER_MS})
    return settings.model_copy(update={"expression": expression})


def _setup(
    settings: Settings, loaded: models.Models, fps: int, faces: int, sinks: Sequence[str]
) -> BenchSetup:
    expression = settings.expression
    return BenchSetup(
        fps=fps,
        faces=faces,
        sinks=tuple(sinks),
        detector=loaded.detector.description,
        long_side_px=settings.detector.long_side_px,
        weights=loaded.description["weights"],
        tta=expression.tta,
        engine=loaded.description["engine"],
        max_age_ms=expression.max_age_ms,
        face_mflop=face_mflop(expression.weights, expression.tta) if expression.enabled else 0.0,
    )


def sizes(
    simulated: SimulatedCameras, setup: BenchSetup, folder: Path, bar: Bar
) -> Iterator[Cameras]:
    """The most cameras of each size, in an equal share of the time that is left; the larger sizes
    not at all where the machine is so slow, or so busy, that none is left. The smallest is always
    tried: what was not measured says nothing of the machine."""
    for index, (width_px, height_px) in enumerate(SIZES):
        if index and bar.left_s() < NETS_SHARE * bar.seconds:
            return
        bar.say(f"{height_px}p: encoding a clip")
        clip = folder / f"{height_px}p.mp4"
        with sink_errors(clip):
            make_clip(clip, width_px, height_px, setup.fps, setup.faces, CLIP_S * setup.fps)
        left_s = bar.left_s() - bar.seconds * NETS_SHARE
        end_s = time.monotonic() + left_s / (len(SIZES) - index)
        carried, failed = _most(simulated, clip, f"{height_px}p", setup.max_age_ms, end_s, bar)
        yield Cameras(width_px, height_px, carried, failed)


def _most(
    simulated: SimulatedCameras, clip: Path, size: str, max_age_ms: float, end_s: float, bar: Bar
) -> tuple[Load | None, Load | None]:
    watch_s = min(WATCH_S, max(1.0, bar.seconds / 30))

    def probe(cameras: int) -> Load:
        bar.say(f"{size}: {cameras} at once")
        simulated.show(clip, cameras)
        return simulated.watch(watch_s, bar.tick)

    def is_late() -> bool:
        return time.monotonic() + watch_s + SETTLE_S + 1.0 > end_s

    return most(probe, max_age_ms, machine.cores(), is_late)


def _rates(settings: Settings, bar: Bar) -> list[FaceRate]:
    variants = nets.variants(settings.expression)
    seconds = max(0.2, bar.left_s() / max(1, len(variants)) - 0.5)
    rates: list[FaceRate] = []
    for variant in variants:
        if rates and bar.left_s() < 0.0:
            break
        bar.say(f"faces: {variant}")
        rates.append(variant.measure(min(3.0, seconds)))
        bar.tick()
    return rates
