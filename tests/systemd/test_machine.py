"""The unit under a real systemd, installed by `make install` but for the virtual environment."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.affectd import ROOT
from tests.systemd.machine import Machine, needs_machine
from tests.systemd.test_unit import EXPOSURE_LIMIT, settings

pytestmark = [pytest.mark.slow, needs_machine]

PASSWORD = "p@ss:w/ord #1 é%"
PREFIX, SOURCE, PYTHON, PACKAGES = "/opt/affectd", "/opt/source", "/opt/python", "/opt/packages"
# The interpreter of the tests may lie in a home, where the service sees nothing.
PROGRAM = f"""#!/bin/sh
export PYTHONPATH={SOURCE}:{PACKAGES} LD_LIBRARY_PATH={PYTHON}/lib
exec {PYTHON}/bin/python{sys.version_info.major}.{sys.version_info.minor} -m daemon "$@"
"""
CONFIG = """
[detector]
backend = "haar"

[[stream]]
name = "lobby"
url = "demo://lobby?faces=1&size=320x240&fps=10"

[[stream.sink]]
kind = "mp4"
path = "recordings/lobby.mp4"

[[stream]]
name = "camera"
url = "rtsp://viewer:${credential:camera}@127.0.0.1:1/main"
"""
# Shorter than the unit's own, so that a test need not wait for a minute.
QUICK = """[Service]
LoadCredential=camera:/etc/affectd/credentials/camera
WatchdogSec=10
RestartSec=1
"""


class Service:
    """affectd in the machine, and the journal since this was made."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._cursor = machine.says("journalctl", "-n1", "--show-cursor", "-q").split()[-1]

    def configure(self, text: str) -> None:
        (self.machine.root / "etc/affectd/affectd.toml").write_text(text)

    def show(self, name: str) -> str:
        return self.machine.says("systemctl", "show", "affectd", f"--property={name}", "--value")

    def journal(self) -> list[tuple[int, str]]:
        """Priority and text of each line, systemd's own about affectd too."""
        lines = self.machine.says(
            "journalctl", "-uaffectd", f"--after-cursor={self._cursor}", "-ojson", "--all"
        )
        entries = map(json.loads, lines.splitlines())
        return [(int(entry["PRIORITY"]), entry["MESSAGE"]) for entry in entries]

    def has_logged(self, words: str) -> bool:
        return any(words in text for _, text in self.journal())

    def started_again(self, times: int) -> None:
        def is_so() -> bool:
            return self.show("NRestarts") == str(times) and self.show("ActiveState") == "active"

        self.machine.wait_for(is_so, f"start {times}:\n{self.journal()}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    binds = {
        ROOT: SOURCE,
        Path(sys.base_prefix): PYTHON,
        Path(sysconfig.get_path("purelib")): PACKAGES,
    }
    with Machine(tmp_path_factory.mktemp("machine"), binds) as machine:
        program = machine.root / f"{PREFIX[1:]}/venv/bin/affectd"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
        machine.run("make", "-C", SOURCE, "install-files", "install-user")
        quick = machine.root / "etc/systemd/system/affectd.service.d/quick.conf"
        quick.parent.mkdir()
        quick.write_text(QUICK)
        credentials = machine.root / "etc/affectd/credentials"
        credentials.mkdir(mode=0o700)
        (credentials / "camera").write_text(PASSWORD)
        machine.run("systemctl", "daemon-reload")
        yield machine


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    service = Service(machine)
    service.configure(CONFIG)
    yield service
    machine.run("systemctl", "stop", "affectd", check=False)  # it may be uninstalled
    machine.run("systemctl", "reset-failed", "affectd", check=False)


def test_it_starts_reloads_and_stops(service: Service) -> None:
    """1. It counts as started once the models are loaded, confined. 2. A reload tells what changed
    and refuses what does not validate. 3. A stop in the middle of a recording takes less than it
    may, and the recording plays. 4. No line shows the password or lacks its priority."""
    run = service.machine.run
    run("systemctl", "start", "affectd")
    texts = [text for _, text in service.journal()]
    started = next(place for place, text in enumerate(texts) if text.startswith("Started affectd"))
    assert any("detector haar" in text for text in texts[:started]), texts
    rated = service.machine.says("systemd-analyze", "security", "--no-pager", "affectd")
    exposure = re.search(r"Overall exposure level for affectd.service: ([\d.]+)", rated)
    assert exposure
    assert float(exposure[1]) <= EXPOSURE_LIMIT

    recording = service.machine.root / "var/lib/affectd/recordings/lobby.mp4"
    service.machine.wait_for(
        lambda: recording.exists() and recording.stat().st_size > 20_000, "a recording"
    )
    service.configure(CONFIG.replace("[detector]", "[overlay]\nbars = false\n[detector]"))
    run("systemctl", "reload", "affectd")
    assert service.has_logged("applied: overlay.bars true -> false")
    service.configure("[[strem]]\n")
    assert run("systemctl", "reload", "affectd", check=False).returncode == 1
    assert service.has_logged("the configuration stays as it was")
    assert service.show("ActiveState") == "active"
    service.machine.wait_for(
        lambda: service.show("StatusText") == "streams: 1 live, 1 down", "the state of the streams"
    )

    status = service.machine.says("systemctl", "status", "--full", "--lines=1000", "affectd")
    run("systemctl", "stop", "affectd")
    assert (service.show("Result"), service.show("NRestarts")) == ("success", "0")
    texts = [text for _, text in service.journal()]
    assert any("ended cleanly" in text for text in texts)
    with av.open(str(recording)) as played:
        assert sum(1 for _ in played.decode(video=0)) > 5
    assert recording.stat().st_mode & 0o777 == 0o640
    assert "w/ord" not in status + "".join(texts)
    assert "w%2Ford" not in status + "".join(texts)
    assert [text for text in texts if text.startswith("<")] == []
    assert any(
        priority == 4 and text.startswith("stream camera: down (connect_refused)")
        for priority, text in service.journal()
    )


def test_a_process_that_stands_still_or_dies_is_started_again(service: Service) -> None:
    """1. SIGSTOP: the watchdog ends it, with the stacks of its threads. 2. SIGKILL."""
    service.machine.run("systemctl", "start", "affectd")
    service.machine.run("systemctl", "kill", "--signal=SIGSTOP", "affectd")
    service.started_again(1)
    assert service.has_logged("Watchdog timeout (limit 10s)")
    assert (4, "Fatal Python error: Aborted") in service.journal()
    service.machine.run("systemctl", "kill", "--signal=SIGKILL", "affectd")
    service.started_again(2)


def test_a_configuration_that_does_not_validate_is_told_once(service: Service) -> None:
    service.configure(CONFIG.replace("[detector]", "[detectr]"))
    assert service.machine.run("systemctl", "start", "affectd", check=False).returncode == 1
    told = [(priority, text) for priority, text in service.journal() if "detectr" in text]
    assert len(told) == 1
    assert told[0][0] == 4
    assert service.show("ExecMainStatus") == "2"
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("failed", "0")


def test_devices_are_those_of_cameras_and_no_others(machine: Machine) -> None:
    """A webcam's device is let through although no driver has named it; it is ENXIO that says so
    here, where there is none. FUSE's is not."""
    closed = [f"--property=DevicePolicy={settings('DevicePolicy')[0]}"]
    closed += [f"--property=DeviceAllow={device}" for device in settings("DeviceAllow")]

    def opened(name: str, number: int) -> str:
        device = machine.root / "dev" / name
        if not device.exists():
            os.mknod(device, 0o666 | stat.S_IFCHR, number)
        command = ["head", "-c0", f"/dev/{name}"]
        return machine.run("systemd-run", "--pipe", *closed, *command, check=False).stderr

    assert "No such device or address" in opened("video0", os.makedev(81, 0))
    assert "Operation not permitted" in opened("fuse", os.makedev(10, 229))


def test_uninstalling_leaves_the_configuration(service: Service) -> None:
    """The last one, since nothing can be started after it."""
    service.machine.run("systemctl", "start", "affectd")
    service.machine.run("make", "-C", SOURCE, "uninstall")
    assert service.show("LoadState") == "not-found"
    assert (service.machine.root / "etc/affectd/affectd.toml").read_text() == CONFIG
    assert not (service.machine.root / PREFIX[1:] / "venv").exists()
