"""Tries what works on this machine before it is relied on, once for all streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVarTuple

FAILURE_LASTS_S = 600.0
MOST_KEPT = 256

What = TypeVarTuple("What")


class ProbeCache(Generic[*What]):
    """Caches the results of `passes`: a success for ever, a failure for `FAILURE_LASTS_S`, as a
    graphics card may only have been full. Runs one probe at a time, and keeps `MOST_KEPT` results,
    of which the oldest gives way. Thread-safe; `monotonic` gives seconds."""

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
        """Drop all results: everything is tried again before its next use."""
        with self._lock:
            self._verdicts.clear()
