"""A command that Ctrl-C ends, or another signal."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.affectd import environment


@contextmanager
def started(folder: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, since a signal reaches the whole of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_heeds_all,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _heeds_all() -> None:
    """A shell's `&` and `nohup` leave signals ignored, to children too."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupt(
    process: subprocess.Popen[str], when: Callable[[], bool], number: int = signal.SIGINT
) -> str:
    """Send a signal as soon as `when` is so; returns what was printed."""
    end_s = time.monotonic() + 180.0
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.05)  # a process of its own gives no event to wait on
    process.send_signal(number)
    printed, _ = process.communicate(timeout=100)
    return printed
