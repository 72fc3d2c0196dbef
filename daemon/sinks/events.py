"""Readings as JSON lines, appended to a file that others may rotate."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from daemon.config import settings
from daemon.sinks.base import Output, Takes
from daemon.sinks.recording import make_folder, sink_error


class EventsFile:
    """Appends the readings of each frame in one write, so that a file holds whole lines only.

    Several streams may share a file. One that was moved away or deleted (logrotate) is created
    again; one that was cut to nothing (copytruncate) is written from its start.
    """

    kind = "events"
    takes: Takes = "readings"
    wanted = True

    def __init__(self, config: settings.EventsSink) -> None:
        self.path = config.path
        self._descriptor: int | None = None

    def write(self, output: Output) -> bool:
        if not output.readings:
            return False
        lines = "".join(reading.to_json() + "\n" for reading in output.readings)
        try:
            _append(self._current(), lines.encode())
        except OSError as error:
            raise sink_error(self.kind, self.path, error) from error
        return True

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _current(self) -> int:
        """A descriptor of the file that the path means now."""
        if self._descriptor is not None and not _is_at(self._descriptor, self.path):
            self.close()
        if self._descriptor is None:
            make_folder(self.path.parent)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
            if self._ends_in_mid_line(self._descriptor):
                _append(self._descriptor, b"\n")
        return self._descriptor

    def _ends_in_mid_line(self, descriptor: int) -> bool:
        """Whether somebody, killed or out of room, left half a line."""
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode) or state.st_size == 0:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _append(descriptor: int, data: bytes) -> None:
    """Write all of `data` at the end, or raise OSError and leave nothing of it."""
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError:
        state = os.fstat(descriptor)
        if done and stat.S_ISREG(state.st_mode):
            os.ftruncate(descriptor, state.st_size - done)
        raise
