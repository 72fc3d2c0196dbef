"""What `check` says of a configuration after a measurement."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.commands.bench import machine, record
from daemon.commands.bench.capacity import warning
from daemon.commands.connect import Seen
from daemon.config.file import load
from daemon.config.settings import Settings
from tests.daemon.commands.bench.records import a_record
from tests.inside import inside


def settings_of(tmp_path: Path, *urls: str, more: str = "") -> Settings:
    lines = [f'[[stream]]\nname = "s{at}"\nurl = "{url}"' for at, url in enumerate(urls)]
    lines.append(more)
    path = tmp_path / "affectd.toml"
    path.write_text("\n".join(lines))
    return load(path, {}).settings


def test_enough(tmp_path: Path) -> None:
    """As many as were carried are fine, one more is not, and files do not count."""
    two = ["rtsp://10.0.0.1/a", "rtsp://10.0.0.2/b"]
    clips = ["party.mp4"] * 9
    measured = a_record(3, 2, 1)
    assert warning(settings_of(tmp_path, *two, *clips), measured, 4) is None
    said = warning(settings_of(tmp_path, *two, "rtsp://10.0.0.3/c"), measured, 4)
    assert said is not None
    assert "3 of them taken for 1280x720 at 15 fps" in said
    assert "3 of 480p, 2 of 720p, 1 of 1080p" in said


def test_enough_knows_the_sizes_that_are_configured(tmp_path: Path) -> None:
    measured = a_record(3, 2, 1)
    one = "demo://a?size=1920x1080&fps=15"
    assert warning(settings_of(tmp_path, one), measured, 4) is None
    assert warning(settings_of(tmp_path, one, one), measured, 4) is not None
    assert warning(settings_of(tmp_path, "demo://a?size=1920x1080&fps=30"), measured, 4) is not None
    assert warning(settings_of(tmp_path, "demo://a?size=3840x2160&fps=15"), measured, 4) is not None
    webcam = "width_px = 1920\nheight_px = 1080\nfps = 30"
    assert warning(settings_of(tmp_path, "/dev/video0", more=webcam), measured, 4) is not None
    small = "demo://a?size=320x180&fps=15"
    assert warning(settings_of(tmp_path, *[small] * 3), measured, 4) is None
    said = warning(settings_of(tmp_path, *[small] * 4), measured, 4)
    assert said is not None
    assert "taken for" not in said


def test_enough_goes_by_what_cameras_show(tmp_path: Path) -> None:
    """One that was connected is not taken for another; one that says no rate is."""
    settings = settings_of(tmp_path, "rtsp://10.0.0.1/a", "rtsp://10.0.0.2/b")
    measured = a_record(3, 2, 1)
    large = Seen("h264", 1920, 1080, 15.0)
    said = warning(settings, measured, 4, {"s0": replace(large, fps=30.0)})
    assert said is not None
    assert "1 of them taken for 1280x720" in said
    said = warning(settings, measured, 4, {"s0": large, "s1": large})
    assert said is not None
    assert "taken for" not in said
    assert warning(settings, measured, 4, {"s0": Seen("mjpeg", 1920, 1080, None)}) is None
    slow = replace(large, fps=5.0)
    assert warning(settings, measured, 4, {"s0": slow, "s1": slow}) is None


def test_a_size_of_which_no_number_was_too_many_says_nothing(tmp_path: Path) -> None:
    """As where the time was over after one camera."""
    short = a_record(1, 1, 1)
    one, *others = short.cameras
    some = replace(short, cameras=(one, *(replace(size, failed=None) for size in others)))
    none = replace(short, cameras=tuple(replace(size, failed=None) for size in short.cameras))
    many = settings_of(tmp_path, "rtsp://10.0.0.1/a", "rtsp://10.0.0.2/b")
    assert warning(many, none, 4) is None
    said = warning(many, some, 4)
    assert said is not None
    assert "Carried were 1 of 480p, 1 or more of 720p, 1 or more of 1080p, at" in said
    _, middle, largest = a_record(8, 4, 0).cameras
    late = replace(
        short, cameras=(replace(a_record(8, 4, 0).cameras[0], failed=None), middle, largest)
    )
    small = ["demo://a?size=640x480&fps=15"] * 8
    assert warning(settings_of(tmp_path, *small), late, 4) is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('[expression]\ntta = "flip"', None),  # fewer crops than were measured
        ('[expression]\nweights = "vgg10-small"', None),
        ("[expression]\nenabled = false", None),
        ('[expression]\nweights = "nets/not-from-here.safetensors"', None),
        ('[detector]\nbackend = "yunet"\nlong_side_px = 320', None),
        ('[detector]\nbackend = "mediapipe"', None),
        (
            '[expression]\nweights = "joint"',
            r"11,\d+ MFLOP a face \(joint, ten_crop\) where 6,987 were measured",
        ),
        ('[expression]\nengine = "torch"', "torch in float32 where openvino int8 was measured"),
        ('[detector]\nbackend = "haar"', "haar where yunet by openvino was measured"),
        ("[detector]\nlong_side_px = 640", "looking at 640 px where 480 px was measured"),
    ],
)
def test_what_costs_more_than_was_measured(tmp_path: Path, table: str, said: str | None) -> None:
    """One camera where two were carried, but not one of those."""
    measured = a_record(3, 2, 1)
    asked = replace(measured.asked, detector="yunet by openvino", engine="openvino int8")
    measured = replace(measured, asked=asked)
    one = settings_of(tmp_path, "rtsp://10.0.0.1/a", more=table)
    got = warning(one, measured, 4)
    if said is None:
        assert got is None
    else:
        assert got is not None
        assert re.fullmatch(f"asks for {said}: `affectd bench --config` with this file .*", got)
    too_many = settings_of(tmp_path, *["rtsp://10.0.0.1/a"] * 3, more=table)
    got = warning(too_many, measured, 4)
    assert got is not None
    assert "live streams: 3, 3 of them" in got
    assert (", and for " in got) is (said is not None)


def test_expressions_and_pictures_that_were_not_measured(tmp_path: Path) -> None:
    measured = a_record(3, 2, 1)
    asked = replace(measured.asked, weights="none", sinks=("events",), face_mflop=0.0)
    more = '[[stream.sink]]\nkind = "mp4"\npath = "a.mp4"\n[expression]\ntta = "none"'
    settings = settings_of(tmp_path, "rtsp://10.0.0.1/a", more=more)
    said = warning(settings, replace(measured, asked=asked), 4)
    assert said is not None
    assert "699 MFLOP a face (default, none) where 0 were measured" in said
    assert "pictures to be encoded where none were measured" in said


def test_the_processor_where_a_card_was_measured(tmp_path: Path) -> None:
    measured = replace(a_record(3, 2, 1), device="cuda")
    settings = settings_of(tmp_path, "rtsp://10.0.0.1/a", more='[expression]\ndevice = "cpu"')
    said = warning(settings, measured, 4)
    assert said is not None
    assert said.startswith("asks for the processor where a graphics card was measured: ")


def test_a_record_of_another_machine_or_a_busy_one_says_nothing(tmp_path: Path) -> None:
    many = settings_of(tmp_path, *["rtsp://10.0.0.1/a"] * 9)
    assert warning(many, a_record(3, 2, 1), 4) is not None
    assert warning(many, a_record(3, 2, 1), 8) is None
    assert warning(many, replace(a_record(3, 2, 1), others_share=0.3), 4) is None


def test_check_warns_and_still_says_valid(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings_of(tmp_path, "rtsp://u:geheim@10.0.0.1/a", "rtsp://u:geheim@10.0.0.2/b")
    path = tmp_path / "affectd.toml"
    done = inside(capsys, "check", path)
    assert (done.code, done.err) == (0, [])
    record.save(replace(a_record(1, 1, 0), cores=machine.cores()), tmp_path / "affectd/bench.json")
    done = inside(capsys, "check", path)
    assert done.code == 0
    assert done.out == [f"{path}: valid; streams: s0, s1"]
    assert done.err[0].startswith(f"affectd: warning: {path}: asks for about 100 %")
    assert "geheim" not in "\n".join(done.err)
