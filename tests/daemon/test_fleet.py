"""Streams that replace one another. Their pipelines are fake, since a real one cannot be held while
it closes."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from daemon import fleet as fleet_module
from daemon.config.settings import Settings, StreamSettings
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.sinks.make import sink_labels
from detectors.select import Choice
from tests.waiting import wait_until


@dataclass
class Held:
    """What there is of the pipelines, by name. They close once `may_close`."""

    may_close: threading.Event = field(default_factory=threading.Event)
    started: list[str] = field(default_factory=list)
    pipelines: weakref.WeakValueDictionary[str, Pipeline] = field(
        default_factory=weakref.WeakValueDictionary
    )

    def make(
        self, stream: StreamSettings, *_: object, stop: threading.Event, **__: object
    ) -> Pipeline:
        made = self.pipelines[stream.name] = Pipeline(self, stream, stop)
        return made


class Pipeline:
    def __init__(self, held: Held, stream: StreamSettings, stop: threading.Event) -> None:
        self.name, self.sinks = stream.name, sink_labels(stream.sink)
        self.stop = stop
        self._held = held

    def start(self) -> None:
        self._held.started.append(self.name)

    def close(self) -> None:
        assert self._held.may_close.wait(60)

    def join(self) -> None:
        pass


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr(fleet_module, "Pipeline", held.make)
    return held


def make_fleet() -> Fleet:
    return Fleet(
        Models(Choice("haar", 0.5), None),
        metrics=Metrics(CollectorRegistry()),
        board=Board(time.time),
        health=Health(time.monotonic),
        jpegs={},
        playlists={},
        publish=lambda reading: None,
    )


def stream(name: str, url: str) -> StreamSettings:
    return StreamSettings.model_validate({"name": name, "url": url})


def test_nothing_holds_a_stream_that_has_ended(held: Held) -> None:
    """Its pictures would stay in memory, until the next reload."""
    held.may_close.set()
    old, new = stream("old", "demo://a"), stream("new", "demo://b")
    streams = make_fleet()
    streams.start([old], Settings(stream=(old,)))
    streams.replace(["old"], [new], Settings(stream=(new,)), is_over=lambda: False)
    wait_until(lambda: gc.collect() >= 0 and list(held.pipelines) == ["new"])
    streams.close()
