"""Streams that replace one another. Their pipelines are fake, since a real one cannot be held while
it closes."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daemon import fleet as fleet_module
from daemon.config.settings import Settings, StreamSettings
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.pipeline import Shared
from daemon.sinks.feed import JpegFeed
from daemon.sinks.make import sink_labels
from detectors.haar import Haar
from detectors.select import Choice
from tests.waiting import wait_until


@dataclass
class Held:
    """What there is of the pipelines, by name. They close once `may_close`, and the last of their
    threads comes back once `may_end`."""

    may_close: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    started: list[str] = field(default_factory=list)
    followed: list[tuple[str, Settings]] = field(default_factory=list)
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
        self.stop, self.stream = stop, self
        self._held = held

    def start(self) -> None:
        self._held.started.append(self.name)

    def follow(self, settings: Settings) -> None:
        self._held.followed.append((self.name, settings))

    def close(self) -> None:
        assert self._held.may_close.wait(60)

    def join(self) -> None:
        assert self._held.may_end.wait(60)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    held.may_end.set()
    monkeypatch.setattr(fleet_module, "Pipeline", held.make)
    yield held
    held.may_close.set()
    held.may_end.set()


@pytest.fixture
def shared() -> Shared:
    return Shared(Models(Choice("haar", "haar", None, Haar), None))


def series(shared: Shared, stream: str) -> set[str | None]:
    """By their sink, None for those of none."""
    return {
        sample.labels.get("sink")
        for family in shared.metrics.registry.collect()
        for sample in family.samples
        if sample.labels.get("stream") == stream
    }


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
    held: Held, shared: Shared, device: str, path: str, url: str
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
    streams = Fleet(shared)
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


def test_nothing_holds_a_stream_that_has_ended(held: Held, shared: Shared) -> None:
    """Its pictures would stay in memory, until the next reload."""
    held.may_close.set()
    old, new = stream("old", "demo://a"), stream("new", "demo://b")
    streams = Fleet(shared)
    streams.start([old], Settings(stream=(old,)))
    streams.replace(["old"], [new], Settings(stream=(new,)), is_over=lambda: False)
    wait_until(lambda: gc.collect() >= 0 and list(held.pipelines) == ["new"])
    streams.close()


def test_series_and_rows_go_with_their_stream_and_its_sinks(held: Held, shared: Shared) -> None:
    """1. Of two streams one goes, and one loses a sink: nothing is left of either. 2. A thread that
    hung counts on, and comes back: nothing is left of that."""
    held.may_close.set()
    held.may_end.clear()
    film: dict[str, object] = {"kind": "mp4", "path": "a.mp4"}
    gone, old = stream("gone", "demo://a"), stream("old", "demo://b", film, {"kind": "mjpeg"})
    new = stream("old", "demo://b", {"kind": "mjpeg"})
    for one in (gone, old):
        labels = sink_labels(one.sink)
        shared.metrics.add_stream(one.name, labels)
        shared.board.add(one.name, labels)
        shared.shown.jpegs[one.name] = JpegFeed()
    streams = Fleet(shared)
    streams.start([gone, old], Settings(stream=(gone, old)))
    streams.replace(["gone", "old"], [new], Settings(stream=(new,)), is_over=lambda: False)
    left = set[str | None](), {None, "mjpeg"}
    assert (series(shared, "gone"), series(shared, "old")) == left
    assert [status.name for status in shared.board.streams()] == list(shared.shown.jpegs) == ["old"]
    shared.metrics.frames.labels("gone").inc()
    shared.metrics.sink_up.labels("old", "mp4").set(1)
    held.may_end.set()
    wait_until(lambda: (series(shared, "gone"), series(shared, "old")) == left)
    streams.close()


def test_every_stream_follows_other_settings(held: Held, shared: Shared) -> None:
    both = stream("a", "demo://a"), stream("b", "demo://b")
    streams, settings = Fleet(shared), Settings(stream=both)
    streams.start(both, settings)
    streams.follow(settings)
    assert held.followed == [("a", settings), ("b", settings)]


def test_a_reload_is_left_when_everything_is_about_to_end_which_waits(
    held: Held, shared: Shared
) -> None:
    """The predecessor hangs. 1. Its successor is not waited for. 2. Who ends all waits for it."""
    old = stream("old", "/dev/video0")
    streams = Fleet(shared)
    streams.start([old], Settings(stream=(old,)))
    streams.replace(["old"], [old], Settings(stream=(old,)), is_over=lambda: True)
    assert held.started == ["old"]
    ending = threading.Thread(target=streams.close, daemon=True)
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    held.may_close.set()
    ending.join(60)
    assert not ending.is_alive()
