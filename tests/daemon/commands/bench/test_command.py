"""`affectd bench` as it is called."""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from daemon import models
from daemon.commands.bench.bar import Bar
from daemon.config.settings import Settings
from daemon.errors import Reason, SinkError
from daemon.sinks.base import Output
from daemon.sinks.events import EventsFile
from daemon.sinks.mp4 import Mp4File
from tests.inside import inside, write_light


def test_a_machine_without_room_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(prefix: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", none)  # root writes anywhere
    done = inside(capsys, "bench", "--config", write_light(tmp_path))
    said = "No usable temporary directory found in ['/tmp']; accepted is a TMPDIR that affectd may "
    assert done == (2, [], [f"affectd: {said}write to"])


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take long until its cameras begin."""
    monkeypatch.setattr("daemon.commands.bench.cameras.START_S", 60.0)


def test_bench_measures_real_cameras(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Haar, which needs no model file: what is printed, written and kept agrees, and the sinks
    that are asked for are fed.
    """
    fed: list[EventsFile] = []
    write = EventsFile.write

    def noted(sink: EventsFile, output: Output) -> bool:
        fed.append(sink)
        return write(sink, output)

    steps: list[str] = []
    load, begin = models.load, Bar.begin

    def loaded(settings: Settings, *more: Any) -> models.Models:
        """No work is to be shed."""
        steps.append(f"models for readings of {settings.expression.max_age_ms:g} ms")
        return load(settings, *more)

    def began(bar: Bar) -> None:
        steps.append("begin")
        begin(bar)

    monkeypatch.setattr(models, "load", loaded)
    monkeypatch.setattr(Bar, "begin", began)
    monkeypatch.setattr(EventsFile, "write", noted)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = tmp_path / "affectd.toml"
    config.write_text(
        '[detector]\nbackend = "haar"\nlong_side_px = 160\n[expression]\ntta = "none"\n'
        '[[stream]]\nname = "unused"\nurl = "demo://unused"\n'
    )
    target = tmp_path / "figures.json"
    options: list[str | Path] = ["--config", config, "--fps", "2", "--faces", "1", "--json", target]
    done = inside(capsys, "bench", "--seconds", "10", "--sinks", "mp4,events", *options)
    assert done.code == 0, done.err
    found = json.loads(target.read_text())
    assert found == json.loads((tmp_path / "state/affectd/bench.json").read_text())
    heights = [size["height_px"] for size in found["cameras"]]
    assert heights == [480, 720, 1080][: len(heights)]
    assert heights
    for size in found["cameras"]:
        load = size["carried"] or size["failed"]
        assert load["frames_share"] > 0.0
        assert load["cpu_cores"] > 0.0
    assert found["asked"]["sinks"] == ["mp4", "events"]
    assert fed
    assert found["asked"]["detector"] == "haar"
    assert found["asked"]["max_age_ms"] == 1000.0
    assert found["others_share"] is not None
    assert steps == ["models for readings of 60000 ms", "begin"]
    assert found["faces"][0]["a_second"] > 0.0
    assert "This machine" in " ".join(done.out[-2:])  # two where it carries none


def test_bench_says_what_fails_under_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sink that writes nothing would let the machine carry far more."""

    def full(sink: Mp4File, packet: object) -> bool:
        raise SinkError(Reason.DISK_FULL, "the disk is full")

    monkeypatch.setattr(Mp4File, "write", full)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    config = tmp_path / "affectd.toml"
    config.write_text(
        '[detector]\nbackend = "haar"\nlong_side_px = 160\n[expression]\nenabled = false\n'
        '[[stream]]\nname = "unused"\nurl = "demo://unused"\n'
    )
    options: list[str | Path] = ["--config", config, "--fps", "2", "--faces", "1"]
    done = inside(capsys, "bench", "--seconds", "10", *options)
    assert done.code == 1
    assert done.err[-1] == "affectd: what the cameras feed does not work: the disk is full"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sinks", "vhs"], "--sinks: found 'vhs'; accepted: none, or"),
        (["--fps", "0"], "greater than or equal to 1"),
    ],
)
def test_bench_says_what_it_accepts(
    capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    done = inside(capsys, "bench", *options)
    assert done.code == 2
    assert said in "\n".join(done.err)
