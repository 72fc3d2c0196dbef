"""The progress bar of a measurement that has a given time."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from daemon.commands.progress import progress_bar


class Bar:
    """Fills while `seconds` pass, and says what is being measured. On no terminal it is unseen."""

    def __init__(self, seconds: float, console: Console) -> None:
        self.seconds = seconds
        self._began_s = time.monotonic()
        columns = (TextColumn("{task.description:<26}"), BarColumn(), TimeRemainingColumn())
        # Nothing is drawn by a thread of its own, which would take from what is measured.
        self._progress = progress_bar(console, *columns, auto_refresh=False)
        self._task = self._progress.add_task("", total=seconds)
        self._drawn_s = 0.0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self) -> None:
        """Let the time begin anew."""
        self._began_s = time.monotonic()

    def left_s(self) -> float:
        """Seconds of the time that are left; below 0 when it is over."""
        return self.seconds - (time.monotonic() - self._began_s)

    def say(self, what: str) -> None:
        """Show what is being measured."""
        self._progress.update(self._task, description=what)
        self._drawn_s = 0.0
        self.tick()

    def tick(self) -> None:
        """Move on; drawn a few times a second at most."""
        now_s = time.monotonic()
        if now_s - self._drawn_s < 0.25:
            return
        self._drawn_s = now_s
        done_s = min(self.seconds * 0.99, now_s - self._began_s)
        self._progress.update(self._task, completed=done_s, refresh=True)
