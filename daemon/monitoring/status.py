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

_CLOCK_SET_S = 1.0  # A smaller difference only means that the clocks were not read at once.


def _uptime_s() -> float:
    """A monotonic clock, which goes on while the machine sleeps where the system has such."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """State of one sink, since the Unix time `since_s`. `waiting` has been given nothing yet;
    `down` has a reason and will be tried again, unless its stream has ended; `ended` has finished
    with its stream. `encoder` is None until one is chosen, and where nothing is encoded."""

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
    `last_error` was noted at the Unix time `last_error_s`. On one of `detect_every` frames faces
    are read and, unless they are to be covered, looked for. With `only_counts` no single face is
    shown. The ages of `faces` are those at this moment; a stream that hangs shows none.
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
        """The state with its reason, such as `down (not_found)`."""
        return f"{self.state} ({self.reason})" if self.reason else self.state


@dataclass(slots=True)
class _SinkRow:
    """A sink in its stream's row; `since_s` is by the board's monotonic clock."""

    since_s: float
    state: SinkState = "waiting"
    reason: Reason | None = None
    last_error: str | None = None
    encoder: str | None = None


class _Times:
    """Notes times by `monotonic` and shows them as Unix times by `clock`: after somebody set
    `clock`, earlier times are still shown as long ago as they are."""

    def __init__(self, clock: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._clock = clock
        self.now_s = monotonic
        self._began_s = clock() - monotonic()

    def began_s(self) -> float:
        """When `monotonic` was 0, as Unix time."""
        began_s = self._clock() - self.now_s()
        if abs(began_s - self._began_s) > _CLOCK_SET_S:
            self._began_s = began_s
        return self._began_s


class Row:
    """One stream's row on the board, which its threads write. Thread-safe. Once it is removed, or
    replaced by another one of its name, nobody sees what is written to it.

    All its times are by the board's monotonic clock.
    """

    def __init__(
        self,
        name: str,
        sinks: Sequence[str],
        times: _Times,
        redact: Callable[[str], str],
        *,
        quiet_s: float,
        only_counts: bool,
    ) -> None:
        self.name = name
        self._times = times
        self._redact = redact
        self._quiet_s = quiet_s
        self._only_counts = only_counts
        self._lock = threading.Lock()
        now_s = times.now_s()
        self._state: State = "connecting"
        self._since_s = now_s
        self._reason: Reason | None = None
        self._last_error: str | None = None
        self._last_error_s: float | None = None
        self._came_s = now_s  # time of the last frame or `set_state`
        self._last_frame_s: float | None = None
        self._saw_s = -math.inf  # time of the last frame that went through all steps
        self._failing_s: float | None = None  # since when the stream fails, not its source
        self._frames = 0
        self._fps = 0.0
        self._detect_every = 1
        self._faces: tuple[FaceView, ...] = ()
        self._sinks = {sink: _SinkRow(now_s) for sink in sinks}

    def set_state(
        self, state: State, reason: Reason | None = None, error: str | None = None
    ) -> None:
        """Enter a state; `stalled` counts from the last frame. The last error stays readable after
        recovery."""
        with self._lock:
            now_s = self._times.now_s()
            if state != self._state:
                self._since_s = self._came_s if state == "stalled" else now_s
            self._state, self._reason, self._came_s = state, reason, now_s
            if error:
                self._last_error, self._last_error_s = self._redact(error), now_s
            if state != "live":
                self._faces, self._fps = (), 0.0

    def frame_came(self) -> None:
        """The source gave a frame."""
        with self._lock:
            self._came_s = self._last_frame_s = self._times.now_s()

    def saw(self, fps: float, faces: Sequence[FaceView]) -> None:
        """One more frame has gone through all steps, with these faces."""
        with self._lock:
            self._frames += 1
            self._fps = fps
            self._faces = tuple(faces) if self._state == "live" else ()
            self._saw_s = self._times.now_s()

    def set_every(self, detect_every: int) -> None:
        """Faces are read on one of `detect_every` frames."""
        self._detect_every = detect_every

    def set_fault(self, fault: str | None) -> None:
        """The source delivers but the stream fails on it, which shows as down; None ends that."""
        with self._lock:
            if fault is None:
                self._failing_s = None
                return
            self._last_error, self._last_error_s = self._redact(fault), self._times.now_s()
            if self._failing_s is None:
                self._failing_s = self._last_error_s

    def set_sink(
        self, sink: str, up: bool, reason: Reason | None = None, error: str | None = None
    ) -> None:
        """A sink of the stream works, or has failed. Its last error stays."""
        with self._lock:
            row = self._sinks[sink]
            self._enter(row, "up" if up else "down")
            row.reason = reason
            if error:
                row.last_error = self._redact(error)

    def end_sink(self, sink: str) -> None:
        """A sink of the stream has written all that there was; one that failed stays down."""
        with self._lock:
            row = self._sinks[sink]
            if row.state != "down":
                self._enter(row, "ended")

    def set_encoder(self, sink: str, encoder: str) -> None:
        """A sink of the stream has chosen an encoder."""
        self._sinks[sink].encoder = encoder

    def _enter(self, row: _SinkRow, state: SinkState) -> None:
        if row.state != state:
            row.state, row.since_s = state, self._times.now_s()

    def is_delivering(self) -> bool:
        """Whether the stream's source delivers, even if the stream fails on its frames."""
        with self._lock:
            return self._state == "live" and not self._is_quiet()

    def status(self) -> StreamStatus:
        """What is shown of the stream."""
        with self._lock:
            began_s = self._times.began_s()
            state, since_s, reason = self._shown()
            faces, fps = self._faces, self._fps
            ago_s = self._times.now_s() - self._saw_s
            if state != "live" or ago_s > max(self._quiet_s, 2.0 / fps if fps else 0.0):
                faces, fps = (), 0.0
            noted_s, frame_s = self._last_error_s, self._last_frame_s
            return StreamStatus(
                name=self.name,
                state=state,
                since_s=began_s + since_s,
                reason=reason,
                last_error=self._last_error,
                last_error_s=None if noted_s is None else began_s + noted_s,
                last_frame_s=None if frame_s is None else began_s + frame_s,
                frames=self._frames,
                fps=fps,
                detect_every=self._detect_every,
                faces=tuple(_aged(face, ago_s) for face in faces),
                only_counts=self._only_counts,
                sinks=tuple(
                    SinkStatus(
                        name,
                        sink.state,
                        began_s + sink.since_s,
                        sink.reason,
                        sink.last_error,
                        sink.encoder,
                    )
                    for name, sink in self._sinks.items()
                ),
            )

    def _shown(self) -> tuple[State, float, Reason | None]:
        """The state to show, since when, and its reason."""
        if self._state == "live" and self._is_quiet():
            return "stalled", self._came_s, Reason.STALLED
        if self._state == "live" and self._failing_s is not None:
            return "down", self._failing_s, Reason.INTERNAL
        return self._state, self._since_s, self._reason

    def _is_quiet(self) -> bool:
        """Whether the last frame is too long ago. A slow camera is given two of its intervals."""
        usual_s = 2.0 / self._fps if self._fps else 0.0
        quiet_s = max(self._quiet_s, min(usual_s, 2.0 * self._quiet_s))
        return self._times.now_s() - self._came_s > quiet_s


class Board:
    """The rows of all streams. Thread-safe. `clock` gives Unix time; `redact` masks the secrets in
    error texts. Times are noted by `monotonic`."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        monotonic: Callable[[], float] = _uptime_s,
        redact: Callable[[str], str] = redact_text,
    ) -> None:
        self._times = _Times(clock, monotonic)
        self._redact = redact
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self.ladder: Ladder | None = None  # of the batcher, once there is one

    def add(
        self,
        name: str,
        sinks: Sequence[str],
        quiet_s: float = math.inf,
        *,
        only_counts: bool = False,
    ) -> Row:
        """Put a stream on the board, in place of one of that name. While it is live and no frame
        came for `quiet_s` it shows as stalled."""
        row = Row(name, sinks, self._times, self._redact, quiet_s=quiet_s, only_counts=only_counts)
        with self._lock:
            self._rows[name] = row
        return row

    def remove(self, name: str) -> None:
        """Forget a stream."""
        with self._lock:
            self._rows.pop(name, None)

    def arrange(self, names: Sequence[str]) -> None:
        """Show the streams in this order, and those that it does not name after them."""
        with self._lock:
            order = dict.fromkeys((*(n for n in names if n in self._rows), *self._rows))
            self._rows = {name: self._rows[name] for name in order}

    def stream(self, name: str) -> StreamStatus | None:
        """What is shown of one stream."""
        with self._lock:
            row = self._rows.get(name)
        return None if row is None else row.status()

    def streams(self) -> list[StreamStatus]:
        """A snapshot, in the order of the configuration."""
        with self._lock:
            rows = list(self._rows.values())
        return [row.status() for row in rows]

    def summary(self) -> str:
        """How many streams are in which state, in one line."""
        counts = Counter(stream.state for stream in self.streams())
        known = [f"{counts[state]} {state}" for state in STATES if counts[state]]
        return f"streams: {', '.join(known) or 'none'}"


def _aged(face: FaceView, by_s: float) -> FaceView:
    """`face` as it is `by_s` later; before its first reading there is nothing to age."""
    return face if face.label is None else replace(face, age_s=face.age_s + by_s)
