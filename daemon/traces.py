"""Which faults are logged with their trace: not each time, nor only the first of a process."""

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
        """Take in a fault. True if no other of its type came from its place for `QUIET_S`: what
        fails again and again is told once, and told again when it comes back after months."""
        # By place: texts hold addresses and numbers, and there is no end of them.
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
        """Take in a fault and log `text`: an error with its trace if it is due, else for
        debugging."""
        due = self.is_due(error)
        log.log(
            logging.ERROR if due else logging.DEBUG, text, *args, exc_info=error if due else None
        )
