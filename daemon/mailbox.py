"""The hand-over of frames from the capture thread of a stream to the thread that reads them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from daemon.frame import Frame

FILE_FRAMES = 4
_STOP_TICK_S = 0.1


class Mailbox:
    """A bounded queue for one writer and one reader.

    Full, with `keep_all` (files): `put` waits, so the reader's pace stops the decoder.
    Full, without (live): it holds one frame, and the unread one is replaced and given up;
    `on_drop` is called once for each.
    """

    def __init__(self, *, keep_all: bool, on_drop: Callable[[], None]) -> None:
        self._keep_all = keep_all
        self._on_drop = on_drop
        self._room = FILE_FRAMES if keep_all else 1
        self._frames: deque[Frame] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame, stop: threading.Event) -> bool:
        """Hand over a frame. False when it was not taken, since the box closed or `stop` is set."""
        dropped = False
        with self._changed:
            while self._keep_all and len(self._frames) >= self._room and not self._closed:
                if stop.is_set():
                    return False
                self._changed.wait(_STOP_TICK_S)
            if self._closed:
                return False
            if len(self._frames) >= self._room:
                self._frames.popleft()
                dropped = True
            self._frames.append(frame)
            self._changed.notify_all()
        if dropped:
            self._on_drop()
        return True

    def get(self, timeout_s: float) -> Frame | None:
        """The next frame, or None after `timeout_s` without one or when there are no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._closed, timeout_s)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._changed.notify_all()
            return frame

    def close(self) -> None:
        """No more frames will come; wakes both sides. Those still inside can be read."""
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
            return self._closed and not self._frames
