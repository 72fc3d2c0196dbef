"""What the page and /api/streams say of each stream: one board, written by the streams' threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from daemon.errors import Reason
from daemon.reading import FaceView

State = Literal["connecting", "live", "down", "ended"]


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """State of one stream at one moment. `since_s` is the Unix time at which `state` began.

    `down` has a reason and will be tried again; `ended` is a file that was read to its end.
    """

    name: str
    state: State
    since_s: float
    reason: Reason | None = None
    last_error: str | None = None
    frames: int = 0
    fps: float = 0.0
    faces: tuple[FaceView, ...] = ()
    sinks: tuple[str, ...] = ()


class Board:
    """The newest status of every stream. Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, StreamStatus] = {}
        self._faults: dict[str, tuple[str, float]] = {}  # what, and since when

    def add(self, name: str, sinks: Sequence[str]) -> None:
        with self._lock:
            self._streams[name] = StreamStatus(
                name, "connecting", self._clock(), sinks=tuple(sinks)
            )

    def set_state(
        self, name: str, state: State, reason: Reason | None = None, error: str | None = None
    ) -> None:
        """Enter a state. The last error stays readable after recovery."""
        with self._lock:
            was = self._streams[name]
            since_s = was.since_s if was.state == state else self._clock()
            faces = was.faces if state == "live" else ()
            self._streams[name] = replace(
                was,
                state=state,
                since_s=since_s,
                reason=reason,
                last_error=error or was.last_error,
                faces=faces,
                fps=was.fps if state == "live" else 0.0,
            )

    def set_view(self, name: str, frames: int, fps: float, faces: Sequence[FaceView]) -> None:
        """What the newest frame showed, and how many frames there were so far."""
        with self._lock:
            was = self._streams[name]
            self._streams[name] = replace(
                was, frames=frames, fps=fps, faces=tuple(faces) if was.state == "live" else ()
            )

    def set_fault(self, name: str, fault: str | None) -> None:
        """The source delivers but the stream fails on it, which shows as down; None ends that."""
        with self._lock:
            if fault is None:
                self._faults.pop(name, None)
                return
            since_s = self._faults[name][1] if name in self._faults else self._clock()
            self._faults[name] = fault, since_s
            self._streams[name] = replace(self._streams[name], last_error=fault)

    def is_live(self, name: str) -> bool:
        """Whether the stream's source delivers."""
        with self._lock:
            return self._streams[name].state == "live"

    def streams(self) -> list[StreamStatus]:
        """A snapshot, in the order of the configuration."""
        with self._lock:
            return [self._shown(stream) for stream in self._streams.values()]

    def _shown(self, stream: StreamStatus) -> StreamStatus:
        if stream.state != "live" or stream.name not in self._faults:
            return stream
        since_s = self._faults[stream.name][1]
        return replace(
            stream, state="down", since_s=since_s, reason=Reason.INTERNAL, faces=(), fps=0.0
        )
