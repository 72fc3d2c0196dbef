"""Waiting for what other threads do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Return as soon as `is_so()`; fail when it does not happen in time."""
    end_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < end_s, "it did not happen in time"
        pause.wait(0.005)
