"""`affectd check` beside a service: it refuses what the daemon refuses, by what that knows."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.inside import inside
from tests.shared import MODELS, needs_shared

Capsys = pytest.CaptureFixture[str]
STREAM = '[[stream]]\nname = "door"\nurl = "demo://door"\n'
OFF = "[expression]\nenabled = false\n"


@contextmanager
def reloading(monkeypatch: pytest.MonkeyPatch, **started_with: str) -> Iterator[None]:
    """As in a command of ExecReload=. The main process is fake: only its variables are read."""
    with subprocess.Popen(["sleep", "600"], env=started_with) as process:
        try:
            monkeypatch.setenv("MAINPID", str(process.pid))
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("knows", [True, False])
def test_variables_are_those_that_the_daemon_was_started_with(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Whoever adds one to EnvironmentFile= has it in `check` at once, in the daemon not yet."""
    config = tmp_path / "affectd.toml"
    config.write_text(f"daemon.token = '${{DOOR_TOKEN}}'\n{STREAM}")
    if not knows:
        monkeypatch.setenv("DOOR_TOKEN", "a=b")
    with reloading(monkeypatch, **({"DOOR_TOKEN": "a=b"} if knows else {})):
        done = inside(capsys, "check", config)
    assert done.code == (0 if knows else 2)
    if not knows:
        assert "daemon.token: the environment variable DOOR_TOKEN is not set" in done.err[0]


def covering(folder: Path, *lines: str) -> Path:
    config = folder / "affectd.toml"
    config.write_text("\n".join((*lines, OFF, STREAM, 'privacy = "blur"')))
    return config


def test_a_reload_that_would_cover_faces_by_haar_is_refused_and_a_start_may_pull(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AFFECTD_MODELS", raising=False)
    config = covering(tmp_path)
    assert inside(capsys, "check", config).code == 0
    with reloading(monkeypatch, STATE_DIRECTORY=str(tmp_path)):
        done = inside(capsys, "check", config)
        assert (done.code, done.out) == (1, [])
        assert 'stream door: privacy = "blur" wants a better detector' in done.err[0]
        named = covering(tmp_path, '[detector]\nbackend = "haar"')
        assert inside(capsys, "check", named).code == 0
    done = inside(
        capsys, "check", covering(tmp_path, f"models = {{dir = '{tmp_path}', pull = false}}")
    )
    assert done.code == 1
    assert f"AFFECTD_MODELS={tmp_path} affectd models pull" in done.err[0]


@needs_shared
def test_a_reload_that_covers_faces_by_a_model_that_is_there_is_none_to_refuse(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reloading(monkeypatch, AFFECTD_MODELS=str(MODELS)):
        monkeypatch.delenv("AFFECTD_MODELS", raising=False)
        assert inside(capsys, "check", covering(tmp_path)).code == 0
