"""Which faults are logged with their trace: not every one, nor only a process's first."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

QUIET_S = 600.0  # longer than any pause between two tries


class Traces:
    """Remembers the places in the code that failed, and when. Belongs to one thread.

    `clock` is monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed_s: dict[tuple[type[Exception], str, int], float] = {}

    def is_due(self, error: Exception) -> bool:
        """Note a fault. True if none of its type was raised at its line for `QUIET_S`: one that
        repeats is due once, and once more when it comes back after months."""
        # Not by message: those hold addresses and numbers, and would fill the memory.
        step = error.__traceback__
        while step is not None and step.tb_next is not None:
            step = step.tb_next
        file, line = ("", 0) if step is None else (step.tb_frame.f_code.co_filename, step.tb_lineno)
        place = type(error), file, line
        now_s = self._clock()
        due = now_s - self._failed_s.get(place, float("-inf")) > QUIET_S
        self._failed_s[place] = now_s
        return due

    def log(self, log: logging.Logger, error: Exception, text: str, *args: object) -> None:
        """Note a fault and log `text`: as an error with its trace if that is due, else at debug
        level."""
        due = self.is_due(error)
        log.log(
            logging.ERROR if due else logging.DEBUG, text, *args, exc_info=error if due else None
        )
