"""The queue of each kind of sink, and what is dropped when it is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic

from daemon.reading import Reading
from daemon.sinks.base import Item, Output, Packet, Takes

QUEUE_FRAMES = 8
# H.264 is small, and losing one packet costs all that follow up to the next keyframe.
QUEUE_PACKETS = 64
QUEUE_READINGS = 4096

Lose = Callable[[int], None]


def backlog_for(takes: Takes, lose: Lose) -> Backlog[Any]:
    """The queue of a sink. `lose` is called with the number of pictures, packets or readings that
    are dropped."""
    match takes:
        case "pictures":
            return Backlog(QUEUE_FRAMES, lose)
        case "readings":
            return _Readings(QUEUE_FRAMES, lose)
        case "news":
            return _News(QUEUE_FRAMES, lose)
        case "packets":
            return _Packets(QUEUE_PACKETS, lose)


class Backlog(Generic[Item]):
    """At most `room` items; one more drops the oldest. Not thread-safe: the writer holds a lock."""

    def __init__(self, room: int, lose: Lose) -> None:
        self._room = room
        self._lose = lose
        self._items: deque[Item] = deque()

    @property
    def is_full(self) -> bool:
        return len(self._items) >= self._room

    def put(self, item: Item) -> None:
        if self.is_full:
            self._give_up(self._items.popleft())
        self._items.append(item)

    def take(self) -> Item | None:
        """Remove and return the oldest item; None if there is none."""
        return self._items.popleft() if self._items else None

    def failed(self, item: Item, *, again: bool) -> None:
        """The sink failed to write `item`; with `again` that may be tried once more."""
        self._lose(self.worth(item))

    def clear(self) -> None:
        """Drop everything."""
        while self._items:
            self._lose(self.worth(self._items.popleft()))

    def comes_back(self) -> None:
        """The sink is about to be tried again."""

    def worth(self, item: Item) -> int:
        """How many losses are counted when `item` is dropped."""
        return 1

    def _give_up(self, item: Item) -> None:
        self._lose(self.worth(item))


class _Readings(Backlog[Output]):
    """Keeps the readings of a dropped output: they move to the next one, or to an output without
    other readings if none follows. Only beyond `QUEUE_READINGS` are the oldest dropped."""

    def __init__(self, room: int, lose: Lose) -> None:
        super().__init__(room, lose)
        self._carried: deque[Reading] = deque()
        self._spare: Output | None = None

    def take(self) -> Output | None:
        output = super().take() or self._spare
        self._spare = None
        if output is not None and self._carried:
            output = replace(output, readings=(*self._carried, *output.readings))
            self._carried.clear()
        return output

    def failed(self, item: Output, *, again: bool) -> None:
        if again:
            self._carried.extendleft(reversed(item.readings))
            self._carry(item)
        else:
            super().failed(item, again=False)

    def clear(self) -> None:
        self._lose(len(self._carried))
        self._carried.clear()
        self._spare = None
        super().clear()

    def worth(self, item: Output) -> int:
        return len(item.readings)

    def _give_up(self, item: Output) -> None:
        self._carried.extend(item.readings)
        self._carry(item)

    def _carry(self, output: Output) -> None:
        self._spare = replace(output, readings=())
        excess = max(0, len(self._carried) - QUEUE_READINGS)
        for _ in range(excess):
            self._carried.popleft()
        self._lose(excess)


class _News(_Readings):
    """Readings that came while the sink was down are out of date, and are dropped."""

    def comes_back(self) -> None:
        self.clear()


class _Packets(Backlog[Packet]):
    """After a loss, packets are dropped up to the next keyframe: they would decode to rubbish.
    Packets that came while the sink was down are out of date, and are dropped too."""

    def __init__(self, room: int, lose: Lose) -> None:
        super().__init__(room, lose)
        self._needs_keyframe = False

    def take(self) -> Packet | None:
        packet = super().take()
        while packet is not None and self._needs_keyframe and not packet.is_keyframe:
            self._lose(1)
            packet = super().take()
        if packet is not None:
            self._needs_keyframe = False
        return packet

    def comes_back(self) -> None:
        self._needs_keyframe = True
        self.clear()

    def _give_up(self, item: Packet) -> None:
        self._needs_keyframe = True
        super()._give_up(item)
