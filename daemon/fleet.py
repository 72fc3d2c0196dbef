"""All streams that run: started, replaced and ended one by one, without touching the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import HlsSinkSettings, MjpegSinkSettings
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline
from daemon.reading import Reading
from daemon.sinks.feed import JpegFeed
from daemon.sinks.make import sink_labels
from daemon.sinks.playlist import Playlist

TICK_S = 0.05

Kept = TypeVar("Kept", JpegFeed, Playlist)


class Fleet:
    """The pipelines by the name of their stream. Belongs to the main thread.

    `jpegs` holds a feed for each stream with an mjpeg sink, `playlists` a playlist for each with
    an hls sink; the web server reads them as they are.
    """

    def __init__(
        self,
        models: Models,
        *,
        metrics: Metrics,
        board: Board,
        health: Health,
        jpegs: dict[str, JpegFeed],
        playlists: dict[str, Playlist],
        publish: Callable[[Reading], None],
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._board = board
        self._health = health
        self._jpegs = jpegs
        self._playlists = playlists
        self._publish = publish
        self._lock = threading.Lock()  # Held while series come or go.
        self._wanted: dict[str, list[str]] = {}  # The streams that are to be, and their sinks.
        self._pipelines: dict[str, Pipeline] = {}
        self._leaving: list[_Leaving] = []

    def start(self, streams: Sequence[StreamSettings], settings: Settings) -> None:
        """Start streams that do not run yet."""
        for stream in streams:
            with self._lock:
                self._wanted[stream.name] = sink_labels(stream.sink)
                pipeline = Pipeline(
                    stream,
                    settings,
                    self._models,
                    metrics=self._metrics,
                    board=self._board,
                    health=self._health,
                    stop=threading.Event(),
                    jpegs=_kept(self._jpegs, stream, MjpegSinkSettings, JpegFeed),
                    playlist=_kept(self._playlists, stream, HlsSinkSettings, Playlist),
                    publish=self._publish,
                )
                self._pipelines[stream.name] = pipeline
            pipeline.start()

    def follow(self, settings: Settings) -> None:
        """Let every stream go by other settings from its next frame on."""
        for pipeline in self._pipelines.values():
            pipeline.stream.follow(settings)

    def replace(
        self,
        ending: Sequence[str],
        starting: Sequence[StreamSettings],
        settings: Settings,
        *,
        is_over: Callable[[], bool],
    ) -> None:
        """End the streams named `ending` and start those of `starting`, of which one that takes a
        name, source or file over waits until its predecessor has closed them. Those that only end
        leave no series.

        Returns early, with streams missing, once `is_over()`: everything is about to end.
        """
        with self._lock:
            for name in ending:
                del self._wanted[name]
            self._wanted |= {stream.name: sink_labels(stream.sink) for stream in starting}
        leaving = {name: self._leave(name) for name in ending}
        waiting = list(starting)
        while not is_over():
            still = next((one for one in leaving.values() if not one.is_closed), None)
            if not waiting and still is None:
                break
            held = {one for gone in leaving.values() if not gone.is_closed for one in gone.holds}
            ready = [stream for stream in waiting if held.isdisjoint(stream.holds)]
            waiting = [stream for stream in waiting if stream not in ready]
            self.start(ready, settings)
            if not ready and still is not None:
                still.wait(TICK_S)
        for name, gone in leaving.items():
            if name not in self._wanted:
                _drop(self._jpegs, name)
                _drop(self._playlists, name)
                self._board.remove(name)
            self._sweep(gone)
        self._board.arrange([stream.name for stream in settings.stream])

    def close(self) -> None:
        """End all streams at once, so that the slowest decides how long it takes, not their sum;
        those whose end has begun already are waited for too."""
        for pipeline in self._pipelines.values():
            pipeline.stop.set()
        for name in list(self._pipelines):
            self._leave(name)
        for leaving in self._leaving:
            leaving.wait()

    def _leave(self, name: str) -> _Leaving:
        self._leaving = [one for one in self._leaving if not one.has_ended]
        leaving = _Leaving(self._pipelines.pop(name), self._sweep)
        self._leaving.append(leaving)
        return leaving

    def _sweep(self, gone: _Leaving) -> None:
        """Remove what an ended pipeline counted and no other will; once more when the last of
        its threads has come back, which may have counted on."""
        with self._lock:
            if gone.name not in self._wanted:
                self._metrics.remove_stream(gone.name)
                return
            for sink in set(gone.sinks).difference(self._wanted[gone.name]):
                self._metrics.remove_sink(gone.name, sink)


def _kept(table: dict[str, Kept], stream: StreamSettings, kind: type, make: type[Kept]) -> Kept:
    """What the web server reads of the stream's sink of that `kind`, the same after a reload: its
    readers stay, its numbers go on. Where there is no such sink nobody reads what is returned."""
    if not any(isinstance(sink, kind) for sink in stream.sink):
        _drop(table, stream.name)
        return make()
    kept = table.setdefault(stream.name, make())
    if _shows_less(stream):
        kept.clear()
    return kept


def _drop(table: dict[str, Kept], name: str) -> None:
    gone = table.pop(name, None)
    if isinstance(gone, JpegFeed):
        gone.close()  # Who reads a playlist asks again, and hears that there is none.


def _shows_less(stream: StreamSettings) -> bool:
    """Whether pictures of before may show more than is to be seen from now on."""
    return stream.privacy != "none" or stream.aggregate_only


class _Leaving:
    """A pipeline on its way out, on a thread of its own: closed within seconds, and ended when
    the last of its threads has come back from whatever it hangs in. Only that thread holds it:
    what has ended holds no pictures."""

    def __init__(self, pipeline: Pipeline, ended: Callable[[_Leaving], None]) -> None:
        self.name = pipeline.name
        self.sinks = pipeline.sinks
        self.holds = pipeline.holds
        self._ended = ended
        self._closed = threading.Event()
        pipeline.stop.set()
        # A daemon thread: the process does not wait for what hangs.
        self._thread = threading.Thread(
            target=self._run, args=(pipeline,), name=f"close {pipeline.name}", daemon=True
        )
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def wait(self, timeout_s: float | None = None) -> None:
        self._closed.wait(timeout_s)

    def _run(self, pipeline: Pipeline) -> None:
        try:
            pipeline.close()
        finally:
            self._closed.set()
        pipeline.join()
        self._ended(self)
