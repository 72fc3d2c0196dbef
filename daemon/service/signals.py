"""SIGTERM, SIGINT and SIGHUP without handlers: held back from every thread, and waited for by one.

A handler may run anywhere in the main thread, in the middle of a lock that it needs itself.
Commands that come to an end of their own have one all the same, as Python has for Ctrl-C.
"""

from __future__ import annotations

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

_had_terminal = False  # that it is to end with, as `hold` found it


def hold() -> None:
    """Hold back the signals, in this thread and in those that it will start.

    Call it before anything that starts threads is imported.
    """
    global _had_terminal
    is_nohup = signal.getsignal(RELOAD) is signal.SIG_IGN
    _had_terminal = not is_nohup and _has_terminal()
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, RELOAD))


def wait() -> signal.Signals | None:
    """Wait for a signal; returns the one that is to end the process, or None for a reload.

    SIGHUP is a reload, unless the terminal that the process was started on is gone; behind
    `nohup` it always is. From a signal to end on, SIGTERM and SIGINT end the process at once;
    SIGHUP stays held back, so that one that comes too late does no harm. Several SIGHUP that came
    meanwhile are one.
    """
    number = signal.Signals(signal.sigwait((*STOP, RELOAD)))
    if number is RELOAD and not _terminal_is_gone():
        return None
    for each in STOP:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    return number


def exit_code(number: int) -> int:
    """What `affectd run` ends with after this signal."""
    return 0 if number == signal.SIGTERM else 128 + number


def stop_is_due() -> bool:
    """Whether a stop signal has come that nobody has waited for yet."""
    return not signal.sigpending().isdisjoint(STOP)


def raise_exit() -> None:
    """Let SIGTERM and SIGHUP raise SystemExit in the main thread, so that what is half done is put
    in order. A second SIGTERM ends the process at once."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # behind `nohup` one is ignored
            signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes sends more than one
    raise SystemExit(128 + number)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """In this block a signal to end, held back before, ends the process with its `exit_code`. For
    slow work that has nothing open, such as fetching models."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = signal.sigtimedwait(STOP, TICK_S)
            if found is not None:
                os._exit(exit_code(found.si_signo))
            if RELOAD in signal.sigpending() and _terminal_is_gone():
                os._exit(exit_code(RELOAD))

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _terminal_is_gone() -> bool:
    return _had_terminal and not _has_terminal()


def _has_terminal() -> bool:
    """Whether this process has a terminal, wherever its input and output go."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
