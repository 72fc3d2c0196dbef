"""The one log handler: what it shows, in which form, and what never passes it."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from daemon.service import logs
from tests.affectd import ROOT, environment
from tests.inside import logging_as_before

SECRET = "p@ss:w/ord é"
ENCODED = "p%40ss%3Aw%2Ford%20%C3%A9"


@pytest.fixture(autouse=True)
def _logging_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with logging_as_before():
        yield


def test_no_secret_passes_in_a_message_an_argument_or_a_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("info", [SECRET])
    log = logging.getLogger("affectd.test")
    log.info("told %s and %s", SECRET, ENCODED)
    try:
        raise ValueError(f"rtsp://viewer:{SECRET}@camera/ {SECRET}")
    except ValueError:
        log.exception("failed with %s", SECRET)
    log.warning("an unknown one: rtsp://viewer:other@camera/main")
    shown = capsys.readouterr().err
    assert "told *** and ***" in shown
    assert "Traceback" in shown
    assert "rtsp://viewer:***@camera/main" in shown
    for secret in (SECRET, ENCODED, "w/ord", ":other@"):
        assert secret not in shown


def test_a_thread_that_dies_tells_no_secret_either(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info", [SECRET])

    def die() -> None:
        raise RuntimeError(f"with {SECRET}")

    thread = threading.Thread(target=die, name="doomed")
    thread.start()
    thread.join()
    shown = capsys.readouterr().err
    assert "CRITICAL thread doomed ended by a fault" in shown
    assert "RuntimeError: with ***" in shown
    assert SECRET not in shown


def test_libraries_whisper_and_affectd_speaks_at_its_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.set_up("info")
    logging.getLogger("uvicorn").info("of a library")
    logging.getLogger("affectd.stream").info("of ours")
    logging.getLogger("affectd.stream").debug("of ours, in detail")
    shown = capsys.readouterr().err
    assert "of ours" in shown
    assert "library" not in shown
    assert "in detail" not in shown
    logs.set_up("error")
    logging.getLogger("affectd.stream").warning("quiet now")
    assert capsys.readouterr().err == ""


def test_under_systemd_every_line_carries_its_priority(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    journal = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{journal.st_dev}:{journal.st_ino}")
    logs.set_up("debug", [SECRET])
    log = logging.getLogger("affectd.test")
    log.debug("one")
    log.warning("two\nlines with %s", SECRET)
    try:
        raise KeyError("gone")
    except KeyError:
        log.exception("three")
    lines = capfd.readouterr().err.splitlines()
    assert lines[:3] == ["<7>one", "<4>two", "<4>lines with ***"]
    assert len(lines) > 5
    assert all(line.startswith("<3>") for line in lines[3:])


def test_a_warning_of_loading_models_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    logs.tell("WARNING: there is no model")
    logs.tell("pulling 100 % of it")
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["WARNING there is no model", "INFO    pulling 100 % of it"]


def test_a_terminal_that_a_service_started_gets_times(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1234")
    logs.set_up("info")
    logging.getLogger("affectd.test").info("one")
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO    one\n", capfd.readouterr().err)


def test_stacks_come_through_while_a_model_loads() -> None:
    """As where systemd's watchdog ends a process that hangs in a native library."""
    program = (
        "import os; from daemon.service import logs; from detectors.quiet import quiet\n"
        "logs.set_up('info')\n"
        "with quiet(): os.write(2, b'INFO: chatter\\n'); os.abort()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr
    assert "chatter" not in done.stderr
