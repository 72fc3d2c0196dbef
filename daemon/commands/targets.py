"""Files that a command leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.errors import Reason, SinkError
from daemon.sinks.recording import FULL


@contextmanager
def written(target: Path) -> Iterator[None]:
    """Write `target` within. An OSError becomes a SinkError, one line that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            text = f"{target}: no room left ({error.strerror})"
            raise SinkError(Reason.DISK_FULL, text) from error
        raise SinkError(
            Reason.NOT_WRITABLE,
            f"{target} cannot be written ({error.strerror}); "
            "accepted is a place that affectd may write to",
        ) from error
