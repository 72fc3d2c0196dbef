"""`affectd bench`: cameras that are carried, what is kept of it, and what `check` says then."""

from __future__ import annotations

import errno
import io
import json
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from rich.console import Console

from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines import installed
from daemon.commands.bench import machine, nets, record, run, table
from daemon.commands.bench.bar import Bar
from daemon.commands.bench.cameras import MOST, Site, carries, most
from daemon.commands.bench.clip import make_clip
from daemon.commands.bench.enough import warning
from daemon.commands.bench.power import Meter
from daemon.commands.bench.record import Asked, Cameras, Faces, Load, Record
from daemon.config.file import load
from daemon.config.settings import ExpressionSettings, Settings
from daemon.errors import Reason, SinkError
from daemon.sinks.mp4 import Mp4File
from daemon.sources.video import VideoSource
from tests.inside import inside, write_light
from tests.nets import save_tiny

MAX_AGE_MS = 1000.0


def a_load(cameras: int, share: float = 1.0, age_ms: float | None = 50.0) -> Load:
    readings = 0.0 if age_ms is None else 15.0
    return Load(cameras, share, share, readings, age_ms, age_ms, 0.5 * cameras, None)


class Busy(Site):
    """Stands in for cameras, which take seconds."""

    def __init__(self) -> None:
        pass

    def show(self, clip: Path, cameras: int) -> None:
        pass

    def watch(self, seconds: float, tick: Callable[[], None] = lambda: None) -> Load:
        return a_load(1)


def a_record(*most_of: int) -> Record:
    """A record of 480p, 720p, 1080p of which so many were carried, at 15 fps."""
    sizes = [(854, 480), (1280, 720), (1920, 1080)]
    asked = Asked(
        15, 2, ("mp4",), "yunet", 480, "vgg10-0000000", "ten_crop", "torch float32", MAX_AGE_MS
    )
    cameras = tuple(
        Cameras(*size, a_load(count) if count else None, a_load(count + 1, 0.5))
        for size, count in zip(sizes, most_of, strict=True)
    )
    faces = (Faces("torch", "none", 1, 16, 300.0), Faces("torch", "ten_crop", 10, 16, 36.4))
    when = "2026-11-21T08:00:00+00:00"
    return Record(1, when, "0.1.0", "A processor", 4, "cpu", 0.0, asked, cameras, faces)


def settings_of(tmp_path: Path, *urls: str) -> Settings:
    lines = [f'[[stream]]\nname = "s{at}"\nurl = "{url}"' for at, url in enumerate(urls)]
    path = tmp_path / "affectd.toml"
    path.write_text("\n".join(lines))
    return load(path, {}).settings


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 23, 100, MOST])
def test_the_most_that_is_carried_is_found(limit: int) -> None:
    """Within one camera, or a twentieth, and without trying every number."""
    tried: list[int] = []

    def probe(cameras: int) -> Load:
        tried.append(cameras)
        return a_load(cameras, 1.0 if cameras <= limit else 0.7)

    carried, failed = most(probe, MAX_AGE_MS, 16, lambda: False)
    found = carried.cameras if carried else 0
    assert limit * 0.95 - 1 < found <= limit
    assert (failed is None) == (limit >= MOST)
    assert len(tried) == len(set(tried)) <= 12


def test_without_time_the_search_ends_with_what_it_has() -> None:
    assert most(a_load, MAX_AGE_MS, 16, lambda: True) == (a_load(1), None)


def test_what_is_a_burden() -> None:
    assert carries(a_load(1), MAX_AGE_MS)
    assert carries(a_load(1, age_ms=None), MAX_AGE_MS)
    assert not carries(a_load(1, share=0.9), MAX_AGE_MS)
    assert not carries(a_load(1, age_ms=1001.0), MAX_AGE_MS)
    assert not carries(replace(a_load(9), worst_share=0.5), MAX_AGE_MS)
    assert not carries(replace(a_load(9), readings_a_face_s=0.5), MAX_AGE_MS)


def test_the_clip_is_as_a_camera_sends_it(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    make_clip(clip, 320, 180, 15, 2, 10)
    with av.open(clip) as container:
        assert container.streams.video[0].codec_context.has_b_frames == 0
    source = VideoSource("clip", str(clip), live=False, stop=threading.Event())
    frames = list(source.frames())
    assert [frame.image.width for frame in frames] == [320] * 10
    assert frames[-1].pts_s == pytest.approx(9 / 15)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    record.save(a_record(3, 2, 0), path)
    assert record.load(path) == a_record(3, 2, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:50],
        lambda text: text.replace('"schema": 1', '"schema": 99'),
        lambda text: text.replace('"fps"', '"frames"'),
    ],
)
def test_a_record_that_is_not_understood_is_none(
    tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    path = tmp_path / "bench.json"
    record.save(a_record(3, 2, 1), path)
    path.write_text(spoil(path.read_text()))
    assert record.load(path) is None
    assert record.load(tmp_path / "none.json") is None


def test_a_record_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"file/bench\.json"):
        record.save(a_record(1, 1, 1), tmp_path / "file" / "bench.json")


def test_figures_that_cannot_be_kept_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file"))
    err = io.StringIO()
    run.keep(a_record(3, 2, 1), Console(file=err, soft_wrap=True))
    assert err.getvalue().startswith(f"affectd: warning: {tmp_path}/file/bench.json cannot be ")


def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fifo"
    os.mkfifo(target)
    done = inside(capsys, "bench", "--json", target)
    said = f"affectd: {target} cannot be written (it is there and is no file); accepted is a path "
    assert done == (2, [], [f"{said}in a folder that affectd may write to"])


def test_a_full_disk_under_a_clip_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "480p.mp4").symlink_to("/dev/full")
    asked = replace(a_record(1, 1, 1).asked, fps=1, faces=1)
    bar = Bar(10.0, Console(file=io.StringIO()))
    with pytest.raises(SinkError, match=r"480p\.mp4: no room left") as hit:
        list(run.sizes(Busy(), asked, tmp_path, bar))
    assert hit.value.reason is Reason.DISK_FULL


def test_a_machine_without_room_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(prefix: str) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", none)  # root writes anywhere
    done = inside(capsys, "bench", "--config", write_light(tmp_path))
    said = "No usable temporary directory found in ['/tmp']; accepted is a TMPDIR that affectd may "
    assert done == (2, [], [f"affectd: {said}write to"])


@pytest.mark.parametrize("most_of", [(3, 2, 1), (12, 8, 0), (0, 0, 0)])
def test_the_table_fits_80_columns(
    most_of: tuple[int, int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Console(soft_wrap=True, highlight=False, width=80)
    busy = replace(a_record(*most_of), others_share=0.9)
    table.show(busy, out)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert table.sentence(busy) in " ".join(lines)


def test_a_size_that_there_was_no_time_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(soft_wrap=True, highlight=False, width=80)
    short = a_record(3, 2, 1)
    table.show(replace(short, cameras=short.cameras[:1]), out)
    printed = capsys.readouterr().out
    assert "The time was over before larger sizes" in printed
    assert "about 3 cameras of 480p" in printed


def test_the_sentence_names_the_usual_size_where_it_can() -> None:
    each = "at 15 fps with 2 faces each"
    assert (
        table.sentence(a_record(3, 2, 1)) == f"This machine carries about 2 cameras of 720p {each}."
    )
    assert "about 1 camera of 480p" in table.sentence(a_record(1, 0, 0))
    assert "does not carry one camera" in table.sentence(a_record(0, 0, 0))
    many = a_record(9, 9, 9)
    many = replace(many, cameras=tuple(replace(size, failed=None) for size in many.cameras))
    assert "at least 9 cameras" in table.sentence(many)


def test_what_was_fetched_before_takes_no_time_of_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0
    monkeypatch.setattr("daemon.commands.bench.bar.time.monotonic", lambda: now_s)
    bar = Bar(10.0, Console(file=io.StringIO()))
    now_s = 300.0
    bar.begin()
    now_s = 301.0
    assert bar.left_s() == pytest.approx(9.0)


def test_the_smallest_size_is_measured_though_no_time_is_left(tmp_path: Path) -> None:
    asked = replace(a_record(1, 1, 1).asked, fps=1, faces=1)
    bar = Bar(0.0, Console(file=io.StringIO()))
    (found,) = run.sizes(Busy(), asked, tmp_path, bar)
    assert (found.height_px, found.most, found.failed) == (480, 1, None)


def test_on_a_card_the_mode_that_the_daemon_takes_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There it is bfloat16, by `auto`, beside float32."""
    monkeypatch.setattr(nets, "cuda_fault", lambda: "")
    found = nets.ways(ExpressionSettings())
    assert {(way.device, way.engine) for way in found} == {("cuda", "auto"), ("cuda", "torch")}
    for settings in (ExpressionSettings(device="cpu"), ExpressionSettings(engine="openvino")):
        found = nets.ways(settings)
        assert {(way.device, way.engine) for way in found} == {("cpu", e) for e in installed()}


def test_faces_are_timed_with_their_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them `temporal` would be timed as `none`."""
    seen: list[list[int]] = []
    plain = ExpressionClassifier.predict

    def predict(*given: Any) -> Any:
        _, _, turns = given
        seen.append(turns.tolist())
        return plain(*given)

    monkeypatch.setattr(ExpressionClassifier, "predict", predict)
    weights = str(save_tiny(tmp_path / "tiny.safetensors"))
    expression = ExpressionSettings(weights=weights, max_batch=3)
    assert nets.Way(expression, "torch", "cpu", "temporal").measure(0.0).a_second > 0.0
    assert seen == [[0, 1, 2], [0, 1, 2]]


def test_power_is_counted_over_the_counter_s_end(tmp_path: Path) -> None:
    """Two packages, one of whose counters starts again; a part of a package is not added to it."""
    zones = {"intel-rapl:0": 900_000, "intel-rapl:1": 100, "intel-rapl:0:0": 1}
    for name, energy_uj in zones.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy_uj}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000000\n")
    meter = Meter(tmp_path, smi=None)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("400000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500100\n")
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("900000\n")
    elapsed_s = 0.5 + 1e-9
    assert meter.watts(elapsed_s) == pytest.approx(1e-6 * (500_000 + 500_000) / elapsed_s)


def test_a_machine_that_tells_no_power(tmp_path: Path) -> None:
    assert Meter(tmp_path, smi=None).watts() is None


def test_power_of_a_part_is_not_told(tmp_path: Path) -> None:
    """1. Cards tell, processors have no counter. 2. They have one for root only. 3. They have one
    for anyone. 4. One of the cards, or all, do not tell."""
    smi, zone = tmp_path / "smi", tmp_path / "intel-rapl:0"
    smi.write_text("#!/bin/sh\necho 300\necho 20.5\n")
    smi.chmod(0o755)
    assert Meter(tmp_path, str(smi)).watts() is None
    zone.mkdir()
    assert Meter(tmp_path, str(smi)).watts() is None
    (zone / "energy_uj").write_text("100\n")
    assert Meter(tmp_path, str(smi)).watts() == 320.5
    for fault in ("echo 300; echo '[N/A]'", "exit 9"):
        smi.write_text(f"#!/bin/sh\n{fault}\n")
        assert Meter(tmp_path, str(smi)).watts() is None


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
    small = "demo://a?size=320x180&fps=15"
    assert warning(settings_of(tmp_path, *[small] * 3), measured, 4) is None
    said = warning(settings_of(tmp_path, *[small] * 4), measured, 4)
    assert said is not None
    assert "taken for" not in said


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


def test_bench_measures_real_cameras(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Haar, which needs no model file: what is printed, written and kept agrees."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = tmp_path / "affectd.toml"
    config.write_text(
        '[detector]\nbackend = "haar"\nlong_side_px = 160\n[expression]\ntta = "none"\n'
        '[[stream]]\nname = "unused"\nurl = "demo://unused"\n'
    )
    target = tmp_path / "figures.json"
    options: list[str | Path] = ["--config", config, "--fps", "2", "--faces", "1", "--json", target]
    done = inside(capsys, "bench", "--seconds", "10", *options)
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
    assert found["asked"]["detector"] == "haar"
    assert found["faces"][0]["a_second"] > 0.0
    assert "This machine" in done.out[-1]


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
