"""`affectd video --frames`: which frames were looked at, and in which there was a face."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from daemon.sources.video import VideoSource
from tests.daemon.commands.interrupted import started
from tests.inside import inside, write_config, write_light
from tests.media import write_clip
from tests.shared import MODELS, VIDEO, needs_shared
from tests.waiting import wait_until

Capsys = pytest.CaptureFixture[str]
HEAD = "seq,media_time_s,looked,faces"


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that reads no face, and loads no model."""
    return write_light(tmp_path)


def test_every_frame_has_a_line(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    """Alone, it needs no reading, and keeps the rules of the other files."""
    source, frames = (
        write_clip(tmp_path / "in.mp4", pts=[40, 60, 460], frames=3),
        tmp_path / "f.csv",
    )
    what: list[str | Path] = ["video", source, "--config", light, "--frames", frames]
    assert inside(capsys, *what) == (0, [], [f"list of 3 frames written to {frames}"])
    before = frames.read_text()
    assert before.splitlines() == [HEAD, "0,0.0,1,0", "1,0.02,1,0", "2,0.42,1,0"]
    said = f"{frames}: exists; accepted is a new file, or --force to replace it"
    assert inside(capsys, *what) == (2, [], [f"affectd: {said}"])
    assert inside(capsys, *what, "--force").code == 0
    assert frames.read_text() == before
    done = inside(capsys, *what, "--events", frames, "--force")
    said = f"{frames}: is --events already; accepted for --frames is another file"
    assert done == (2, [], [f"affectd: {said}"])
    done = inside(capsys, *what[:-1], source, "--force")
    assert done == (2, [], [f"affectd: {source}: is IN itself; accepted is another file"])


def test_an_old_list_stays_until_there_is_another(
    tmp_path: Path, capsys: Capsys, light: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, frames = write_clip(tmp_path / "in.mp4", frames=3), tmp_path / "f.csv"
    frames.write_text("yesterday's")
    monkeypatch.setattr(VideoSource, "_decode", lambda self, packet: None)
    done = inside(capsys, "video", source, "--frames", frames, "--config", light, "--force")
    assert done.code == 1
    assert frames.read_text() == "yesterday's"


@needs_shared
def test_faces_are_counted_where_they_were_looked_for_and_where_not(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face in each frame of a clip; every third is looked at."""
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    config = write_config(tmp_path, "[detector]\nevery = 3\n[expression]\nenabled = false\n")
    what: list[str | Path] = ["--frames", tmp_path / "f.csv", "--config", config]
    assert inside(capsys, "video", VIDEO / "lbax4n.mpg", *what).code == 0
    with (tmp_path / "f.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seq"] for row in rows] == [str(seq) for seq in range(75)]
    assert [row["looked"] for row in rows[:6]] == ["1", "0", "0", "1", "0", "0"]
    assert {row["faces"] for row in rows} == {"1"}


def test_a_kill_leaves_whole_lines(tmp_path: Path, light: Path) -> None:
    frames = tmp_path / "f.csv"
    url = "demo://x?size=320x240&fps=10&seconds=3600"
    with started(tmp_path, "video", url, "--frames", frames, "--config", light) as process:
        wait_until(lambda: frames.exists() and frames.stat().st_size > 500)
        process.kill()
        process.wait()
    lines = frames.read_text().splitlines(keepends=True)
    assert lines[0] == HEAD + "\n"
    assert all(line.count(",") == 3 and line.endswith("\n") for line in lines)
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(len(lines) - 1))
