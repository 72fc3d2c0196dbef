"""Streams that replace one another. Their pipelines are fake, since a real one cannot be held while
it closes."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import fleet as fleet_module
from daemon.config.settings import Settings, StreamSettings
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.pipeline import Shared
from daemon.sinks.make import sink_labels
from detectors.haar import Haar
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
        self.name, self.holds, self.sinks = stream.name, stream.holds, sink_labels(stream.sink)
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
    return Fleet(Shared(Models(Choice("haar", "haar", None, Haar), None)))


def stream(name: str, url: str, *sinks: dict[str, object]) -> StreamSettings:
    table = {"name": name, "url": url, "sink": sinks}
    return StreamSettings.model_validate(table, strict=False)


@pytest.mark.parametrize(
    ("device", "path", "url"),
    [
        ("/dev/video0", "a.mp4", "rtsp://u:p@server/a"),
        ("v4l2:///dev/video0", str(Path("a.mp4").absolute()), "rtsp://v:q@Server:554/a"),
    ],
    ids=["as it was", "spelt otherwise"],
)
def test_a_stream_that_takes_over_waits_until_its_predecessor_has_let_go(
    held: Held, device: str, path: str, url: str
) -> None:
    """Each new one has something of the old one, but for the last."""
    film: dict[str, object] = {"kind": "mp4", "path": "a.mp4"}
    push: dict[str, object] = {"kind": "rtsp", "url": "rtsp://u:p@server/a"}
    old = stream("old", "/dev/video0", film, push)
    starting = [
        stream("old", "rtsp://camera/1"),
        stream("source", device),
        stream("film", "rtsp://camera/2", {**film, "path": path}),
        stream("push", "rtsp://camera/3", {**push, "url": url}),
        stream("other", "rtsp://camera/4", {**film, "path": "b.mp4"}),
    ]
    streams = make_fleet()
    streams.start([old], Settings(stream=(old,)))
    replacing = threading.Thread(
        target=streams.replace,
        args=(["old"], starting, Settings(stream=tuple(starting))),
        kwargs={"is_over": lambda: False},
    )
    replacing.start()
    try:
        wait_until(lambda: held.started == ["old", "other"])
    finally:
        held.may_close.set()
        replacing.join(60)
    assert held.started == ["old", "other", "old", "source", "film", "push"]
    streams.close()


def test_nothing_holds_a_stream_that_has_ended(held: Held) -> None:
    """Its pictures would stay in memory, until the next reload."""
    held.may_close.set()
    old, new = stream("old", "demo://a"), stream("new", "demo://b")
    streams = make_fleet()
    streams.start([old], Settings(stream=(old,)))
    streams.replace(["old"], [new], Settings(stream=(new,)), is_over=lambda: False)
    wait_until(lambda: gc.collect() >= 0 and list(held.pipelines) == ["new"])
    streams.close()
