"""Whether the daemon works: its loops run, its models are loaded, a stream delivers.

`/livez`, `/readyz` and systemd's watchdog all ask here, so that they never disagree.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from daemon.monitoring.status import StreamStatus


class Loop:
    """The beat of one loop, which calls this object in every round, at least every `limit_s`.

    Thread-safe. A loop that ends on purpose calls `end` and is no longer watched; one that dies
    without it is found when its beat stops.
    """

    def __init__(self, name: str, limit_s: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.limit_s = limit_s
        self._clock = clock
        self.beaten_s = clock()
        self.is_over = False

    def __call__(self) -> None:
        self.beaten_s = self._clock()

    def end(self) -> None:
        """Stop being watched; safe to call twice."""
        self.is_over = True


class Health:
    """The beats of every loop of the daemon. `clock` is monotonic, in seconds.

    Set `models_loaded` once the models can be used.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loops: list[Loop] = []
        self.models_loaded = False

    def loop(self, name: str, limit_s: float) -> Loop:
        """Watch a new loop, from now on. `name` is for people, such as "capture lobby"."""
        loop = Loop(name, limit_s, self._clock)
        with self._lock:
            self._loops = [*self._watched(), loop]
        return loop

    def is_alive(self) -> tuple[bool, str]:
        """Whether every loop beat within its limit, and if not, which did not."""
        now_s, loops = self._clock(), self._watched()
        silent = [
            f"{loop.name} has not turned for {now_s - loop.beaten_s:.1f} s "
            f"(limit {loop.limit_s:g} s)"
            for loop in loops
            if now_s - loop.beaten_s > loop.limit_s
        ]
        if silent:
            return False, "; ".join(silent)
        return True, f"loops that turn: {len(loops)}"

    def is_ready(self, streams: Sequence[StreamStatus]) -> tuple[bool, str]:
        """Whether the models are loaded and at least one of `streams` delivers, and if not, why."""
        if not self.models_loaded:
            return False, "the models are not loaded yet"
        live = [stream.name for stream in streams if stream.state == "live"]
        if live:
            return True, f"{len(live)} of {len(streams)} streams deliver"
        states = ", ".join(f"{stream.name} is {stream.words}" for stream in streams)
        return False, f"no stream delivers: {states or 'none is configured'}"

    def _watched(self) -> list[Loop]:
        return [loop for loop in self._loops if not loop.is_over]
