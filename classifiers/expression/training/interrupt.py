"""Ctrl-C and SIGTERM that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """The signal `number`, of STOP, has come, and what was done until then is stored."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def between_steps() -> Iterator[Callable[[], int]]:
    """Hold back the first signal of STOP: the function that is given tells its number, 0 for none.
    A second one, of either, is handled at once, as outside.

    Python delivers signals to the main thread alone: in another one none ever comes. One that is
    ignored, as SIGINT is behind `nohup` in some shells, or that Python does not handle, stays so.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: handler for n in STOP if callable(handler := signal.getsignal(n))}

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        put_back()

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: came[0] if came else 0
    finally:
        put_back()
