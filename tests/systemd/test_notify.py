"""What systemd hears, over real datagram sockets."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.monitoring.health import Health
from daemon.service.notify import Notifier, Watchdog, watchdog_interval_s
from tests.systemd.manager import Systemd


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "file" else f"@affectd-{tmp_path.name}"


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    with Systemd(address) as listener:
        yield listener


def test_every_message(systemd: Systemd, address: str) -> None:
    notifier = Notifier.from_env({"NOTIFY_SOCKET": address})
    notifier.ready()
    notifier.status("2 of 3 streams\ndeliver")
    notifier.watchdog()
    notifier.stopping()
    began_us = time.monotonic_ns() // 1000
    notifier.reloading()
    assert [systemd.hears() for _ in range(4)] == [
        "READY=1",
        "STATUS=2 of 3 streams deliver",
        "WATCHDOG=1",
        "STOPPING=1",
    ]
    reloading, _, since_us = systemd.hears().partition("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert began_us <= int(since_us) <= time.monotonic_ns() // 1000


def test_nothing_is_sent_without_systemd() -> None:
    Notifier.from_env({}).ready()
    Notifier.from_env({"NOTIFY_SOCKET": ""}).ready()


def test_a_socket_that_is_gone_is_logged_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    assert "systemd was not told READY: " in caplog.text


@pytest.mark.parametrize(
    ("env", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_interval_is_half_of_what_systemd_waits(
    env: dict[str, str], interval_s: float | None
) -> None:
    assert watchdog_interval_s(env, 7) == interval_s


@pytest.mark.parametrize("address", ["file"], indirect=True)
def test_the_watchdog_is_fed_while_loops_turn_and_only_then(
    systemd: Systemd,
    address: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """1. The loop turns: fed, and told how things are. 2. It hangs: one status, no food. 3. It
    turns again: fed, and told anew; once, as long as nothing changes."""
    monkeypatch.setattr("daemon.service.notify._TELL_S", 600.0)
    now_s = 100.0
    health = Health(lambda: now_s)
    loop = health.loop("capture lobby", limit_s=5.0)
    stop = threading.Event()
    watchdog = Watchdog(Notifier(address), health, stop, 0.01, lambda: "streams: 1 live")
    watchdog.start()
    fed = ["WATCHDOG=1", "STATUS=streams: 1 live", "WATCHDOG=1"]
    assert [systemd.hears() for _ in range(3)] == fed

    now_s = 106.0
    while (heard := systemd.hears()) == "WATCHDOG=1":
        pass
    assert heard.startswith("STATUS=hangs: capture lobby has not turned for 6.0 s")
    assert systemd.hears_within(0.2) is None
    assert [r.levelno for r in caplog.records] == [logging.ERROR]

    loop()
    assert [systemd.hears() for _ in range(3)] == fed
    assert [r.levelno for r in caplog.records] == [logging.ERROR, logging.WARNING]
    stop.set()
    watchdog.join(60.0)
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]


def test_no_thread_without_a_watchdog() -> None:
    watchdog = Watchdog(Notifier(None), Health(lambda: 0.0), threading.Event(), None)
    watchdog.start()
    watchdog.join(60.0)
    assert "watchdog" not in [thread.name for thread in threading.enumerate()]


def test_our_own_pid_is_what_systemd_names() -> None:
    env = {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}
    assert watchdog_interval_s(env, os.getpid()) == 1.0
