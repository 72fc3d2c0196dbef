"""What the page and /api/streams say of each stream: one board, written by the streams' threads."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from daemon.errors import Reason
from daemon.ladder import Ladder
from daemon.reading import FaceView
from daemon.redact import redact_text

State = Literal["connecting", "live", "stalled", "down", "ended"]
SinkState = Literal["waiting", "up", "down", "ended"]
STATES: tuple[State, ...] = get_args(State)

_CLOCK_SET_S = 1.0  # Below that, the clocks were only read at different moments.


def _uptime_s() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """State of one sink. `waiting` has been given nothing yet; `down` has a reason and will be
    tried again, unless its stream has ended; `ended` has finished with its stream. `encoder` is
    None until one is chosen, and where nothing is encoded."""

    name: str
    state: SinkState
    since_s: float
    reason: Reason | None = None
    last_error: str | None = None
    encoder: str | None = None


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """State of one stream at one moment. `since_s` is the Unix time at which `state` began.

    `stalled` was live and gives no pictures: it is opened again when its time-out has passed.
    `down` has a reason and will be tried again; `ended` is a file that was read to its end.
    `last_error` was noted at the Unix time `last_error_s`. Faces are read, and unless covered
    looked for, on one of `detect_every` frames. One that `only_counts` tells of no single face.
    Faces are as old as they are at that moment; of a stream that hangs none is shown.
    """

    name: str
    state: State
    since_s: float
    reason: Reason | None = None
    last_error: str | None = None
    last_error_s: float | None = None
    last_frame_s: float | None = None
    frames: int = 0
    fps: float = 0.0
    detect_every: int = 1
    faces: tuple[FaceView, ...] = ()
    only_counts: bool = False
    sinks: tuple[SinkStatus, ...] = ()

    @property
    def words(self) -> str:
        """Its state and the reason for it: down (not_found)"""
        return f"{self.state} ({self.reason})" if self.reason else self.state


@dataclass(slots=True)
class _Entry:
    """A stream on the board; times are by the board's own clock."""

    status: StreamStatus  # without `last_frame_s`
    quiet_s: float
    came_s: float  # the last frame, or the last word of a state
    last_frame_s: float | None = None
    saw_s: float = -math.inf  # the last frame that went through all steps
    failing_s: float | None = None  # since when the stream fails on what its source delivers


class Board:
    """The newest status of every stream. Thread-safe; what is said of a stream that is not on the
    board (any more) is ignored. `clock` gives Unix time; `redact` sees every error text.

    The board notes times by `monotonic` and shows them as Unix times, so that those from before
    `clock` was set are as long ago as they were."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        monotonic: Callable[[], float] = _uptime_s,
        redact: Callable[[str], str] = redact_text,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._began_s = clock() - monotonic()  # when `monotonic` was 0, as Unix time
        self._redact = redact
        self._lock = threading.Lock()
        self._streams: dict[str, _Entry] = {}
        self.ladder: Ladder | None = None  # of the batcher, once there is one

    def add(
        self,
        name: str,
        sinks: Sequence[str],
        quiet_s: float = math.inf,
        *,
        only_counts: bool = False,
    ) -> None:
        """Put a stream on the board, or begin anew with one that is there. While it is live and
        no frame came for `quiet_s` it shows as stalled."""
        with self._lock:
            now_s = self._monotonic()
            waiting = tuple(SinkStatus(sink, "waiting", now_s) for sink in sinks)
            status = StreamStatus(name, "connecting", now_s, only_counts=only_counts, sinks=waiting)
            self._streams[name] = _Entry(status, quiet_s, came_s=now_s)

    def remove(self, name: str) -> None:
        """Forget a stream."""
        with self._lock:
            self._streams.pop(name, None)

    def arrange(self, names: Sequence[str]) -> None:
        """Show the streams in this order, and those that it does not name after them."""
        with self._lock:
            order = dict.fromkeys((*(n for n in names if n in self._streams), *self._streams))
            self._streams = {name: self._streams[name] for name in order}

    def set_state(
        self, name: str, state: State, reason: Reason | None = None, error: str | None = None
    ) -> None:
        """Enter a state; one that stalls has done so since its last frame. The last error stays
        readable after recovery."""
        with self._lock:
            entry = self._streams.get(name)
            if entry is None:
                return
            was = entry.status
            now_s = since_s = self._monotonic()
            if was.state == state:
                since_s = was.since_s
            elif state == "stalled":
                since_s = entry.came_s
            entry.status = replace(
                was,
                state=state,
                since_s=since_s,
                reason=reason,
                last_error=self._redact(error) if error else was.last_error,
                last_error_s=now_s if error else was.last_error_s,
                faces=was.faces if state == "live" else (),
                fps=was.fps if state == "live" else 0.0,
            )
            entry.came_s = now_s

    def frame_came(self, name: str) -> None:
        """The source gave a frame."""
        with self._lock:
            if (entry := self._streams.get(name)) is not None:
                entry.came_s = entry.last_frame_s = self._monotonic()

    def saw(self, name: str, fps: float, faces: Sequence[FaceView]) -> None:
        """One more frame, and what it showed."""
        with self._lock:
            entry = self._streams.get(name)
            if entry is None:
                return
            was = entry.status
            entry.status = replace(
                was,
                frames=was.frames + 1,
                fps=fps,
                faces=tuple(faces) if was.state == "live" else (),
            )
            entry.saw_s = self._monotonic()

    def set_every(self, name: str, detect_every: int) -> None:
        """On how many frames of the stream faces are looked for."""
        with self._lock:
            if (entry := self._streams.get(name)) is not None:
                entry.status = replace(entry.status, detect_every=detect_every)

    def set_fault(self, name: str, fault: str | None) -> None:
        """The source delivers but the stream fails on it, which shows as down; None ends that."""
        with self._lock:
            entry = self._streams.get(name)
            if entry is None:
                return
            if fault is None:
                entry.failing_s = None
                return
            now_s, text = self._monotonic(), self._redact(fault)
            if entry.failing_s is None:
                entry.failing_s = now_s
            entry.status = replace(entry.status, last_error=text, last_error_s=now_s)

    def set_sink(
        self, name: str, sink: str, up: bool, reason: Reason | None = None, error: str | None = None
    ) -> None:
        """One of the stream's sinks takes what it is given, or failed. The last error stays."""
        state: SinkState = "up" if up else "down"

        def after(was: SinkStatus) -> SinkStatus:
            return replace(
                was,
                state=state,
                since_s=was.since_s if was.state == state else self._monotonic(),
                reason=reason,
                last_error=self._redact(error) if error else was.last_error,
            )

        self._change_sink(name, sink, after)

    def end_sink(self, name: str, sink: str) -> None:
        """One of the stream's sinks has written all that there was; one that failed stays down."""

        def after(was: SinkStatus) -> SinkStatus:
            if was.state == "down":
                return was
            return replace(was, state="ended", since_s=self._monotonic())

        self._change_sink(name, sink, after)

    def set_encoder(self, name: str, sink: str, encoder: str) -> None:
        """One of the stream's sinks has chosen an encoder."""
        self._change_sink(name, sink, lambda was: replace(was, encoder=encoder))

    def _change_sink(self, name: str, sink: str, after: Callable[[SinkStatus], SinkStatus]) -> None:
        with self._lock:
            if (entry := self._streams.get(name)) is not None:
                sinks = (after(was) if was.name == sink else was for was in entry.status.sinks)
                entry.status = replace(entry.status, sinks=tuple(sinks))

    def is_delivering(self, name: str) -> bool:
        """Whether the stream's source delivers, whatever the stream makes of it."""
        with self._lock:
            entry = self._streams.get(name)
            return entry is not None and entry.status.state == "live" and not self._is_quiet(entry)

    def stream(self, name: str) -> StreamStatus | None:
        """What is shown of one stream."""
        with self._lock:
            entry = self._streams.get(name)
            return None if entry is None else self._by_clock(self._shown(entry))

    def streams(self) -> list[StreamStatus]:
        """A snapshot, in the order of the configuration."""
        with self._lock:
            return [self._by_clock(self._shown(entry)) for entry in self._streams.values()]

    def summary(self) -> str:
        """How many streams are in which state, in one line."""
        counts = Counter(stream.state for stream in self.streams())
        known = [f"{counts[state]} {state}" for state in STATES if counts[state]]
        return f"streams: {', '.join(known) or 'none'}"

    def _shown(self, entry: _Entry) -> StreamStatus:
        stream = replace(entry.status, last_frame_s=entry.last_frame_s)
        if stream.state != "live":
            return stream
        if self._is_quiet(entry):
            return replace(
                stream,
                state="stalled",
                since_s=entry.came_s,
                reason=Reason.STALLED,
                faces=(),
                fps=0.0,
            )
        if (since_s := entry.failing_s) is not None:
            return replace(
                stream, state="down", since_s=since_s, reason=Reason.INTERNAL, faces=(), fps=0.0
            )
        ago_s = self._monotonic() - entry.saw_s
        if ago_s > max(entry.quiet_s, 2.0 / stream.fps if stream.fps else 0.0):
            return replace(stream, faces=(), fps=0.0)
        return replace(stream, faces=tuple(_aged(face, ago_s) for face in stream.faces))

    def _is_quiet(self, entry: _Entry) -> bool:
        """Whether the last frame is too long ago. A slow camera is given two of its intervals."""
        usual_s = 2.0 / entry.status.fps if entry.status.fps else 0.0
        quiet_s = max(entry.quiet_s, min(usual_s, 2.0 * entry.quiet_s))
        return self._monotonic() - entry.came_s > quiet_s

    def _by_clock(self, stream: StreamStatus) -> StreamStatus:
        """`stream` with Unix times in place of the board's own."""
        began_s = self._clock() - self._monotonic()
        if abs(began_s - self._began_s) > _CLOCK_SET_S:
            self._began_s = began_s
        began_s, noted_s, frame_s = self._began_s, stream.last_error_s, stream.last_frame_s
        return replace(
            stream,
            since_s=began_s + stream.since_s,
            last_error_s=None if noted_s is None else began_s + noted_s,
            last_frame_s=None if frame_s is None else began_s + frame_s,
            sinks=tuple(replace(sink, since_s=began_s + sink.since_s) for sink in stream.sinks),
        )


def _aged(face: FaceView, by_s: float) -> FaceView:
    """`face` as it is `by_s` later; before its first reading there is nothing to age."""
    return face if face.label is None else replace(face, age_s=face.age_s + by_s)
