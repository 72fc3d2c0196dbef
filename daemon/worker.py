"""A thread with one owner, who starts it once and joins it with a time-out."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Worker(ABC):
    """Executes `run` in a thread of its own: a daemon thread, since libav, drivers and dead network
    disks may return late, and the process must not wait for them at its exit."""

    def __init__(self, name: str) -> None:
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    @abstractmethod
    def run(self) -> None:
        """What the thread does."""

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the end; False if time ran out. True at once where it was never started."""
        if self._thread.is_alive():  # A signal may come before it was started.
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()
