"""What `affectd video` and `affectd image` need around their stream; there is no daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from rich.console import Console

from daemon import models
from daemon.config.file import load_around
from daemon.config.settings import Settings, StreamSettings
from daemon.errors import ConfigError
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.pipeline import Shared
from daemon.service import logs


@dataclass(frozen=True)
class Offline(Shared):
    """What one stream needs around it when there is no daemon."""

    settings: Settings = field(kw_only=True)

    @property
    def damaged(self) -> int:
        """Packets of the stream's source that gave no frame."""
        (stream,) = self.settings.stream
        labels = {"stream": stream.name, "stage": "decode", "reason": "damaged"}
        value = self.metrics.registry.get_sample_value("affectd_frames_dropped_total", labels)
        return round(value or 0)


# Not `Path`'s, which raises where the system does not let us look: whoever opens it says more.
is_there = os.path.exists


@contextmanager
def offline(
    config: Path | None, stream: StreamSettings, console: Console, *, readings: str | None
) -> Iterator[Offline]:
    """Load models for one stream; everything else comes from `config`. `readings` is the option
    that asks for some, if any does. Raises ConfigError also where `config` has no face read."""
    loaded = load_around(stream, config, os.environ)
    settings = loaded.settings
    if readings is not None and not settings.expression.enabled:
        raise ConfigError(
            f"{config}: expression.enabled: found false, and {readings} wants readings; "
            "accepted is true"
        )
    logs.set_up("error", loaded.secrets)  # what a warning would say is raised here
    metrics, health = Metrics(CollectorRegistry()), Health(time.monotonic)
    found = models.load(settings, metrics, health, console.print)
    try:
        yield Offline(found, metrics, health=health, settings=settings)
    finally:
        if found.batcher is not None:
            found.batcher.stop()
