"""Gives back, every few seconds, what ended muxers and encoders hold.

In PyAV a container and its streams refer to each other, so one that nobody closed, as at a fault,
does not go before Python's collector of cycles has run, which by itself it does when enough objects
came up: after hours, in a daemon that makes few. Until then each keeps its memory. Models and
modules, which stay, are taken out of the collector's sight, so that a run takes milliseconds.
"""

from __future__ import annotations

import gc
import threading

from daemon.worker import Worker

COLLECT_EVERY_S = 10.0


class GcThread(Worker):
    """A thread that runs the collector every `every_s` until `stop` is set."""

    def __init__(self, stop: threading.Event, every_s: float = COLLECT_EVERY_S) -> None:
        super().__init__("sweeper")
        self._stop = stop
        self._every_s = every_s

    def start(self) -> None:
        """Begin; what was made until now is taken to stay for good."""
        gc.collect()
        gc.freeze()
        super().start()

    def run(self) -> None:
        while not self._stop.wait(self._every_s):
            gc.collect()
