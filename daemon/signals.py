"""SIGTERM and SIGINT without handlers: held back from every thread, and waited for by one.

A handler may run anywhere in the main thread, in the middle of a lock that it needs itself.
"""

from __future__ import annotations

import signal

STOP = (signal.SIGTERM, signal.SIGINT)


def hold() -> None:
    """Hold back the stop signals, in this thread and in those that it will start.

    Call it before anything that starts threads is imported.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP)


def wait() -> signal.Signals:
    """Wait for a stop signal; from then on another one ends the process at once."""
    number = signal.sigwait(STOP)
    for each in STOP:
        signal.signal(each, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
    return signal.Signals(number)
