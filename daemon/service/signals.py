"""SIGTERM, SIGINT and SIGHUP without handlers: blocked in every thread, and waited for by one.

A handler may interrupt the main thread anywhere, even while that holds a lock which the handler
needs. Commands that end by themselves have a handler all the same, as Python has for Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

STOP = (signal.SIGTERM, signal.SIGINT)
RELOAD = signal.SIGHUP
TICK_S = 0.1
INTERRUPTED = 130

_had_terminal = False  # whether SIGHUP may mean that our terminal closed; set by `hold`


def hold() -> None:
    """Block the signals in this thread and in those that it will start, and note whether there is a
    terminal, with which the process is to end.

    Call it before anything that starts threads is imported.
    """
    global _had_terminal
    is_nohup = signal.getsignal(RELOAD) is signal.SIG_IGN
    _had_terminal = not is_nohup and _terminal_fault() == 0
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, RELOAD))


def wait() -> signal.Signals | None:
    """Wait for a signal; returns the one that is to end the process, or None for a reload.

    SIGHUP is a reload, unless the terminal that the process was started on is gone; under `nohup`
    it always is. After a signal to end, SIGTERM and SIGINT end the process at once; SIGHUP stays
    blocked, so that one that comes too late does no harm. Several SIGHUP that came meanwhile count
    as one.
    """
    number = signal.Signals(signal.sigwait((*STOP, RELOAD)))
    if number is RELOAD and not _terminal_is_gone():
        return None
    for each in STOP:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    return number


def exit_code(number: int) -> int:
    """The exit code of `affectd run` after this signal."""
    return 0 if number == signal.SIGTERM else 128 + number


def stop_is_due() -> bool:
    """Whether a signal to end is pending, which `wait` has not returned yet."""
    return not signal.sigpending().isdisjoint(STOP) or _hangup_is_due()


def raise_exit() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit in the main thread, so that `finally` blocks run. A
    second SIGTERM ends the process at once."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes sends more than one
    raise SystemExit(128 + number)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """In this block a signal to end, although blocked, ends the process with its `exit_code`. For
    slow work that has nothing open, such as fetching models."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = signal.sigtimedwait(STOP, TICK_S)
            if found is not None:
                os._exit(exit_code(found.si_signo))
            if _hangup_is_due():
                os._exit(exit_code(RELOAD))

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _hangup_is_due() -> bool:
    return RELOAD in signal.sigpending() and _terminal_is_gone()


def _terminal_is_gone() -> bool:
    return _had_terminal and _terminal_fault() == errno.ENXIO


def _terminal_fault() -> int:
    """The errno of opening this process's controlling terminal, wherever its input and output go:
    ENXIO where there is none, 0 where it can be opened."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0
