"""The command line: its help, what it refuses, and the commands that only print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.affectd import environment
from tests.inside import inside, write_light
from tests.shared import MODELS, needs_shared

COMMANDS = [
    [],
    ["run"],
    ["check"],
    ["video"],
    ["image"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["events"],
    ["events", "to-csv"],
    ["events", "to-parquet"],
    ["train"],
    ["evaluate"],
    ["calibrate"],
    ["bench"],
    ["version"],
]
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that loads no model."""
    return write_light(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_a_terminal_and_shows_an_example(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = inside(capsys, *command, "--help")
    assert done.code == 0
    assert done.out[1].startswith(f" Usage: {' '.join(['affectd', *command])} ")
    assert len(done.out) <= 24
    assert max(map(len, done.out)) <= 80
    if command not in ([], ["models"], ["events"]):
        assert any(line.startswith(f" Example: affectd {' '.join(command)}") for line in done.out)
    assert inside(capsys, *command, "-h") == done


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG'."),
        (["video", "--forec", "a", "b"], "No such option: --forec"),
        (["image", "a.png"], "--out: is missing; accepted is a folder, or --json"),
        (["train", "circle", "--recipe", "r", "--data", "d", "--out", "o"], "'circle' is not"),
        (["evaluate", "expression", "--data", "d", "--split", "x"], "'x' is not one of 'train'"),
        (["evaluate", "expression", "--data", "d", "--tta", "x"], "'x' is not one of 'none'"),
    ],
)
def test_arguments_that_are_none(capsys: Capsys, arguments: list[str], said: str) -> None:
    done = inside(capsys, *arguments)
    assert done.code == 2
    assert said in "\n".join(done.err)


def test_a_tilde_is_a_home_wherever_a_path_stands(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No shell replaces that of `--out=~/x`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "r.jsonl").touch()
    done = inside(capsys, "events", "to-csv", "~/r.jsonl", "~/r.csv")
    assert done == (0, [f"0 readings written to {tmp_path}/r.csv"], [])
    done = inside(capsys, "image", "~/none.jpg", "--out=~nobody-of-that-name/x")
    said = "affectd: ~nobody-of-that-name/x: nobody of that name has a home here; accepted for a "
    assert done == (2, [], [f"{said}file of that name is ./~nobody-of-that-name/x"])


@pytest.mark.parametrize("before", ["rtsp://", "rtsp;//", ""])
def test_a_url_where_a_path_belongs(capsys: Capsys, before: str) -> None:
    done = inside(capsys, "video", "demo://x?seconds=1", f"{before}u:hunter2@127.0.0.1/x.mp4")
    accepted = "accepted is a path, with ./ before one like a URL"
    line = f"affectd: {before}u:***@127.0.0.1/x.mp4: is a URL; {accepted}"
    assert done == (2, [], [line])


def test_what_is_not_there_was_told_wrong(tmp_path: Path, capsys: Capsys) -> None:
    none = tmp_path / "none"
    for command in (
        ("video", none, tmp_path / "out.mp4"),
        ("events", "to-csv", none, tmp_path / "out.csv"),
        ("evaluate", "expression", "--data", none, "--tta", "none"),
    ):
        done = inside(capsys, *command)
        assert (done.code, len(done.err)) == (2, 1)
        assert done.err[0].startswith(f"affectd: {none}")


def test_version(capsys: Capsys) -> None:
    done = inside(capsys, "version")
    assert done.code == 0
    assert [line.split()[0] for line in done.out[:3]] == ["affectd", "python", "torch"]
    assert inside(capsys, "--version") == (0, done.out[:1], [])


def test_a_configuration_that_validates(capsys: Capsys, light: Path) -> None:
    assert inside(capsys, "check", light) == (0, [f"{light}: valid; streams: unused"], [])


def test_models(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(tmp_path))
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(b"another file")
    done = inside(capsys, "models", "list")
    assert done.code == 0
    states = {line.split()[0]: line.split()[1:] for line in done.out}
    assert states["yunet"] == ["mismatch", "face_detection_yunet_2026may.onnx"]
    assert states["blazeface-full"][0] == "missing"
    assert states["Detectors:"] == [str(tmp_path)]
    assert states["Licences"][-2:] == ["yunet", "MIT"]
    done = inside(capsys, "models", "pull", "yunnet")
    said = "affectd: 'yunnet' is no model; accepted: blazeface-short, blazeface-full, yunet"
    assert done == (2, [], [said])


@needs_shared
def test_models_that_are_there_are_not_pulled_again(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    done = inside(capsys, "models", "pull", "yunet")
    assert done == (0, [], [f"yunet: {MODELS / 'face_detection_yunet_2026may.onnx'}"])


def test_readings_with_a_broken_line(tmp_path: Path, capsys: Capsys) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"schema": 1, "stre\n')
    done = inside(capsys, "events", "to-csv", source, target)
    said = f"{source}, line 1: is not JSON; accepted is one reading of schema 1 or one image a "
    said += "line, as affectd writes them"
    assert done == (1, [], [f"affectd: {said}; --skip-broken leaves it out"])
    assert not target.exists()
    done = inside(capsys, "events", "to-csv", source, target, "--skip-broken")
    assert done == (0, [f"0 readings written to {target}"], [said])
    assert target.is_file()


def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    """What waits to be written must not fail once more at Python's end."""
    (tmp_path / "r.jsonl").touch()
    command = [sys.executable, "-m", "daemon", "events", "to-csv", "r.jsonl", "r.csv"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(PYTHONUNBUFFERED=""),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    said = "affectd: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)
