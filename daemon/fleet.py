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
        self._lock = threading.Lock()  # Held while metric series are added or removed.
        self._wanted: dict[str, list[str]] = {}  # Streams that should run, and their sinks.
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
        """Let every stream use these settings from its next frame on."""
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
        """End the streams named `ending` and start those of `starting`; one that takes over a name,
        source or file starts once its predecessor has closed that. The metric series of streams
        that only end are removed.

        Returns early, before all have started, once `is_over()`: the daemon is about to end.
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
        """End all streams in parallel: it takes as long as the slowest, not their sum. Waits for
        those too that are ending already."""
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
        """Remove the series of an ended pipeline that no successor continues. Called once more
        when the last of its threads has ended, which may have created them again."""
        with self._lock:
            if gone.name not in self._wanted:
                self._shared.metrics.remove_stream(gone.name)
                return
            for sink in set(gone.sinks).difference(self._wanted[gone.name]):
                self._shared.metrics.remove_sink(gone.name, sink)


class _Leaving:
    """Ends a pipeline in a thread of its own: closed within seconds, and ended when the last of
    its threads has returned from whatever it hangs in. Only this thread refers to the pipeline, so
    that its pictures are freed then."""

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
