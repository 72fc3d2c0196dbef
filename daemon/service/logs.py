"""Sets up the log: one handler, which masks every secret."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Iterable
from types import TracebackType

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

    Under systemd lines carry a priority for the journal, but no time, which it adds itself.
    """
    redactor = Redactor()
    redactor.register(*secrets)
    handler = logging.StreamHandler()
    if _goes_to_journal():
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
    logging.captureWarnings(True)
    threading.excepthook = _log_dead_thread
    sys.excepthook = _log_fault
    sys.unraisablehook = _log_unraisable
    if os.environ.get("PYTHONFAULTHANDLER"):
        # A descriptor of its own: stacks are printed even while detectors.quiet redirects number 2.
        faulthandler.enable(os.dup(2))
    return redactor


def _goes_to_journal() -> bool:
    """Whether the journal reads standard error. JOURNAL_STREAM alone does not say so: programs in a
    terminal may inherit it. It names the device and inode that it is for (systemd.exec(5))."""
    try:
        state = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{state.st_dev}:{state.st_ino}"


def set_level(level: str) -> None:
    """Show affectd's messages of `level` and above from here on."""
    logging.getLogger("affectd").setLevel(level.upper())


def tell(text: str) -> None:
    """Log a line from the loading of models, as a warning if it begins with `WARNING: `."""
    level = logging.WARNING if text.startswith("WARNING: ") else logging.INFO
    log.log(level, "%s", text.removeprefix("WARNING: "))


# Hooks for what Python would print itself, past the handler and its redactor.


def _log_dead_thread(died: threading.ExceptHookArgs) -> None:
    name = died.thread.name if died.thread else "?"
    fault = died.exc_value or died.exc_type()
    log.critical("thread %s ended by a fault", name, exc_info=fault)


def _log_fault(
    kind: type[BaseException], fault: BaseException, trace: TracebackType | None
) -> None:
    log.critical("affectd ended by a fault", exc_info=(kind, fault, trace))


def _log_unraisable(passed_over: sys.UnraisableHookArgs) -> None:
    fault = passed_over.exc_value or passed_over.exc_type()
    log.error("%s", passed_over.err_msg or "an exception was ignored", exc_info=fault)
