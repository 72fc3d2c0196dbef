"""Media time that starts at zero and only grows, from the timestamps that a container gives."""

from __future__ import annotations

LARGEST_JITTER_S = 1.0
_NUDGE_S = 0.001


class Timeline:
    """Turns container timestamps into seconds from the first frame.

    A frame without a timestamp follows the one before by `step_s`. A timestamp that stands still
    or goes back a little is moved just past the one before; one that goes back further than
    `LARGEST_JITTER_S` begins anew there (a joined file, a camera that set its clock).
    """

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self._offset_s: float | None = None
        self._last_s: float | None = None

    def place(self, time_s: float | None) -> float:
        """Media time of the next frame, whose container timestamp is `time_s`."""
        if self._last_s is None:
            self._offset_s = None if time_s is None else -time_s
            self._last_s = 0.0
            return 0.0
        following_s = self._last_s + self.step_s
        if time_s is None:
            placed_s = following_s
        else:
            if self._offset_s is None:
                self._offset_s = following_s - time_s
            placed_s = time_s + self._offset_s
            if placed_s < self._last_s - LARGEST_JITTER_S:
                self._offset_s += following_s - placed_s
                placed_s = following_s
            elif placed_s <= self._last_s:
                placed_s = self._last_s + _NUDGE_S
        self._last_s = placed_s
        return placed_s

    def restart(self) -> None:
        """What comes now is read from the beginning again: it follows the last frame."""
        self._offset_s = None
