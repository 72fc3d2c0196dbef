"""Frees, every few seconds, the memory of muxers and encoders that are no longer in use.

In PyAV a container and its streams refer to each other, so one that nobody closed, as after a
fault, is freed only by Python's cycle collector. That runs by itself once enough objects have been
created: after hours, in a daemon that creates few. Models and modules, which stay, are frozen, that
is hidden from the collector, so that a run takes milliseconds.
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
        """Freeze all objects that exist by now, then start the thread."""
        gc.collect()
        gc.freeze()
        super().start()

    def run(self) -> None:
        while not self._stop.wait(self._every_s):
            gc.collect()
