"""Media time that starts at zero and only grows, from a container's timestamps; and when pictures
of a given media time are due."""

from __future__ import annotations

LARGEST_JITTER_S = 1.0
LATEST_S = 1.0
LEAP_S = 1.0  # A server that skips pictures skips at least this much: a segment.
HASTE = 0.1
CLOCK_DRIFT = 0.0002  # of a camera, at most: seconds in a second
_NUDGE_S = 0.001


class Timeline:
    """Turns container timestamps into seconds from the first frame.

    A frame without a timestamp follows the one before by `step_s`; on a live source that has given
    no timestamp yet, it is placed by its time of arrival. A timestamp that stands still or goes
    back a little is moved just past the one before. One that goes back by more than
    `LARGEST_JITTER_S` starts a new offset, and media time goes on from the frame before (a joined
    file, a camera that set its clock). So does one of a live source that leaps ahead of the time
    that has passed, measured from its promptest frame.
    """

    def __init__(self, step_s: float) -> None:
        self.step_s = step_s
        self._offset_s: float | None = None
        self._last_s: float | None = None
        self._given_s: float | None = None
        self._began_s = self._came_s = self._moved_s = 0.0
        self._delay_s = self._least_delay_s = 0.0

    def place(self, time_s: float | None, now_s: float | None = None) -> float:
        """Media time of the next frame, whose container timestamp is `time_s`. `now_s` is when the
        frame of a live source arrived; None for files, which may be read at any pace."""
        passed_s = self._note(time_s, now_s)
        if self._last_s is None:
            self._offset_s = None if time_s is None else -time_s
            self._last_s = 0.0
            return 0.0
        following_s = self._last_s + self.step_s
        if time_s is None:
            placed_s = following_s
            if now_s is not None and self._offset_s is None:
                placed_s = max(now_s - self._began_s, self._last_s + _NUDGE_S)
        else:
            if self._offset_s is None:
                self._offset_s = following_s - time_s
            placed_s = time_s + self._offset_s
            if placed_s < self._last_s - LARGEST_JITTER_S or (
                now_s is not None and self._is_ahead(placed_s, passed_s)
            ):
                following_s = max(following_s, self._last_s + passed_s)
                self._offset_s += following_s - placed_s
                placed_s = following_s
            elif placed_s <= self._last_s:
                placed_s = self._last_s + _NUDGE_S
            if now_s is not None:
                self._delay_s = now_s - self._began_s - placed_s
                drifted_s = self._least_delay_s + CLOCK_DRIFT * passed_s
                self._least_delay_s = min(self._delay_s, drifted_s)
        self._last_s = placed_s
        return placed_s

    def stood_s(self) -> float:
        """Seconds for which frames of a live source have come with one and the same timestamp."""
        return self._came_s - self._moved_s

    def delay_s(self) -> float:
        """Seconds by which the last frame of a live source with timestamps arrived later than if it
        were as prompt as the promptest one. As a camera's clock may be slow, a lasting delay fades
        by `CLOCK_DRIFT`. One that existed from the first frame on only shows once it shrinks."""
        return self._delay_s - self._least_delay_s

    def restart(self) -> None:
        """The file is read from its beginning again: its first frame follows the last one."""
        self._offset_s = None

    def _note(self, time_s: float | None, now_s: float | None) -> float:
        """Remember when the frame arrived; returns how many seconds after the one before."""
        if now_s is None:
            return 0.0
        if self._last_s is None:
            self._began_s = self._came_s = now_s
        passed_s, self._came_s = now_s - self._came_s, now_s
        if time_s is None or time_s != self._given_s:
            self._moved_s = now_s
        self._given_s = time_s
        return passed_s

    def _is_ahead(self, placed_s: float, passed_s: float) -> bool:
        """Whether a live source's timestamp leapt forward by more than the time that passed."""
        assert self._last_s is not None
        leap_s = placed_s - self._last_s - passed_s
        lead_s = placed_s - (self._came_s - self._began_s) + self._least_delay_s
        return leap_s > LARGEST_JITTER_S and lead_s > LARGEST_JITTER_S


class Pace:
    """When pictures that can be read faster than real time are due: as long after the first as
    their media time says.

    After a gap in media time that is longer than `longest_s`, and after a picture that came more
    than `LATEST_S` late, time counts from there. With `makes_up`, such a delay becomes a debt. It
    is paid back by shortening gaps in media time, and otherwise by playing faster by `HASTE`. If
    that makes pictures late again, by less than twice `LATEST_S`, none lie ready (a slow clock, a
    server that stood still), and the debt is dropped.
    """

    def __init__(self, longest_s: float, *, makes_up: bool = False) -> None:
        self._longest_s = longest_s
        self._makes_up = makes_up
        self._began_s: float | None = None
        self._last_s = self._step_s = 0.0
        self.owed_s = 0.0

    def wait_s(self, pts_s: float, now_s: float) -> float:
        """Seconds, at most `longest_s`, to hold back the picture of media time `pts_s`."""
        if self._began_s is None:
            self._began_s = now_s - pts_s
            self._last_s = pts_s
        step_s, self._last_s = pts_s - self._last_s, pts_s
        leaps, self._step_s = step_s > self._step_s + LEAP_S, step_s
        paid_s = min(self.owed_s, step_s if leaps else HASTE * step_s)
        self.owed_s -= paid_s
        self._began_s -= paid_s
        early_s = self._began_s + pts_s - now_s
        wait_s = min(max(0.0, early_s), self._longest_s)
        if not -LATEST_S <= early_s <= self._longest_s:
            self._began_s += wait_s - early_s
            if self._makes_up and early_s < 0.0:
                is_new = not self.owed_s or early_s < -2.0 * LATEST_S
                self.owed_s = self.owed_s - early_s if is_new else 0.0
        return wait_s
