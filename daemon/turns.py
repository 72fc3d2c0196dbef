"""Who may work: threads that use the interpreter at the same time hand it to one another at every
call of libav and OpenCV, and each time a thread has to stop and be woken."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Self, TypeVar

SLICE_S = 0.004  # about what a frame with three faces takes

Item = TypeVar("Item")


class Turns:
    """A fair semaphore: `at_once` threads work, the others follow in the order they came.

    `threading.Semaphore` is not: who gives it back and takes it again comes before those who wait.
    """

    def __init__(self, at_once: int) -> None:
        self._lock = threading.Lock()
        self._free = at_once
        self._waiting: deque[threading.Lock] = deque()

    def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        gate.acquire()

    def leave(self) -> None:
        """Give the turn to who has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class Turn:
    """What one thread holds while it works: a context. With None for `turns` it never waits."""

    def __init__(self, turns: Turns | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns = turns
        self._clock = clock
        self._since_s = 0.0

    def __enter__(self) -> Self:
        if self._turns is not None:
            self._turns.take()
            self._since_s = self._clock()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._turns is not None:
            self._turns.leave()

    def sliced(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield `items`; after every SLICE_S of work all others that wait come first."""
        for item in items:
            yield item
            if self._turns is not None and self._clock() - self._since_s > SLICE_S:
                self._turns.leave()
                self._turns.take()
                self._since_s = self._clock()
