"""All streams that run: started, replaced and ended one by one, without touching the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from daemon.config.settings import Settings, StreamSettings
from daemon.pipeline import Pipeline, Shared
from daemon.sinks.make import sink_labels

TICK_S = 0.05


class Fleet:
    """The pipelines by the name of their stream. Belongs to the main thread."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._lock = threading.Lock()  # Held while series come or go.
        self._wanted: dict[str, list[str]] = {}  # The streams that are to be, and their sinks.
        self._pipelines: dict[str, Pipeline] = {}
        self._leaving: list[_Leaving] = []

    def start(self, streams: Sequence[StreamSettings], settings: Settings) -> None:
        """Start streams that do not run yet."""
        for stream in streams:
            with self._lock:
                self._wanted[stream.name] = sink_labels(stream.sink)
                pipeline = Pipeline(stream, settings, self._shared, stop=threading.Event())
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
                self._shared.shown.drop(name)
                self._shared.board.remove(name)
            self._sweep(gone)
        self._shared.board.arrange([stream.name for stream in settings.stream])

    def close(self) -> None:
        """End all streams at once, so that the slowest decides how long it takes, not their sum;
        those whose end has begun already are waited for too."""
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
                self._shared.metrics.remove_stream(gone.name)
                return
            for sink in set(gone.sinks).difference(self._wanted[gone.name]):
                self._shared.metrics.remove_sink(gone.name, sink)


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
