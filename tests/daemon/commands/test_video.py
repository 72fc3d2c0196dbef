"""`affectd video`: what it writes, what it replaces, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from daemon.sources.video import VideoSource
from tests.daemon.commands.interrupted import interrupt, started
from tests.inside import inside, write_light
from tests.media import frames_in, write_clip
from tests.nets import save_tiny
from tests.shared import MODELS, VIDEO, needs_shared

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that loads no model."""
    return write_light(tmp_path)


@pytest.fixture
def reading(light: Path, tmp_path: Path) -> Path:
    """One that reads faces, by a net that is loaded at once."""
    net = save_tiny(tmp_path / "net.safetensors")
    on = f'weights = "{net}"\nengine = "torch"'
    light.write_text(light.read_text().replace("enabled = false", on))
    return light


def test_video_replaces_nothing_unasked(tmp_path: Path, capsys: Capsys, reading: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=3)
    target, events = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    whole = source.read_bytes()
    for path in (target, events):
        path.write_text("kept")
    both: list[str | Path] = [source, target, "--events", events, "--config", reading]

    done = inside(capsys, "video", *both)
    said = "exists; accepted is a new file, or --force to replace it"
    assert done == (2, [], [f"affectd: {target}: {said}"])
    done = inside(capsys, "video", source, tmp_path / "new.mp4", *both[2:])
    assert done == (2, [], [f"affectd: {events}: {said}"])
    done = inside(capsys, "video", tmp_path / "absent.mp4", *both[1:], "--force")
    assert done == (2, [], [f"affectd: {tmp_path}/absent.mp4: there is no such file"])
    done = inside(capsys, "video", source, source, "--config", reading, "--force")
    assert done == (2, [], [f"affectd: {source}: is IN itself; accepted is another file"])
    assert inside(capsys, "video", f"file://{tmp_path}/i%6E.mp4", source, "--force") == done
    done = inside(capsys, "video", source, target, "--events", target, "--force")
    assert done.err == [f"affectd: {target}: is OUT already; accepted for --events is another file"]
    configured = reading.read_text()
    done = inside(capsys, "video", source, "--frames", reading, "--config", reading, "--force")
    said = f"{reading}: is that of --config; accepted is another file"
    assert done == (2, [], [f"affectd: {said}"])
    assert reading.read_text() == configured
    done = inside(capsys, "video", source, tmp_path, "--config", reading, "--force")
    assert done.err == [f"affectd: {tmp_path}: exists and is no file; accepted is a new file"]
    done = inside(capsys, "video", source, tmp_path / "out.MKV", "--config", reading)
    said = "is written as MP4; accepted is a name in .mp4, .m4v, .mov"
    assert done == (2, [], [f"affectd: {tmp_path}/out.MKV: {said}"])
    long = tmp_path / f"{300 * 'n'}.mp4"
    done = inside(capsys, "video", source, long, "--config", reading)
    assert (done.code, len(done.err)) == (2, 1)
    assert "cannot be written (File name too long)" in done.err[0]
    assert source.read_bytes() == whole
    assert target.read_text() == events.read_text() == "kept"

    assert inside(capsys, "video", *both, "--force").code == 0
    assert frames_in(target) == 3
    assert events.read_text() == ""  # There was no face to read.


def test_readings_alone(
    tmp_path: Path, capsys: Capsys, reading: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No video is written, and what is replaced stays until readings come."""
    source, events = write_clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.jsonl"
    done = inside(capsys, "video", source)
    said = "is the name of an MP4, or --events FILE for readings alone, or --frames FILE"
    assert done == (2, [], [f"affectd: OUT: is missing; accepted {said}"])
    what: list[str | Path] = ["video", source, "--events", events, "--config", reading]
    before = sorted([*tmp_path.iterdir(), events])
    assert inside(capsys, *what) == (0, [], [f"readings of 3 frames written to {events}"])
    events.write_text("yesterday's")
    said = f"{events}: exists; accepted is a new file, or --force to replace it"
    assert inside(capsys, *what) == (2, [], [f"affectd: {said}"])
    with monkeypatch.context() as broken:
        broken.setattr(VideoSource, "_decode", lambda self, packet: None)
        assert inside(capsys, *what, "--force").code == 1
    assert events.read_text() == "yesterday's"
    assert inside(capsys, *what, "--force").code == 0
    assert events.read_text() == ""  # There was no face to read.
    assert sorted(tmp_path.iterdir()) == before


def test_readings_of_a_configuration_that_reads_no_face_are_refused(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    """Else the empty file would say that there was no face."""
    source, target, events = write_clip(tmp_path / "in.mp4"), tmp_path / "o.mp4", tmp_path / "e"
    target.write_text("kept")
    what: list[str | Path] = [source, target, "--config", light, "--force"]
    done = inside(capsys, "video", *what, "--events", events)
    said = "expression.enabled: found false, and --events wants readings; accepted is true"
    assert done == (2, [], [f"affectd: {light}: {said}"])
    assert target.read_text() == "kept"
    assert not events.exists()


def test_links_stay_and_are_followed(tmp_path: Path, capsys: Capsys, reading: Path) -> None:
    """
    1. One that leads to nothing yet, one to a file that is replaced; one to no video's name, and
       one to itself.
    2. OUT and --events are one file, spelled in two ways.
    """
    source, real, events = write_clip(tmp_path / "in.mp4"), tmp_path / "a.mp4", tmp_path / "a.jsonl"
    links = [tmp_path / "to.mp4", tmp_path / "to.jsonl"]
    for link, led_to in zip(links, (real, events), strict=True):
        link.symlink_to(led_to.name)
    what = ("video", source, links[0], "--events", links[1], "--config", reading)
    for force in ([], ["--force"]):
        assert inside(capsys, *what, *force) == (0, [], [f"25 frames written to {real}"])
        assert all(link.is_symlink() for link in links)
        assert not any(path.is_symlink() for path in (real, events))
    (tmp_path / "x.mp4").symlink_to("x.bin")
    done = inside(capsys, "video", source, tmp_path / "x.mp4")
    assert done.err[0].startswith(f"affectd: {tmp_path}/x.bin: is written as MP4; accepted is ")
    loop = tmp_path / "loop.mp4"
    loop.symlink_to(loop.name)
    done = inside(capsys, "video", source, loop, "--force")
    assert done.err == [f"affectd: {loop}: exists and is no file; accepted is a new file"]

    (tmp_path / "sub").mkdir()
    for same in (tmp_path / "sub" / ".." / "a.mp4", links[0]):
        done = inside(capsys, "video", source, real, "--events", same, "--force")
        said = f"{same}: is OUT already; accepted for --events is another file"
        assert done == (2, [], [f"affectd: {said}"])


def test_a_pipe_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    """One with a name, and a shell's, which would give each reader a part."""
    os.mkfifo(tmp_path / "fifo")
    end, other = os.pipe()
    for pipe in (tmp_path / "fifo", f"file://{tmp_path}/fifo", f"/dev/fd/{end}"):
        done = inside(capsys, "video", pipe, tmp_path / "out.mp4")
        said = "IN: is a pipe; accepted is a file, which is opened more than once"
        assert done == (2, [], [f"affectd: {said}"])
    os.close(end)
    os.close(other)


def test_a_scene_without_an_end_is_refused(tmp_path: Path, capsys: Capsys) -> None:
    done = inside(capsys, "video", "demo://lobby?faces=1", tmp_path / "out.mp4")
    said = "IN: demo:// without an end; accepted is demo://NAME?seconds=10"
    assert done == (2, [], [f"affectd: {said}"])


def test_a_scene_that_is_over_at_once_is_an_error(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    done = inside(
        capsys, "video", "demo://x?seconds=1e-11", tmp_path / "out.mp4", "--config", light
    )
    said = "demo://x?seconds=1e-11: ended before its first picture"
    assert done == (1, [], [f"affectd: {said}"])
    (tmp_path / "out.mp4").write_text("yesterday's")
    forced = ("--config", light, "--force")
    done = inside(capsys, "video", "demo://x?seconds=1e-11", tmp_path / "out.mp4", *forced)
    assert done == (1, [], [f"affectd: {said}"])
    assert (tmp_path / "out.mp4").read_text() == "yesterday's"


@pytest.mark.parametrize(
    "streams", ["", '[daemon]\ntoken = "${NO_SUCH}"\n[[stream]]\nname = 3\nurl = "${NO_SUCH}"\n']
)
def test_a_configuration_may_lack_streams_and_their_secrets(
    tmp_path: Path, capsys: Capsys, light: Path, streams: str
) -> None:
    light.write_text(light.read_text().partition("[[stream]]")[0] + streams)
    source, target = write_clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4"
    done = inside(capsys, "video", source, target, "--config", light)
    assert done == (0, [], [f"3 frames written to {target}"])
    light.write_text(light.read_text().replace("backend", "backed"))
    done = inside(capsys, "video", source, target, "--config", light, "--force")
    said = "detector.backed: unknown key; did you mean backend?"
    assert done == (2, [], [f"affectd: {light}: {said}"])


def test_what_is_replaced_stays_until_there_is_something_in_its_place(
    tmp_path: Path, capsys: Capsys, reading: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, events = (
        write_clip(tmp_path / "in.mp4"),
        tmp_path / "o.mp4",
        tmp_path / "o.jsonl",
    )
    what: list[str | Path] = [source, target, "--events", events, "--config", reading, "--force"]
    target.write_text("yesterday's")
    events.write_text("yesterday's too")
    with monkeypatch.context() as broken:
        broken.setattr(VideoSource, "_decode", lambda self, packet: None)
        assert inside(capsys, "video", *what).code == 1
    assert (target.read_text(), events.read_text()) == ("yesterday's", "yesterday's too")
    assert inside(capsys, "video", *what).code == 0
    assert frames_in(target) > 0
    assert not events.exists() or "yesterday" not in events.read_text()
    assert not list(tmp_path.glob(".*"))


def test_damage_is_told(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    """Of a transport stream some packets are marked as faulty. What looks like a password in
    its name is not shown."""
    folder = tmp_path / "password=geheim"
    folder.mkdir()
    source, target = write_clip(folder / "in.ts", frames=50), tmp_path / "out.mp4"
    content = bytearray(source.read_bytes())
    middle = len(content) // 376 * 188
    for at in range(middle, middle + 5 * 188, 188):
        content[at + 1] |= 0x80  # transport_error_indicator
    source.write_bytes(content)
    done = inside(capsys, "video", source, target, "--config", light)
    written = frames_in(target)
    assert 0 < written < 50
    said, warned = done.err
    assert said == f"{written} frames written to {target}"
    assert warned.startswith(f"affectd: warning: {tmp_path}/password=***: ")
    assert warned.endswith(" damaged packets gave no frame")


def test_every_file_that_a_video_became_is_named(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    """Its pictures grow on the way, and one of the names is taken."""
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    parts = [write_clip(tmp_path / f"{w}.ts", width=w, frames=20) for w in (160, 320)]
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    (tmp_path / "out-2.mp4").write_text("of somebody else")
    done = inside(capsys, "video", source, target, "--config", light)
    more = tmp_path / "out-3.mp4"
    said = f"{target}, {more}: IN's pictures change their size or kind, or pause for hours"
    assert done.err[0] == f"{frames_in(target) + frames_in(more)} frames written to {said}"
    assert min(frames_in(target), frames_in(more)) >= 19
    assert (tmp_path / "out-2.mp4").read_text() == "of somebody else"


@needs_shared
def test_video_of_a_face_with_its_readings(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    source, target, events = VIDEO / "lbax4n.mpg", tmp_path / "o.mp4", tmp_path / "o.jsonl"
    done = inside(capsys, "video", source, target, "--events", events)
    assert done == (0, [], [f"75 frames written to {target}"])
    assert frames_in(target) == 75
    lines = events.read_text().splitlines()
    assert len(lines) >= 70
    assert {json.loads(line)["file"] for line in lines} == {str(source)}
    alone = tmp_path / "alone.jsonl"
    done = inside(capsys, "video", source, "--events", alone)
    assert done == (0, [], [f"readings of 75 frames written to {alone}"])
    assert alone.read_bytes() == events.read_bytes()


def test_ctrl_c_leaves_a_video_that_plays(tmp_path: Path, light: Path) -> None:
    target = tmp_path / "out.mp4"
    url = "demo://x?size=320x240&fps=10&seconds=3600"
    with started(tmp_path, "video", url, target, "--config", light) as process:
        printed = interrupt(process, lambda: target.exists() and target.stat().st_size > 50_000)
    assert process.returncode == 130
    assert printed.splitlines() == [f"Interrupted; {target} holds the frames until here"]
    assert frames_in(target) > 10


def test_ctrl_c_leaves_whole_readings(tmp_path: Path, reading: Path) -> None:
    events = tmp_path / "out.jsonl"
    what = ("demo://x?fps=10&seconds=3600", "--events", events, "--config", reading)
    with started(tmp_path, "video", *what) as process:
        printed = interrupt(process, lambda: events.exists() and events.stat().st_size > 5_000)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == f"Interrupted; {events} holds the readings until here"
    assert all(json.loads(line)["schema"] == 1 for line in events.read_text().splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_was_to_be_replaced_is_not_hidden_by_a_signal(
    tmp_path: Path, reading: Path, number: signal.Signals
) -> None:
    """Before the first frame the old files are there again, after it a video that plays."""
    target, events = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    for path in (target, events):
        path.write_text("yesterday's")
    url = "demo://x?size=3840x2160&fps=10&seconds=3600&faces=6"
    what: list[str | Path] = [url, target, "--events", events, "--config", reading, "--force"]
    with started(tmp_path, "video", *what) as process:
        interrupt(process, lambda: any(tmp_path.glob(".out.jsonl.*.old")), number)
    assert process.returncode == 128 + number
    assert not list(tmp_path.glob(".*"))
    assert events.exists()
    if target.read_bytes() == b"yesterday's":
        assert events.read_text() == "yesterday's"
    else:
        assert frames_in(target) > 0
