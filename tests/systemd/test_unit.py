"""The unit is one that systemd accepts, and says what the daemon relies upon."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "systemd"
UNIT = FOLDER / "affectd.service"
# More than this, of 10, needs a reason; docs/security.md names today's.
EXPOSURE_LIMIT = 2.0

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with the path of a program that is there: verify looks for it."""
    command = settings("ExecStart")[0].split()[0]
    program = shutil.which("true") or "/bin/true"
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(command, program))
    return copy


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_verify_would_notice_a_mistake(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("Type=notify", "Type=notfiy"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True
    )
    assert "notfiy" in done.stderr


@needs_systemd
def test_the_sandbox_is_tight(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure
    assert float(exposure[1]) <= EXPOSURE_LIMIT


def test_the_daemon_gets_what_it_relies_upon() -> None:
    assert settings("Type") == ["notify"]
    assert settings("SyslogLevel") == ["warning"]
    assert int(settings("WatchdogSec")[0]) > 0
    assert settings("Restart") == ["on-failure"]
    # Exit code 2: a configuration that does not validate.
    assert settings("RestartPreventExitStatus") == ["2"]
    # A clean end takes up to 10 s.
    assert int(settings("TimeoutStopSec")[0]) > 10
    assert settings("Environment") == ["PYTHONFAULTHANDLER=1"]
    # The start limit can be reached, or a crash loop would never be noticed.
    crash_loop_s = int(settings("StartLimitBurst")[0]) * int(settings("RestartSec")[0])
    assert settings("StartLimitIntervalSec") == ["10min"]
    assert crash_loop_s < 600
    assert settings("SupplementaryGroups") == ["video"]
    assert "char-81 rw" in settings("DeviceAllow")


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed"
)
def test_the_user_of_the_unit_is_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(FOLDER / "affectd.sysusers")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    user = settings("User")[0]
    entry = (tmp_path / "etc/passwd").read_text().split(":")
    assert entry[0] == user
    assert entry[5:] == [f"/var/lib/{settings('StateDirectory')[0]}", "/usr/sbin/nologin\n"]
    assert (tmp_path / "etc/group").read_text().startswith(f"{settings('Group')[0]}:")
