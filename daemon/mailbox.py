"""The hand-over of pictures from one thread to the next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

FILE_FRAMES = 4
_STOP_TICK_S = 0.1

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """A bounded queue for one writer and one reader, of `room` items (one if live).

    When full, with `keep_all` (files): `put` waits, so a slow reader slows the decoder down.
    When full, without (live): the oldest item is dropped; `on_drop` is called once for each.
    """

    def __init__(
        self, *, keep_all: bool, on_drop: Callable[[], None], room: int | None = None
    ) -> None:
        self._keep_all = keep_all
        self._on_drop = on_drop
        self._room = room or (FILE_FRAMES if keep_all else 1)
        self._items: deque[Item] = deque()
        self._closed = False
        self._woken = False
        self._changed = threading.Condition()

    def put(
        self, item: Item, stop: threading.Event, beat: Callable[[], None] = lambda: None
    ) -> bool:
        """Hand over an item. False if it was not taken: the box is closed, or `stop` was set while
        it waited. `beat` is called meanwhile: the writer is not stuck, only its reader is slow."""
        dropped = False
        with self._changed:
            while self._keep_all and len(self._items) >= self._room and not self._closed:
                if stop.is_set():
                    return False
                self._changed.wait(_STOP_TICK_S)
                beat()
            if self._closed:
                return False
            if len(self._items) >= self._room:
                self._items.popleft()
                dropped = True
            self._items.append(item)
            self._changed.notify_all()
        if dropped:
            self._on_drop()
        return True

    def get(self, timeout_s: float) -> Item | None:
        """The next item, or None after `timeout_s` without one, when woken or when there are no
        more."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._woken, timeout_s)
            self._woken = False
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def wake(self) -> None:
        """Let `get` return at once: the reader has something else to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """Take no more items; wakes both sides. Items still inside can be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; frames may still be inside."""
        return self._closed

    @property
    def ended(self) -> bool:
        """Whether the box is closed and read empty."""
        with self._changed:
            return self._closed and not self._items
