"""How long to wait before the next try: 1, 2, 4 … 60 s, alike for captures, streams and sinks."""

from __future__ import annotations

from collections.abc import Callable

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
GOOD_AFTER_S = 5.0  # after so long without a failure the first delay is due again
BEAT_S = 1.0


class Backoff:
    """A delay that doubles with every failure until something has worked for `GOOD_AFTER_S`."""

    def __init__(self, first_s: float = FIRST_DELAY_S) -> None:
        self._first_s = self._next_s = first_s

    def reset(self) -> None:
        """It worked: the next failure waits for the first delay again."""
        self._next_s = self._first_s

    def take_s(self) -> float:
        """The delay that is due now; the one after it is twice as long."""
        delay_s, self._next_s = self._next_s, min(2.0 * self._next_s, LONGEST_DELAY_S)
        return delay_s


def pause(
    delay_s: float,
    *,
    wait: Callable[[float], object],
    beat: Callable[[], None],
    is_over: Callable[[], bool],
) -> None:
    """Wait for `delay_s` or until `is_over()`, calling `beat` every second for the watchdog."""
    while delay_s > 0.0 and not is_over():
        wait(min(delay_s, BEAT_S))
        beat()
        delay_s -= BEAT_S
