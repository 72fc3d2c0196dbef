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


def hold() -> None:
    """Hold back the signals, in this thread and in those that it will start.

    Call it before anything that starts threads is imported.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (*STOP, RELOAD))


def wait() -> signal.Signals:
    """Wait for a signal. From a stop signal on, another one ends the process at once; SIGHUP
    stays held back, so that one that comes too late does no harm.

    Several SIGHUP that came meanwhile are one.
    """
    number = signal.Signals(signal.sigwait((*STOP, RELOAD)))
    if number is not RELOAD:
        for each in STOP:
            signal.signal(each, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    return number


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
    """In this block a stop signal, held back before, ends the process: with 0 for SIGTERM, 130
    for SIGINT. For slow work that has nothing open, such as fetching models."""
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            found = signal.sigtimedwait(STOP, TICK_S)
            if found is not None:
                os._exit(0 if found.si_signo == signal.SIGTERM else INTERRUPTED)

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
