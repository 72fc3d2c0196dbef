"""What commands share at the terminal: paths as users type them, and lines that are printed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rich.console import Console

from daemon.errors import AffectdError, ConfigError
from daemon.redact import Redactor, redact_text, secrets_in_url
from daemon.url import is_address


class _Output(Console):
    """Standard output. Where it cannot be written, the command ends with a one-line error."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError as error:
            # Else Python would flush the buffer again at exit, and print a traceback.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise AffectdError(f"standard output cannot be written: {error.strerror}") from error


# Lines of any length stay one line, and a path is shown as it is.
out = _Output(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)


def path(text: str) -> Path:
    """A path of the command line. Expands a leading ~, which no shell does in `--out=~/read`.
    Raises ConfigError for the home of an unknown user, and for a URL."""
    if is_address(text):  # As a path it would keep its password, which nothing could find later.
        redactor = Redactor()
        redactor.register(*secrets_in_url(text))
        raise ConfigError(
            f"{redactor.redact(text)}: is a URL; accepted is a path, with ./ before one like a URL"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{text}: nobody of that name has a home here; accepted for a file of that name is "
            f"./{text}"
        ) from None


def say(text: str) -> None:
    """Print what went wrong on standard error; no line shows a password."""
    for line in text.splitlines():
        err.print(redact_text(f"affectd: {line}"), style="red")


def warn(text: str) -> None:
    """Print a warning on standard error; no line shows a password."""
    err.print(redact_text(f"affectd: warning: {text}"), style="yellow")
