"""Where the log goes: one handler, and nothing passes it with a secret in it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

from daemon.redact import Redactor

log = logging.getLogger("affectd")

# Journal priorities, which systemd reads off the start of a line (sd-daemon(3)).
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = _PRIORITIES.get(record.levelname, 6)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


def set_up(level: str, secrets: Iterable[str] = ()) -> Redactor:
    """Log affectd's messages of `level` and above to standard error, without `secrets`.

    Under systemd lines carry the journal's priority instead of a time, which it adds itself.
    """
    redactor = Redactor()
    for secret in secrets:
        redactor.register(secret)
    handler = logging.StreamHandler()
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(_JournalFormatter("%(message)s"))
    else:
        handler.setFormatter(
            logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        )
    handler.addFilter(redactor)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    set_level(level)
    threading.excepthook = _log_dead_thread
    return redactor


def set_level(level: str) -> None:
    """Show affectd's messages of `level` and above from here on."""
    logging.getLogger("affectd").setLevel(level.upper())


def _log_dead_thread(died: threading.ExceptHookArgs) -> None:
    """What Python would print itself, past the handler and its redactor."""
    name = died.thread.name if died.thread else "?"
    fault = died.exc_value or died.exc_type()
    log.critical("thread %s ended by a fault", name, exc_info=fault)
