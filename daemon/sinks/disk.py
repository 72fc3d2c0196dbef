"""New files on disk that only ever hold whole pieces; and SinkErrors for what fails on disk."""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import av

from daemon.errors import Reason, SinkError
from daemon.sinks.base import encode_error

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def sink_errors(target: Path | str) -> Iterator[None]:
    """Turns errors of the system and of libav, while `target` is written, into SinkErrors that
    name it."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise _sink_error(target, error) from error


def _sink_error(target: Path | str, error: OSError | av.FFmpegError) -> SinkError:
    cause = error.strerror or str(error)
    if error.errno in FULL:
        return SinkError(Reason.DISK_FULL, f"{target}: no room left ({cause})")
    if isinstance(error, av.FFmpegError):  # Some are OSErrors, though no disk is touched.
        return encode_error(str(target), error)
    if error.errno in (errno.ENXIO, errno.EPIPE):
        return SinkError(Reason.NOT_WRITABLE, f"{target}: nobody reads from this pipe")
    if isinstance(error, TimeoutError):
        return SinkError(Reason.TIMEOUT, f"{target}: {cause}")
    return SinkError(
        Reason.NOT_WRITABLE,
        f"{target} cannot be written ({cause}); "
        "accepted is a path in a folder that affectd may write to",
    )


def make_folder(folder: Path) -> None:
    """Create `folder` and what is missing above it. Raises OSError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from error


def create_numbered(path: Path) -> tuple[Path, FileIO]:
    """Create `path`, or the first of `path-2`, `path-3`, … that is not there yet.

    Makes missing parent folders. Raises OSError, also where `path` is a folder.
    """
    make_folder(path.parent)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    for number in itertools.count(1):
        candidate = path if number == 1 else path.with_stem(f"{path.stem}-{number}")
        try:
            return candidate, FileIO(candidate, "x")
        except FileExistsError:
            continue
    raise AssertionError("count() does not end")


def numbered(path: Path) -> list[Path]:
    """The existing files among `path-2`, `path-3`, … in order. None where the folder cannot be
    read: writing to it then raises a clearer error."""
    number = re.compile(re.escape(path.stem) + r"-(\d+)")
    try:
        beside = list(path.parent.iterdir())
    except OSError:
        return []
    found = [
        (int(match[1]), other)
        for other in beside
        if other.suffix == path.suffix and (match := number.fullmatch(other.stem))
    ]
    return [other for _, other in sorted(found)]


class PieceFile:
    """A file that grows by whole pieces: one that does not fit is removed again, so that the file
    ends with a whole piece."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.size = 0

    def append(self, piece: bytes) -> None:
        """Write one piece. Raises OSError, and leaves the file as it was before."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self.size)
            raise
        self.size += len(piece)

    def close(self) -> None:
        self._file.close()
