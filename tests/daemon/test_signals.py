"""Stop signals, sent for real to a process that has other threads."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.affectd import ROOT

# Says each step, and waits for a line before the next, so that no signal comes by luck.
PROGRAM = """
import sys, threading
from daemon import signals
signals.hold()
end = threading.Event()
threading.Thread(target=end.wait, name="worker").start()
print("ready", flush=True)
sys.stdin.readline()
print(signals.wait().name, flush=True)
sys.stdin.readline()
end.set()
print("ended", flush=True)
"""


@contextmanager
def program() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert said(process) == "ready"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_waited_for_and_the_program_ends_itself(number: signal.Signals) -> None:
    with program() as process:
        go_on(process)
        process.send_signal(number)
        assert said(process) == number.name
        go_on(process)
        assert said(process) == "ended"
        assert process.wait(10) == 0


def test_a_signal_that_comes_before_the_wait_is_not_lost() -> None:
    """While models load, for instance: nothing dies half way, and the end follows at once."""
    with program() as process:
        process.send_signal(signal.SIGTERM)
        go_on(process)
        assert said(process) == "SIGTERM"


def test_a_second_signal_ends_the_process_at_once() -> None:
    with program() as process:
        process.send_signal(signal.SIGTERM)
        go_on(process)
        assert said(process) == "SIGTERM"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
