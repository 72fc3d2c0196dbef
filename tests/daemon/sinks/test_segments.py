from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from daemon.config.file import load
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.errors import ConfigError
from daemon.frame import plane
from daemon.sinks.mp4 import Mp4File
from daemon.sinks.segments import SegmentFiles
from tests.daemon.outputs import Encoded, luma_of, mp4, output, picture, record_and_kill

NOON_S = 1_795_262_400.0  # 2026-11-21T12:00:00Z
DAY_S = 86400.0


def lumas(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [int(np.median(plane(frame, 0))) for frame in container.decode(video=0)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_segment_ends_with_its_time_and_no_picture_is_lost(tmp_path: Path) -> None:
    config = Mp4SinkSettings(
        kind="mp4", path=tmp_path / "lobby.mp4", crf=10, fragment_s=0.2, segment_s=0.5
    )
    sink = mp4(config)
    for seq in range(40):
        assert sink.write(output(seq, captured_s=NOON_S + seq * 0.04))
    sink.close()
    # 25 a second, a fragment every 5: the first that is due after 0.5 s is at 15 pictures.
    assert names(tmp_path) == [
        "lobby-20261121T120000Z-2.mp4",
        "lobby-20261121T120000Z.mp4",
        "lobby-20261121T120001Z.mp4",
    ]
    order = ["120000Z", "120000Z-2", "120001Z"]
    found = [lumas(tmp_path / f"lobby-20261121T{part}.mp4") for part in order]
    assert [len(segment) for segment in found] == [15, 15, 10]
    joined = [luma for segment in found for luma in segment]
    assert joined == pytest.approx([luma_of(seq) for seq in range(40)], abs=2)


def test_a_segment_ends_with_its_size(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", fragment_s=0.2, segment_mb=0.1)
    sink = mp4(config)
    noise, image = np.random.default_rng(0), picture()
    for seq in range(150):
        plane(image, 0)[:] = noise.integers(16, 235, (48, 64))
        sink.write(output(seq, image=image, captured_s=NOON_S + seq))
    sink.close()
    sizes = [path.stat().st_size for path in sorted(tmp_path.iterdir())]
    assert len(sizes) >= 3
    assert all(100_000 < size < 140_000 for size in sizes[:-1])
    assert sum(len(lumas(path)) for path in tmp_path.iterdir()) == 150


def segment(folder: Path, name: str, *, size: int = 1000, ended_s: float = NOON_S) -> Path:
    path = folder / name
    path.write_bytes(bytes(size))
    os.utime(path, (ended_s, ended_s))
    return path


def test_what_is_too_old_goes_and_nothing_else(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "lobby.mp4", segment_s=60, keep_days=2)
    old_s = NOON_S - 2 * DAY_S - 60
    segment(tmp_path, "lobby-20261101T120000Z.mp4", ended_s=old_s)
    segment(tmp_path, "lobby-20261101T120000Z-2.mp4", ended_s=old_s)
    current = segment(tmp_path, "lobby-20261102T120000Z.mp4", ended_s=old_s)
    kept = [
        segment(tmp_path, "lobby-20261119T120000Z.mp4", ended_s=NOON_S - 2 * DAY_S + 60),
        segment(tmp_path, "lobby-2-20261101T120000Z.mp4", ended_s=old_s),  # another sink's
        segment(tmp_path, "lobby.mp4", ended_s=old_s),
        segment(tmp_path, "lobby-20261101.mp4", ended_s=old_s),
        segment(tmp_path, "lobby-20261101T120000Z.mkv", ended_s=old_s),
        segment(tmp_path, "old-lobby-20261101T120000Z.mp4", ended_s=old_s),
    ]
    linked = tmp_path / "lobby-20261103T120000Z.mp4"
    linked.symlink_to(kept[1])
    os.utime(linked, (old_s, old_s), follow_symlinks=False)
    (tmp_path / "lobby-20261104T120000Z.mp4").mkdir()
    os.utime(tmp_path / "lobby-20261104T120000Z.mp4", (old_s, old_s))
    SegmentFiles(config).prune(NOON_S, current)
    left = {*kept, current, linked, tmp_path / "lobby-20261104T120000Z.mp4"}
    assert set(tmp_path.iterdir()) == left


def test_the_oldest_go_while_all_are_too_much(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "lobby.mp4", segment_s=60, keep_gb=2500e-9)
    for hour in (3, 1, 2, 4):
        segment(tmp_path, f"lobby-20261121T0{hour}0000Z.mp4")
    stranger = segment(tmp_path, "holiday.mp4", size=100_000)
    SegmentFiles(config).prune(NOON_S, tmp_path / "lobby-20261121T040000Z.mp4")
    assert names(tmp_path) == [
        "holiday.mp4",
        "lobby-20261121T030000Z.mp4",
        "lobby-20261121T040000Z.mp4",
    ]
    assert stranger.stat().st_size == 100_000


def test_the_one_being_written_stays_however_large(tmp_path: Path) -> None:
    config = Mp4SinkSettings(
        kind="mp4", path=tmp_path / "lobby.mp4", fragment_s=0.2, segment_s=1, keep_gb=1e-9
    )
    sink = mp4(config)
    seen = []
    for seq in range(100):
        sink.write(output(seq, pts_s=seq * 0.1, captured_s=NOON_S + seq * 11))
        seen += names(tmp_path)
    sink.close()
    assert len(seen) == 100
    assert seen == sorted(seen)
    assert len(set(seen)) == 10
    assert len(lumas(tmp_path / names(tmp_path)[0])) == 10


def test_the_folder_is_listed_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. Segments of 5 s of which three fit. 2. What is found at the start, and each new one, goes
    in its turn. 3. What others put there is seen within the hour."""
    listings: list[Path] = []
    iterdir = Path.iterdir

    def listed(folder: Path) -> Iterator[Path]:
        listings.append(folder)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", listed)
    segment(tmp_path, "x-20261120T120000Z.mp4", size=100)
    config = Mp4SinkSettings(
        kind="mp4", path=tmp_path / "x.mp4", fragment_s=0.2, segment_s=1, keep_gb=40_000e-9
    )
    sink = mp4(config)
    noise, image = np.random.default_rng(0), picture()
    for seq in range(400):
        plane(image, 0)[:] = noise.integers(16, 235, (48, 64))
        sink.write(output(seq, pts_s=seq * 0.2, image=image, captured_s=NOON_S + seq))
        if seq == 200:
            segment(tmp_path, "x-20261120T130000Z.mp4", size=100)
    assert listings == [tmp_path]
    found = sorted(path.name for path in os.scandir(tmp_path))
    assert found[0] == "x-20261120T130000Z.mp4"
    assert found[-1] == "x-20261121T120635Z.mp4"
    assert 2 <= len(found) <= 5
    sink.write(output(400, pts_s=81, image=image, captured_s=NOON_S + 3600))
    sink.close()
    assert listings == [tmp_path] * 2
    assert not (tmp_path / "x-20261120T130000Z.mp4").exists()


def test_what_cannot_be_deleted_is_said_once_and_recording_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Mp4SinkSettings(
        kind="mp4", path=tmp_path / "lobby.mp4", fragment_s=0.2, segment_s=0.2, keep_gb=1e-9
    )

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    # A fake, since root may delete what others may not.
    monkeypatch.setattr(Path, "unlink", refuse)
    sink = mp4(config)
    with caplog.at_level(logging.WARNING):
        for seq in range(20):
            sink.write(output(seq, captured_s=NOON_S + seq))
        sink.close()
    assert len(names(tmp_path)) == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Operation not permitted" in caplog.text


def test_one_that_cannot_be_deleted_keeps_no_newer_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, *_, newest = (
        segment(tmp_path, f"lobby-20261121T0{hour}0000Z.mp4") for hour in range(1, 5)
    )
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == oldest:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    # A fake, since root may delete what others may not.
    monkeypatch.setattr(Path, "unlink", refuse)
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "lobby.mp4", segment_s=60, keep_gb=2500e-9)
    with caplog.at_level(logging.WARNING):
        SegmentFiles(config).prune(NOON_S, None)
    assert set(tmp_path.iterdir()) == {oldest, newest}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_folder_that_is_listed_again_is_looked_at_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network disk each look takes long. 1. Old segments, and one that somebody still copies.
    2. An hour later others deleted one and added one, and the copy is whole."""
    looked: list[str] = []
    lstat = Path.lstat

    def look(path: Path) -> os.stat_result:
        looked.append(path.name)
        return lstat(path)

    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", segment_s=60, keep_gb=5500e-9)
    old = [segment(tmp_path, f"x-20261121T0{n}0000Z.mp4", ended_s=NOON_S - 8000) for n in range(5)]
    copied = segment(tmp_path, "x-20261121T060000Z.mp4", size=100)
    segments = SegmentFiles(config)
    segments.prune(NOON_S, None)
    monkeypatch.setattr(Path, "lstat", look)
    old[2].unlink()
    segment(tmp_path, copied.name)
    added = segment(tmp_path, "x-20261121T070000Z.mp4")
    segments.prune(NOON_S + 3600, None)
    assert sorted(looked) == [copied.name, added.name]
    assert names(tmp_path) == sorted(path.name for path in (old[1], old[3], old[4], copied, added))


@pytest.mark.parametrize("step_s", [3 * 3600.0, -3 * 3600.0], ids=["forward", "back"])
def test_a_clock_that_is_set_begins_a_segment_of_the_right_name(
    tmp_path: Path, step_s: float
) -> None:
    """It is a machine that was asleep too. 1. Pictures of before the step still come after it.
    2. The first keyframe of the new time begins a file."""
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", fragment_s=0.2, segment_s=86400.0)
    now_s = 1000.0
    sink = Encoded(config, Mp4File(config, monotonic=lambda: now_s))
    for seq in range(60):
        late_s = 2.0 if 20 < seq < 30 else 0.0
        now_s = 1000.0 + seq * 0.04 + late_s
        sink.write(output(seq, captured_s=NOON_S + seq * 0.04 + (step_s if seq >= 30 else 0.0)))
    sink.close()
    hour = 12 + round(step_s / 3600)
    first, second = tmp_path / "x-20261121T120000Z.mp4", tmp_path / f"x-20261121T{hour:02}0001Z.mp4"
    assert names(tmp_path) == sorted([first.name, second.name])
    assert (len(lumas(first)), len(lumas(second))) == (30, 30)


@pytest.mark.parametrize("slate", [False, True])
def test_what_grows_too_old_goes_while_no_segment_begins(tmp_path: Path, slate: bool) -> None:
    """In the midst of a long one, and while the camera is away."""
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", segment_s=DAY_S, keep_days=2)
    old = segment(tmp_path, "x-20261119T115500Z.mp4", ended_s=NOON_S - 2 * DAY_S + 5)
    sink = mp4(config)
    sink.write(output(0, captured_s=NOON_S))
    assert old.exists()
    for seq in range(1, 30):
        sink.write(output(seq, captured_s=NOON_S + 20, slate=slate))
    sink.close()
    assert names(tmp_path) == ["x-20261121T120000Z.mp4"]


def test_a_clock_that_is_set_leaves_a_single_recording_one(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", fragment_s=0.2)
    sink = Encoded(config, Mp4File(config, monotonic=lambda: 1000.0))
    for seq in range(30):
        sink.write(output(seq, captured_s=NOON_S + (DAY_S if seq >= 10 else 0.0)))
    sink.close()
    assert names(tmp_path) == ["x.mp4"]
    assert len(lumas(tmp_path / "x.mp4")) == 30


def test_a_clock_that_is_set_back_does_not_end_the_deleting(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", segment_s=60, keep_gb=1500e-9)
    segments = SegmentFiles(config)
    segments.prune(NOON_S + DAY_S, None)
    for hour in (1, 2):
        segment(tmp_path, f"x-20261121T0{hour}0000Z.mp4")
    segments.prune_now_and_then(NOON_S, None)
    assert names(tmp_path) == ["x-20261121T020000Z.mp4"]


def test_a_slate_is_not_recorded_and_finishes_the_segment(tmp_path: Path) -> None:
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4", segment_s=3600)
    sink = mp4(config)
    for seq in range(10):
        sink.write(output(seq, captured_s=NOON_S))
    assert not sink.write(output(10, slate=True, captured_s=NOON_S + 30))
    assert len(lumas(tmp_path / "x-20261121T120000Z.mp4")) == 10
    for seq in range(11, 15):
        sink.write(output(seq, captured_s=NOON_S + 60))
    sink.close()
    assert len(lumas(tmp_path / "x-20261121T120100Z.mp4")) == 4


def test_a_slate_leaves_a_single_recording_open(tmp_path: Path) -> None:
    sink = mp4(Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4"))
    for seq in range(10):
        assert sink.write(output(seq, slate=seq == 5)) == (seq != 5)
    sink.close()
    assert len(lumas(tmp_path / "x.mp4")) == 9


def test_a_kill_leaves_finished_segments_whole_and_a_second_less_of_the_last(
    tmp_path: Path,
) -> None:
    record_and_kill(tmp_path / "x.mp4", 149, segment_s=2.0)
    found = [lumas(path) for path in sorted(tmp_path.iterdir())]
    # 149 pictures at 25 a second: two segments of 2 s, and 1.96 s of the third.
    assert [len(segment) for segment in found] == [50, 50, 25]
    joined = [luma for segment in found for luma in segment]
    assert joined == pytest.approx([luma_of(seq) for seq in range(125)], abs=2)


@pytest.mark.parametrize(
    ("sinks", "said"),
    [
        ([{"keep_days": 2}], "stream[0].sink[0]: keep_days and keep_gb delete whole segments"),
        ([{"keep_gb": 2}], "stream[0].sink[0]: keep_days and keep_gb delete whole segments"),
        ([{"segment_s": -1}], "stream[0].sink[0].segment_s: found -1, accepted is at least 0"),
        (
            [{"segment_s": 60}, {"segment_mb": 60}],
            "stream[0].sink[0].path and stream[0].sink[1].path are one file, ",
        ),
    ],
)
@pytest.mark.parametrize("other", ["x.mp4", "sub/../x.mp4"])
def test_settings_that_cannot_be_meant(
    tmp_path: Path, sinks: list[dict[str, int]], said: str, other: str
) -> None:
    lines = ['[[stream]]\nname = "lobby"\nurl = "demo://x"']
    for sink, name in zip(sinks, ["x.mp4", other], strict=False):
        lines.append(f'[[stream.sink]]\nkind = "mp4"\npath = "{name}"')
        lines += [f"{key} = {value}" for key, value in sink.items()]
    path = tmp_path / "affectd.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
