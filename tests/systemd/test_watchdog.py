"""A pipeline that hangs gets no food for the watchdog: in one stream's thread, and as a program."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.config.settings import Settings, StreamSettings
from daemon.models import Models
from daemon.monitoring.health import Health
from daemon.pipeline import STREAM_LIMIT_S, Pipeline, Shared
from daemon.service.notify import Notifier, Watchdog
from detectors.base import Detection, Detector
from tests.affectd import Daemon
from tests.daemon.streams import WAIT_S
from tests.shared import needs_shared
from tests.systemd.manager import Systemd
from tests.waiting import wait_until

pytestmark = needs_shared

DEMO = "demo://lobby?faces=1&size=320x240&fps=10&seed=3"
QUIET = """
[expression]
enabled = false

[[stream]]
name = "lobby"
url = "demo://lobby?faces=1&size=160x120&fps=5"
"""


class Stuck:
    """Looks twice and then hangs until it is let go, as a driver might. A fake in that, since no
    real detector can be made to hang on demand."""

    name = backend = description = "yunet"

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        self._looks = 0

    def make(self) -> Detector:
        return self

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self._looks += 1
        if self._looks == 3:
            self.entered.set()
            assert self.let_go.wait(WAIT_S * 10)
        return []

    def close(self) -> None:
        """Nothing is open."""


def assert_no_food(systemd: Systemd, seconds: float) -> None:
    """The status may be told anew meanwhile, since it says for how long something hangs."""
    end_s = time.monotonic() + seconds
    while (left_s := end_s - time.monotonic()) > 0:
        heard = systemd.hears_within(left_s)
        assert heard is None or heard.startswith("STATUS=hangs: "), heard


def test_a_hung_stream_starves_the_watchdog_until_it_turns_again(tmp_path: Path) -> None:
    """1. A stream runs and systemd is fed. 2. Its thread hangs in a detector, while its capture
    and the watchdog's own thread go on: systemd is told which loop hangs, and gets no food.
    3. The detector comes back, and so does the food."""
    skipped_s = 0.0  # a minute is not waited for, but passed over
    health = Health(lambda: time.monotonic() + skipped_s)
    detector, stop = Stuck(), threading.Event()
    stream = StreamSettings.model_validate({"name": "lobby", "url": DEMO}, strict=False)
    address = str(tmp_path / "notify")
    shared = Shared(Models(detector, None), health=health)  # type: ignore[arg-type]
    pipeline = Pipeline(
        stream,
        Settings(stream=(stream,)),
        shared,
        stop=stop,
    )
    watchdog = Watchdog(Notifier(address), health, stop, interval_s=0.05)
    with Systemd(address) as systemd:
        pipeline.start()
        watchdog.start()
        try:
            assert detector.entered.wait(WAIT_S)
            assert systemd.hears_until("WATCHDOG=1")
            skipped_s = STREAM_LIMIT_S + 1.0
            *_, last = systemd.hears_until("STATUS=hangs: ")
            assert re.search(r"stream lobby has not turned for \d\d\.", last)
            frames = shared.metrics.frames.labels("lobby")
            seen = frames._value.get()
            wait_until(lambda: frames._value.get() > seen + 2)  # the camera goes on
            assert health.is_alive()[1].startswith("stream lobby has not turned")
            assert_no_food(systemd, 0.5)
            detector.let_go.set()
            assert systemd.hears_until("WATCHDOG=1")
        finally:
            detector.let_go.set()
            stop.set()
            pipeline.close()
            watchdog.join(5.0)


def test_a_program_tells_systemd_of_its_start_its_progress_and_its_end(tmp_path: Path) -> None:
    """So it does of a reload, whether that succeeds or not. And every line that it writes for the
    journal has a priority, those of libraries too."""
    address = str(tmp_path / "notify")
    text = QUIET + '[[stream]]\nname = "gone"\nurl = "rtsp://127.0.0.1:1/"\n'
    log = tmp_path / "affectd.log"
    log.touch()
    journal = f"{log.stat().st_dev}:{log.stat().st_ino}"
    env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000", "JOURNAL_STREAM": journal}
    with Systemd(address) as systemd, Daemon(tmp_path, text, **env) as daemon:
        assert systemd.hears_until("READY=1") == ["READY=1"]
        assert systemd.hears_until("STATUS=streams: ")[0] == "WATCHDOG=1"
        assert systemd.hears_until("WATCHDOG=1")
        daemon.wait_for(lambda: "stream gone: down (connect_refused)" in daemon.log, "a refusal")
        for more in ("", "typo = 1\n"):
            daemon.configure(text + more)
            daemon.process.send_signal(signal.SIGHUP)
            *_, reloading = systemd.hears_until("RELOADING=1\n")
            assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", reloading)
            assert systemd.hears_until("READY=1")
        assert daemon.log.count("the configuration stays as it was") == 1
        daemon.process.send_signal(signal.SIGTERM)
        *before, last = systemd.hears_until("STOPPING=1")
        assert {message.partition(":")[0] for message in before} <= {"WATCHDOG=1", "STATUS=streams"}
        assert last == "STOPPING=1"
        assert daemon.process.wait(60) == 0
    lines = daemon.log.splitlines()
    assert [line for line in lines if not re.match(r"<[2-7]>", line)] == []
    assert any(line.startswith("<4>stream gone: down (connect_refused)") for line in lines)


@pytest.mark.slow
def test_a_program_that_hangs_is_not_fed_and_shows_where_when_systemd_ends_it(
    tmp_path: Path,
) -> None:
    """1. One stream runs; the other one's thread hangs in the system call that opens a pipe
    without a writer. 2. The food stops, although the program answers. 3. systemd would send
    SIGABRT: the stacks of all threads are in the log, with the one that hangs."""
    os.mkfifo(tmp_path / "pipe.mp4")
    address = str(tmp_path / "notify")
    text = QUIET + '[[stream]]\nname = "pipe"\nurl = "pipe.mp4"\nstall_timeout_s = 0.1\n'
    with (
        Systemd(address) as systemd,
        Daemon(tmp_path, text, NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000") as daemon,
    ):
        heard = systemd.hears_until("STATUS=hangs: ")
        assert heard.count("WATCHDOG=1") > 10
        assert "capture pipe has not turned" in heard[-1]
        assert_no_food(systemd, 3.0)
        assert daemon.get("/livez").status_code == 503
        assert daemon.stream("lobby")["state"] == "live"
        daemon.process.send_signal(signal.SIGABRT)
        assert daemon.process.wait(60) == -signal.SIGABRT
        assert "not feeding systemd's watchdog: capture pipe" in daemon.log
        assert "Fatal Python error: Aborted" in daemon.log
        assert "daemon/sources/video.py" in daemon.log
