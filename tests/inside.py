"""A command of affectd within the test's own process: what is lost is only the start-up."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from daemon import cli
from tests.affectd import LIGHT


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Put back what `logs.set_up` changes: it belongs to the process, and to other tests too."""
    root, ours = logging.getLogger(), logging.getLogger("affectd")
    before = root.handlers[:], root.level, ours.level
    hooks = threading.excepthook, sys.excepthook, sys.unraisablehook
    try:
        yield
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        ours.setLevel(before[2])
        threading.excepthook, sys.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)


class Done(NamedTuple):
    """How a command ended: its exit code and the lines that it printed."""

    code: int
    out: list[str]
    err: list[str]


def inside(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Done:
    """Run `affectd ARGUMENTS` to its end; what it changes in the process is put back."""
    argv = sys.argv
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handled = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    sys.argv = ["affectd", *map(str, arguments)]
    capsys.readouterr()
    try:
        with logging_as_before(), pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = argv
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        for number, handler in handled.items():
            signal.signal(number, handler)
    code = ended.value.code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return Done(code if isinstance(code, int) else 0, printed.out.splitlines(), _lines(printed.err))


def write_config(folder: Path, text: str) -> Path:
    """Write `text` as a configuration into `folder`; returns its path."""
    path = folder / "affectd.toml"
    path.write_text(text)
    return path


def write_light(folder: Path) -> Path:
    """Write a configuration that loads no model; returns its path."""
    path = folder / "light.toml"
    path.write_text(LIGHT + '[[stream]]\nname = "unused"\nurl = "unused.mp4"\n')
    return path


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
