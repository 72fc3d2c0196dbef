"""A command of affectd within the test's own process: what is lost is only the start-up."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from daemon import cli


class Done(NamedTuple):
    """How a command ended: its exit code and the lines that it printed."""

    code: int
    out: list[str]
    err: list[str]


def inside(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Done:
    """Run `affectd ARGUMENTS` to its end; what it changes in the process is put back."""
    root, argv = logging.getLogger(), sys.argv
    handlers, level = root.handlers[:], root.level
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    sys.argv = ["affectd", *map(str, arguments)]
    capsys.readouterr()
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = argv
        root.handlers, root.level = handlers, level
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    code = ended.value.code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return Done(code if isinstance(code, int) else 0, printed.out.splitlines(), _lines(printed.err))


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]
