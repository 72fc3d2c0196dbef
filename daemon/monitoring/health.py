"""Whether the daemon works: its loops turn, its models are loaded, a stream delivers.

`/livez`, `/readyz` and systemd's watchdog all ask here, so that they never disagree.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from daemon.monitoring.status import StreamStatus


class Loop:
    """One loop that promises to turn at least every `limit_s`. Call it at every turn.

    Thread-safe. A loop that is over on purpose says so with `end` and is no longer watched; one
    that dies without it is found by its silence.
    """

    def __init__(self, health: Health, name: str, limit_s: float) -> None:
        self._health = health
        self.name = name
        self.limit_s = limit_s

    def __call__(self) -> None:
        self._health._beat(self)

    def end(self) -> None:
        """Stop being watched; safe to call twice."""
        self._health._end(self)


class Health:
    """The beats of every loop of the daemon. `clock` is monotonic, in seconds.

    Set `models_loaded` once the models can be used.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beaten_s: dict[Loop, float] = {}
        self.models_loaded = False

    def loop(self, name: str, limit_s: float) -> Loop:
        """Watch a new loop, from now on. `name` is for people, such as "capture lobby"."""
        loop = Loop(self, name, limit_s)
        with self._lock:
            self._beaten_s[loop] = self._clock()
        return loop

    def is_alive(self) -> tuple[bool, str]:
        """Whether every loop turned within its limit, and if not, which did not."""
        with self._lock:
            now_s = self._clock()
            silent = [
                f"{loop.name} has not turned for {now_s - beaten_s:.1f} s "
                f"(limit {loop.limit_s:g} s)"
                for loop, beaten_s in self._beaten_s.items()
                if now_s - beaten_s > loop.limit_s
            ]
            count = len(self._beaten_s)
        if silent:
            return False, "; ".join(silent)
        return True, f"loops that turn: {count}"

    def is_ready(self, streams: Sequence[StreamStatus]) -> tuple[bool, str]:
        """Whether the models are loaded and at least one of `streams` delivers, and if not, why."""
        if not self.models_loaded:
            return False, "the models are not loaded yet"
        live = [stream.name for stream in streams if stream.state == "live"]
        if live:
            return True, f"{len(live)} of {len(streams)} streams deliver"
        states = ", ".join(f"{stream.name} is {stream.words}" for stream in streams)
        return False, f"no stream delivers: {states or 'none is configured'}"

    def _beat(self, loop: Loop) -> None:
        with self._lock:
            if loop in self._beaten_s:
                self._beaten_s[loop] = self._clock()

    def _end(self, loop: Loop) -> None:
        with self._lock:
            self._beaten_s.pop(loop, None)
