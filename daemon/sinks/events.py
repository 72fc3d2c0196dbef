"""Readings as JSON lines, appended to a file that others may rotate."""

from __future__ import annotations

import errno
import os
import select
import stat
import threading
from collections.abc import Sequence
from pathlib import Path

from daemon.config.sink_settings import EventsSinkSettings
from daemon.sinks.base import Output, Takes
from daemon.sinks.disk import make_folder, sink_errors

READER_S = 5.0
_LOCKS: dict[tuple[int, int], threading.RLock] = {}  # by file: its device and inode


class EventsFile:
    """Appends the readings of each frame in one write, so that a file holds whole lines only. It
    exists from the first frame on: an empty file means that there was nothing to read.

    Several streams may share a file. One that was moved away or deleted (logrotate) is created
    again; one that was truncated (copytruncate) is written from its start.

    A named pipe will do too: without a reader, or with one that takes nothing for `READER_S`, the
    sink is down. Its reader may get a reading twice after that, but never half of one.
    """

    takes: Takes = "readings"
    wanted = True

    def __init__(self, config: EventsSinkSettings) -> None:
        self.path = config.path
        self._descriptor: int | None = None

    def write(self, output: Output) -> bool:
        lines = [reading.to_json().encode() + b"\n" for reading in output.readings]
        with sink_errors(f"events sink: {self.path}"):
            if self._descriptor is not None and not _is_at(self._descriptor, self.path):
                self.close()  # A deleted file must free its disk space, even without new readings.
            descriptor = self._current()  # Faults must show even with nothing to write.
            if lines:
                _append(descriptor, lines)
        return bool(lines)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with sink_errors(f"events sink: {self.path}"):
                os.close(descriptor)

    def _current(self) -> int:
        """The descriptor, opened where there is none."""
        if self._descriptor is None:
            make_folder(self.path.parent)
            # Without O_NONBLOCK open(2) blocks on a pipe that nobody reads, write(2) on a full one.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self.path, flags, 0o644)
            with _one_writer(os.fstat(self._descriptor)):
                if self._ends_in_mid_line(self._descriptor):
                    _append(self._descriptor, [b"\n"])
        return self._descriptor

    def _ends_in_mid_line(self, descriptor: int) -> bool:
        """Whether a process that was killed, or ran out of disk space, left half a line."""
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


def _one_writer(state: os.stat_result) -> threading.RLock:
    """Held while lines are written to a file, or taken back, so that no other stream that shares it
    takes half of them for what a killed process left."""
    return _LOCKS.setdefault((state.st_dev, state.st_ino), threading.RLock())


def _append(descriptor: int, lines: Sequence[bytes]) -> None:
    """Write all lines at the end, or raise OSError: a file is then as before, a pipe ends with a
    whole line."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        for line in lines:
            _wait_for_reader(descriptor)
            os.write(descriptor, line)  # Whole or not at all, since it is less than PIPE_BUF.
        return
    data, done = b"".join(lines), 0
    with _one_writer(state):
        try:
            while done < len(data):
                done += os.write(descriptor, data[done:])
        except OSError:
            if done:
                os.ftruncate(descriptor, os.fstat(descriptor).st_size - done)
            raise


def _wait_for_reader(descriptor: int) -> None:
    """Wait until a pipe has room. Raises TimeoutError."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(1000.0 * READER_S):
        raise TimeoutError(errno.ETIMEDOUT, f"nothing was read from it for {READER_S:g} s")
