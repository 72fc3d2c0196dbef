"""Limits how many threads work at once: otherwise they pass the GIL to one another at every call of
libav and OpenCV, and each time one thread sleeps and another is woken."""

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

    `threading.Semaphore` is not fair: a thread that releases it and acquires it again overtakes
    those that wait.
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
        """Give the turn to the thread that has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class Turn:
    """A context manager in which one thread works. With None for `turns` it never waits."""

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
        """Yield `items`; after every SLICE_S of work, all threads that wait come first."""
        for item in items:
            yield item
            if self._turns is not None and self._clock() - self._since_s > SLICE_S:
                self._turns.leave()
                self._turns.take()
                self._since_s = self._clock()
