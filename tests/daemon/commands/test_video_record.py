"""`affectd video --record`: what a run was made of, however it ended."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from daemon.sources.video import VideoSource
from daemon.version import versions
from detectors import store
from tests.daemon.commands.interrupted import interrupt, started
from tests.daemon.sources.test_http_sources import part
from tests.inside import inside, write_config, write_light
from tests.media import write_clip
from tests.nets import save_tiny
from tests.shared import MODELS, VIDEO, needs_shared

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that reads no face, and loads no model."""
    return write_light(tmp_path)


def written(path: Path) -> Any:
    return json.loads(path.read_text())


@needs_shared
def test_all_that_readings_depend_on_is_written(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    net, record = save_tiny(tmp_path / "net.safetensors", unknown_below=0.25), tmp_path / "r.json"
    text = f'[expression]\nweights = "{net}"\nengine = "torch"\ntta = "none"\n'
    text += "[expression.prior]\nneutral = 0.5\n[tracking]\nhalf_life_s = 0\n"
    config = write_config(tmp_path, text + '[detector]\nevery = 2\nbackend = "yunet"\n')
    clip, frames = VIDEO / "lbax4n.mpg", tmp_path / "f.csv"
    what: list[str | Path] = ["video", clip, "--frames", frames, "--record", record]
    assert inside(capsys, *what, "--config", config).code == 0
    found = written(record)
    assert (found["complete"], found["why_not"]) == (True, None)
    assert found["command"].startswith(f"affectd video {clip} --frames ")
    assert found["versions"] == versions()
    source, settings = found["input"], found["settings"]
    assert source["file"] == str(clip)
    assert source["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert (source["container"], source["codec"]) == ("mpeg", "mpeg1video")
    assert (source["size_px"], source["fps"]) == ([360, 288], 25.0)
    counts = {"read": 75, "looked": 38, "with_faces": 38, "damaged": 0, "duration_s": 3.0}
    assert found["frames"] == counts
    assert settings["detector"]["model_sha256"] == store.MODELS["yunet"].sha256
    assert settings["detector"]["every"] == 2
    assert settings["tracking"]["half_life_s"] == 0
    expression = settings["expression"]
    assert expression["weights_sha256"] == hashlib.sha256(net.read_bytes()).hexdigest()
    assert expression["weights"].startswith("tiny-")
    assert (expression["engine"], expression["tta"]) == ("torch float32", "none")
    assert (expression["unknown_below"], expression["prior"]) == (0.25, {"neutral": 0.5})


@pytest.mark.parametrize("begins_ms", [0, 240])
def test_media_time_can_be_put_beside_the_sound(
    tmp_path: Path, capsys: Capsys, light: Path, begins_ms: int
) -> None:
    """Its pictures may begin later than its sound."""
    pts = [begins_ms + 40 * number for number in range(25)]
    clip = write_clip(tmp_path / "in.mkv", pts=pts, audio=True)
    what: list[str | Path] = ["--frames", tmp_path / "f.csv", "--record", tmp_path / "r.json"]
    assert inside(capsys, "video", clip, *what, "--config", light).code == 0
    found = written(tmp_path / "r.json")
    source = found["input"]
    late_s = source["first_picture_s"] - source["audio_start_s"]
    assert late_s == pytest.approx(begins_ms / 1000, abs=0.13)  # A block of sound lasts so long.
    assert found["frames"]["duration_s"] == pytest.approx(1.0)
    assert found["settings"]["expression"] == {"enabled": False}


def test_a_run_that_did_not_end_well_says_so(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    """A file that is cut; the record of the run before goes."""
    clip, record = write_clip(tmp_path / "in.mkv", frames=100), tmp_path / "r.json"
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    record.write_text("yesterday's")
    what: list[str | Path] = ["--frames", tmp_path / "f.csv", "--record", record]
    done = inside(capsys, "video", clip, *what, "--config", light, "--force")
    assert done.code == 1
    found = written(record)
    assert found["complete"] is False
    assert f"affectd: {found['why_not']}" == done.err[-1]
    assert "is cut: it ends at" in found["why_not"]
    assert 0 < found["frames"]["read"] < 100


def test_where_nothing_came_about_yesterday_s_record_stays_with_its_readings(
    tmp_path: Path, capsys: Capsys, light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them it is replaced, where another can be written. Nothing else is left."""
    clip, frames, record = write_clip(tmp_path / "in.mp4"), tmp_path / "f.csv", tmp_path / "r.json"
    for path in (frames, record):
        path.write_text("yesterday's")
    monkeypatch.setattr(VideoSource, "_decode", lambda self, packet: None)
    what: list[str | Path] = ["video", clip, "--frames", frames, "--record", record]
    there = sorted(tmp_path.iterdir())
    done = inside(capsys, *what, "--config", light, "--force")
    assert done.code == 1
    assert (frames.read_text(), record.read_text()) == ("yesterday's", "yesterday's")
    assert sorted(tmp_path.iterdir()) == there
    frames.unlink()
    there.remove(frames)
    done = inside(capsys, *what, "--config", light, "--force")
    found = written(record)
    assert (found["complete"], found["frames"]["read"]) == (False, 0)
    assert f"affectd: {found['why_not']}" == done.err[-1]
    assert sorted(tmp_path.iterdir()) == there
    record.write_text("yesterday's")
    (tmp_path / ".r.json.part").mkdir()
    assert inside(capsys, *what, "--config", light, "--force").code == 2
    assert record.read_text() == "yesterday's"


def test_a_single_picture_lasts_as_the_rate_says(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    clip, record = write_clip(tmp_path / "in.mp4", frames=1), tmp_path / "r.json"
    what: list[str | Path] = ["--frames", tmp_path / "f.csv", "--record", record]
    assert inside(capsys, "video", clip, *what, "--config", light).code == 0
    assert written(record)["frames"]["duration_s"] == 0.04
    clip = tmp_path / "in.mjpg"  # which says none
    clip.write_bytes(part(0))
    assert inside(capsys, "video", clip, *what, "--config", light, "--force").code == 0
    assert written(record)["frames"]["read"] == 1
    assert written(record)["frames"]["duration_s"] is None


def test_a_record_alone_is_not_enough_and_has_to_find_room(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    clip, record, frames = write_clip(tmp_path / "in.mp4"), tmp_path / "r.json", tmp_path / "f.csv"
    done = inside(capsys, "video", clip, "--record", record)
    assert (done.code, done.err[0][:23]) == (2, "affectd: OUT: is missin")
    done = inside(capsys, "video", clip, "--frames", record, "--record", record)
    said = f"{record}: is --frames already; accepted for --record is another file"
    assert done.err == [f"affectd: {said}"]
    what = ("--frames", frames, "--record", clip / "r.json", "--config", light)
    done = inside(capsys, "video", clip, *what)
    assert "in.mp4/r.json cannot be written" in done.err[0]
    assert not frames.exists()


def test_ctrl_c_leaves_a_record(tmp_path: Path, light: Path) -> None:
    frames, record = tmp_path / "f.csv", tmp_path / "r.json"
    url = "demo://x?size=320x240&fps=10&seconds=3600"
    what = (url, "--frames", frames, "--record", record, "--config", light)
    with started(tmp_path, "video", *what) as process:
        interrupt(process, lambda: frames.exists() and frames.stat().st_size > 500)
    assert process.returncode == 130
    found = written(record)
    assert (found["complete"], found["why_not"]) == (False, "interrupted")
    assert found["frames"]["read"] == len(frames.read_text().splitlines()) - 1
    assert found["input"]["sha256"] is None
