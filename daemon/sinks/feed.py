"""From a writer's thread to the web server's readers: newest wins, a slow reader delays nobody."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Hands what any thread publishes to every subscriber of any event loop.

    Each subscriber has a queue of its own of `capacity` items. When it is full, its oldest item
    is dropped and counted in `Subscription.dropped`; `publish` never waits.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription[T]] = []
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many are subscribed now; whoever publishes can skip the work when it is 0."""
        return len(self._subscriptions)

    def publish(self, item: T) -> None:
        """Give `item` to every subscriber. From any thread; never blocks."""
        with self._lock:
            for subscription in self._subscriptions:
                subscription._put(item)

    @asynccontextmanager
    async def subscribe(
        self, wanted: Callable[[T], bool] = lambda _: True
    ) -> AsyncIterator[Subscription[T]]:
        """A subscription of the running event loop, from now on: older items are not repeated.

        Items that are not `wanted` are left out, and do not count as dropped. `wanted` is called on
        the publisher's thread.
        """
        loop = asyncio.get_running_loop()
        subscription: Subscription[T] = Subscription(self._capacity, loop, wanted)
        with self._lock:
            self._subscriptions.append(subscription)
            if self._closed:
                subscription._close()
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.remove(subscription)

    def clear(self) -> None:
        """Remove all items that have not been read yet."""
        with self._lock:
            for subscription in self._subscriptions:
                subscription._clear()

    def close(self) -> None:
        """End every subscription once its items are read; later ones end at once."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions:
                subscription._close()


class Subscription(Generic[T]):
    """One reader's queue. `dropped` counts the items that it was too slow for."""

    def __init__(
        self, capacity: int, loop: asyncio.AbstractEventLoop, wanted: Callable[[T], bool]
    ) -> None:
        self._items: deque[T] = deque(maxlen=capacity)
        self._loop = loop
        self._wanted = wanted
        self._lock = threading.Lock()
        self._wake = asyncio.Event()
        self._wake_is_due = False
        self._closed = False
        self.dropped = 0

    async def next(self) -> T:
        """Wait for the oldest item not read yet. Raises StopAsyncIteration at the feed's end.

        Inside an async generator use `async for item in subscription`, which ends by itself.
        """
        while True:
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._closed:
                    raise StopAsyncIteration
                self._wake.clear()
            await self._wake.wait()

    def __aiter__(self) -> Subscription[T]:
        return self

    async def __anext__(self) -> T:
        return await self.next()

    def _put(self, item: T) -> None:
        if not self._wanted(item):
            return
        with self._lock:
            if len(self._items) == self._items.maxlen:
                self.dropped += 1
            self._items.append(item)
            self._wake_reader()

    def _clear(self) -> None:
        with self._lock:
            self._items.clear()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._wake_reader()

    def _wake_reader(self) -> None:
        # At most one wake-up waits in the loop, so that a stuck loop does not collect them.
        if self._wake_is_due or self._loop.is_closed():
            return
        self._wake_is_due = True
        try:
            self._loop.call_soon_threadsafe(self._woken)
        except RuntimeError:  # The loop closed meanwhile: its reader is gone.
            self._wake_is_due = False

    def _woken(self) -> None:
        with self._lock:
            self._wake_is_due = False
            self._wake.set()


class JpegFeed(Feed[bytes]):
    """The newest picture of a stream as JPEG; an unread one is replaced."""

    def __init__(self) -> None:
        super().__init__(capacity=1)
