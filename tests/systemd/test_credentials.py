"""A password that systemd hands over as a credential reaches the camera, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.affectd import Daemon, affectd
from tests.rtsp import RtspServer, needs_gstreamer
from tests.shared import needs_shared
from tests.systemd.test_unit import UNIT

PASSWORD = "p@ss:w/ord #1 é%"
TEXT = """
[expression]
enabled = false

[[stream]]
name = "lobby"
url = "rtsp://viewer:${{credential:lobby}}@127.0.0.1:{port}/cam"
"""


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    """$CREDENTIALS_DIRECTORY as systemd makes it: only the service may read, and nobody write."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "lobby").write_text(f"{PASSWORD}\n")
    (folder / "lobby").chmod(0o400)
    folder.chmod(0o500)
    return folder


@needs_shared
@needs_gstreamer
def test_a_credential_opens_the_camera(tmp_path: Path, credentials: Path) -> None:
    """1. A camera wants a password full of signs; the configuration names a credential.
    2. Frames arrive. 3. Neither the log nor the program's own interface shows the password."""
    with (
        RtspServer(user="viewer", password=PASSWORD) as server,
        Daemon(
            tmp_path, TEXT.format(port=server.port), CREDENTIALS_DIRECTORY=str(credentials)
        ) as daemon,
    ):
        daemon.wait_for(lambda: daemon.stream("lobby")["state"] == "live", "the camera")
        shown = daemon.log + daemon.get("/api/streams").text + daemon.get("/metrics").text
        command = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    assert "w/ord" not in shown + command
    assert "w%2Ford" not in shown + command


def test_without_systemd_the_credential_is_named(tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text(TEXT.format(port=554))
    done = affectd("check", config, cwd=tmp_path)
    assert done.returncode == 2
    assert "stream[0].url" in done.stderr
    assert "LoadCredential=" in done.stderr


def test_the_unit_shows_how_and_the_guide_says_the_same() -> None:
    line = re.compile(r"^#?(LoadCredential=lobby:/etc/affectd/credentials/lobby)$", re.MULTILINE)
    shown = line.search(UNIT.read_text())
    assert shown
    guide = UNIT.parents[1] / "docs/deploy.md"
    assert shown[1] in guide.read_text()
