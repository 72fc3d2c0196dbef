"""Waiting for what other threads do."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(is_so: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Return as soon as `is_so()`; fail when it does not happen in time."""
    end_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_so():
        assert time.monotonic() < end_s, "it did not happen in time"
        pause.wait(0.005)


def wait_for_server(process: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    """Return as soon as `process` takes connections; fail, with its log, where it does not."""
    end_s = time.monotonic() + 60.0
    while True:
        try:
            socket.create_connection((host, port), 20.0).close()
            return
        except OSError:
            assert time.monotonic() < end_s, f"it did not start: {log.read_text()}"
            assert process.poll() is None, f"it ended: {log.read_text()}"
            time.sleep(0.05)  # a process of its own gives no event to wait on
