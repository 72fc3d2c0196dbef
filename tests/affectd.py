"""The program itself, as a user starts it: `python -m daemon` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.shared import MODELS

ROOT = Path(__file__).resolve().parents[1]
_PAGE = re.compile(r"the page is at (\S+?)/? .*\n")  # once the line is whole
START_S = 180.0
END_S = 40.0  # affectd ends within ten seconds, on a machine that is not busy

# The head of a configuration that loads no model.
LIGHT = '[detector]\nbackend = "haar"\n[expression]\nenabled = false\n'
# A stream, to be put last.
STREAM = '[[stream]]\nname = "lobby"\nurl = "demo://lobby?size=160x120&fps=5&seconds=1"\n'


def environment(**more: str) -> dict[str, str]:
    """The environment of a run: models from the shared folder, no network for others."""
    return {
        **os.environ,
        "AFFECTD_MODELS": str(MODELS),
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
        **more,
    }


def affectd(*arguments: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command of affectd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


class Daemon:
    """`affectd run` within a `with` block; killed at its end if it still runs.

    `text` is the configuration; a `[daemon]` table with a free port is put before it.
    """

    def __init__(self, folder: Path, text: str, **env: str) -> None:
        self.config = folder / "affectd.toml"
        self.configure(text)
        self.log_path = folder / "affectd.log"
        self._folder = folder
        self._env = environment(**env)
        self.url = ""

    def __enter__(self) -> Daemon:
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run", str(self.config)],
                cwd=self._folder,
                env=self._env,
                stdout=log,
                stderr=log,
            )
        try:
            self.wait_until_up()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_until_up(self) -> None:
        self.wait_for(lambda: _PAGE.search(self.log) is not None, "it to start")
        found = _PAGE.search(self.log)
        assert found is not None
        self.url = found[1]

    def configure(self, text: str) -> None:
        """Write the configuration; SIGHUP makes a running program read it."""
        self.config.write_text(f'[daemon]\nlisten = "127.0.0.1:0"\n{text}')

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_for(self, is_so: Callable[[], bool], what: str, timeout_s: float = START_S) -> None:
        end_s = time.monotonic() + timeout_s
        while not is_so():
            assert self.process.poll() is None, f"affectd ended:\n{self.log}"
            assert time.monotonic() < end_s, f"waited {timeout_s} s for {what}:\n{self.log}"
            time.sleep(0.1)  # a process of its own gives no event to wait on

    def wait_for_metric(self, line: str) -> None:
        """Wait until /metrics has this line."""
        self.wait_for(lambda: line in self.get("/metrics").text.splitlines(), line)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60.0)

    def stream(self, name: str) -> dict[str, object]:
        """The stream's state from /api/streams."""
        found = {stream["name"]: stream for stream in self.get("/api/streams").json()["streams"]}
        state: dict[str, object] = found[name]
        return state

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; returns the exit code and how many seconds it took."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler writes every stack to the log
            self.process.wait(30)
            pytest.fail(f"affectd did not end in 60 s:\n{self.log}")
        return code, time.monotonic() - began_s

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
