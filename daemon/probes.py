"""What works on this machine: tried before it is relied on, and not for every stream anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVarTuple

FAILURE_LASTS_S = 600.0
MOST_KEPT = 256

What = TypeVarTuple("What")


class ProbeCache(Generic[*What]):
    """Calls `passes` of one thing at a time, and keeps what it said: a success for good, a failure
    for `FAILURE_LASTS_S`, as a graphics card may only have been full. Of the `MOST_KEPT` verdicts
    the oldest makes room. Thread-safe; `monotonic` gives seconds."""

    def __init__(
        self, passes: Callable[[*What], bool], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._passes = passes
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._verdicts: dict[tuple[*What], tuple[bool, float]] = {}  # and when it was given

    def __call__(self, *what: *What) -> bool:
        with self._lock:
            passed, at_s = self._verdicts.get(what, (False, -FAILURE_LASTS_S))
            if not passed and self._monotonic() - at_s >= FAILURE_LASTS_S:
                passed = self._passes(*what)
                self._verdicts[what] = passed, self._monotonic()
                if len(self._verdicts) > MOST_KEPT:
                    del self._verdicts[next(iter(self._verdicts))]
            return passed

    def forget(self) -> None:
        """Try everything once more before it is used."""
        with self._lock:
            self._verdicts.clear()
