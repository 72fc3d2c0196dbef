"""Stop signals, sent for real to a process that has other threads."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.affectd import ROOT

# Says each step, and waits for a line before the next, so that no signal comes by luck.
PROGRAM = """
import sys, threading
from daemon.service import signals
signals.hold()
end = threading.Event()
threading.Thread(target=end.wait, name="worker").start()
print("ready", flush=True)
sys.stdin.readline()
if "due" in sys.argv:
    print(signals.stop_is_due(), flush=True)
    sys.exit()
if "loading" in sys.argv:
    with signals.leaving_at_once():
        print("loading", flush=True)
        sys.stdin.readline()
    print("loaded", flush=True)
while (number := signals.wait()) is None:
    print("reload", flush=True)
print(number.name, flush=True)
sys.stdin.readline()
end.set()
print("ended", flush=True)
sys.exit(signals.exit_code(number))
"""

# As commands that come to an end of their own.
COMMAND = """
import sys
from daemon.service import signals
signals.raise_exit()
try:
    print("ready", flush=True)
    sys.stdin.readline()
    print("over", flush=True)
finally:
    print("cleaning up", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def program(
    *arguments: str, text: str = PROGRAM, before: Callable[[], object] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`text` in a session of its own, without a terminal unless `before` gives it one."""
    process = subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before,
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_is_waited_for_and_the_program_ends_itself(
    number: signal.Signals, code: int
) -> None:
    with program() as process:
        go_on(process)
        process.send_signal(number)
        assert said(process) == number.name
        go_on(process)
        assert said(process) == "ended"
        assert process.wait(60) == code


def test_a_signal_that_comes_before_the_wait_is_not_lost() -> None:
    """Nothing dies half way, and the end follows at once."""
    with program() as process:
        process.send_signal(signal.SIGTERM)
        go_on(process)
        assert said(process) == "SIGTERM"


@pytest.mark.parametrize(
    ("number", "due"), [(None, False), (signal.SIGHUP, False), (signal.SIGTERM, True)]
)
def test_work_can_see_that_a_signal_to_end_has_come(
    number: signal.Signals | None, due: bool
) -> None:
    with program("due") as process:
        if number is not None:
            process.send_signal(number)
        go_on(process)
        assert said(process) == str(due)


def test_a_second_signal_ends_the_process_at_once() -> None:
    with program() as process:
        process.send_signal(signal.SIGTERM)
        go_on(process)
        assert said(process) == "SIGTERM"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_slow_work_with_nothing_open_is_left_at_once(number: signal.Signals, code: int) -> None:
    with program("loading") as process:
        go_on(process)
        assert said(process) == "loading"
        process.send_signal(number)
        assert process.wait(60) == code


def test_after_such_work_signals_are_waited_for_again() -> None:
    with program("loading") as process:
        go_on(process)
        assert said(process) == "loading"
        go_on(process)
        assert said(process) == "loaded"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "SIGTERM"
        go_on(process)
        assert said(process) == "ended"


@contextmanager
def program_on_a_terminal(
    *arguments: str, heeds: bool = True
) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """The program on a real terminal, and what closes that; with `heeds` unset as `nohup` does."""
    ours, its = pty.openpty()

    def before() -> None:
        fcntl.ioctl(its, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_DFL if heeds else signal.SIG_IGN)

    with program(*arguments, before=before) as process:
        os.close(its)
        yield process, lambda: os.close(ours)


def test_sighup_is_a_reload_until_the_terminal_is_closed() -> None:
    with program_on_a_terminal() as (process, close):
        go_on(process)
        process.send_signal(signal.SIGHUP)
        assert said(process) == "reload"
        close()
        assert said(process) == "SIGHUP"
        go_on(process)
        assert said(process) == "ended"
        assert process.wait(60) == 129


def test_a_terminal_that_is_closed_ends_slow_work() -> None:
    with program_on_a_terminal("loading") as (process, close):
        go_on(process)
        assert said(process) == "loading"
        close()
        assert process.wait(60) == 129


def test_behind_nohup_a_terminal_may_be_closed() -> None:
    with program_on_a_terminal(heeds=False) as (process, close):
        go_on(process)
        close()
        assert said(process) == "reload"
        process.send_signal(signal.SIGTERM)
        assert said(process) == "SIGTERM"


def test_without_a_terminal_sighup_is_a_reload() -> None:
    with program() as process:
        go_on(process)
        process.send_signal(signal.SIGHUP)
        assert said(process) == "reload"


def heeds(hangup: bool) -> Callable[[], object]:
    """What `nohup` does, or undoes."""
    return lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL if hangup else signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_puts_in_order_what_is_half_done(number: signal.Signals) -> None:
    """Also where a terminal that closes sends more than one SIGHUP."""
    with program(text=COMMAND, before=heeds(True)) as process:
        process.send_signal(number)
        assert said(process) == "cleaning up"
        process.send_signal(signal.SIGHUP)
        go_on(process)
        assert process.wait(60) == 128 + number


def test_a_second_sigterm_ends_a_command_at_once() -> None:
    with program(text=COMMAND, before=heeds(True)) as process:
        process.send_signal(signal.SIGTERM)
        assert said(process) == "cleaning up"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


def test_a_command_behind_nohup_goes_on() -> None:
    with program(text=COMMAND, before=heeds(False)) as process:
        process.send_signal(signal.SIGHUP)
        go_on(process)
        assert said(process) == "over"
