from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from daemon.config.sink_settings import Mp4SinkSettings
from daemon.errors import Reason, SinkError
from daemon.frame import plane
from daemon.sinks.disk import PieceFile
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.mp4 import Mp4File
from tests.affectd import ROOT
from tests.daemon.outputs import (
    FULL,
    LIMITED,
    Encoded,
    luma_of,
    mp4,
    output,
    picture,
    record_and_kill,
)


def make(path: Path, *, live: bool = True, fragment_s: float = 1.0) -> Encoded:
    return mp4(Mp4SinkSettings(kind="mp4", path=path, crf=10, fragment_s=fragment_s), live=live)


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times(frames: list[av.VideoFrame]) -> list[float]:
    return [float(frame.pts * frame.time_base) for frame in frames]


@pytest.mark.parametrize("live", [True, False])
def test_every_frame_at_its_time(tmp_path: Path, live: bool) -> None:
    pts_s = [7.0 + n / 30 + (0.7 if n > 20 else 0.0) + (0.011 if n % 3 else 0.0) for n in range(60)]
    sink = make(tmp_path / "a" / "b" / "lobby.mp4", live=live)
    for seq, moment_s in enumerate(pts_s):
        assert sink.write(output(seq, pts_s=moment_s))
    sink.close()
    sink.close()
    frames = decode(tmp_path / "a" / "b" / "lobby.mp4")
    assert [(frame.width, frame.height) for frame in frames] == [(64, 48)] * 60
    assert times(frames) == pytest.approx([moment_s - 7.0 for moment_s in pts_s], abs=1e-4)
    lumas = [int(np.median(plane(frame, 0))) for frame in frames]
    assert lumas == pytest.approx([luma_of(seq) for seq in range(60)], abs=2)


@pytest.mark.parametrize(
    ("pix_fmt", "color_range"), [("yuv420p", LIMITED), ("yuvj420p", FULL), ("yuv420p", FULL)]
)
def test_colours_and_their_range_stay(tmp_path: Path, pix_fmt: str, color_range: int) -> None:
    image = picture(30, pix_fmt=pix_fmt, color_range=color_range, chroma=(90, 200))
    sink = make(tmp_path / "x.mp4")
    for seq in range(5):
        sink.write(output(seq, image=image))
    sink.close()
    frame = decode(tmp_path / "x.mp4")[3]
    assert (frame.color_range, frame.colorspace) == (color_range, image.colorspace)
    for index in range(3):
        assert np.abs(plane(frame, index).astype(int) - plane(image, index)).max() <= 2
    seen = frame.to_ndarray(format="rgb24")[20, 20].astype(int)
    meant = image.to_ndarray(format="rgb24")[20, 20]
    assert np.abs(seen - meant).max() <= 3


def test_the_shared_picture_is_left_as_it_was(tmp_path: Path) -> None:
    image = picture(3)
    image.pts, image.pict_type = 12345, 3  # As a decoder leaves a B picture.
    pixels = bytes(image.planes[0])
    sink = make(tmp_path / "x.mp4")
    for seq in range(40):
        sink.write(output(seq, image=image))
    sink.close()
    assert (image.pts, image.time_base, image.pict_type) == (12345, None, 3)
    assert bytes(image.planes[0]) == pixels
    keys = [seq for seq, frame in enumerate(decode(tmp_path / "x.mp4")) if frame.key_frame]
    assert keys == [0, 25]


def test_a_fragment_ends_when_the_next_one_begins(tmp_path: Path) -> None:
    sink = make(tmp_path / "x.mp4", fragment_s=0.2)
    fragments = []
    for seq in range(16):
        sink.write(output(seq))
        fragments.append((tmp_path / "x.mp4").read_bytes().count(b"moof"))
    sink.close()
    assert fragments == [0] * 5 + [1] * 5 + [2] * 5 + [3]
    assert (tmp_path / "x.mp4").read_bytes().count(b"moof") == 4


def test_a_new_size_opens_a_new_file_and_none_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "lobby.mp4"
    path.write_bytes(b"somebody's")
    sink = make(path)
    for seq in range(20):
        sink.write(output(seq, image=picture(seq, width=64 if seq < 12 else 96)))
    sink.close()
    assert path.read_bytes() == b"somebody's"
    sizes = {n: [f.width for f in decode(tmp_path / f"lobby-{n}.mp4")] for n in (2, 3)}
    assert sizes == {2: [64] * 12, 3: [96] * 8}
    assert times(decode(tmp_path / "lobby-3.mp4"))[0] == 0.0


TICK_S = 1 / 90000


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        # All that it had held back, at once: that closes up with media time.
        (
            [(0.2, 104.2), (2.2, 104.201), (4.0, 104.202), (4.2, 104.3)],
            [4.1 + TICK_S, 4.101, 4.102, 4.2],
        ),
        # What it made from then on, in a time that had stood still: that keeps its distances.
        (
            [(0.2, 104.2), (0.3, 104.3), (1.3, 105.3), (8.3, 108.3)],
            [4.1 + TICK_S, 4.2, 5.2, 8.3],
        ),
    ],
    ids=["a burst", "no burst"],
)
def test_what_comes_after_slates_is_ahead_of_its_time_no_longer_than_it_must(
    tmp_path: Path, late: list[tuple[float, float]], expected: list[float]
) -> None:
    """A camera was silent for 4 s, in which slates stood in."""
    sink = make(tmp_path / "x.mp4")
    before = [(0.0, 100.0), (0.1, 100.1), (0.1, 100.2), (3.1, 103.1), (4.1, 104.1)]
    for seq, (pts_s, captured_s) in enumerate([*before, *late]):
        sink.write(output(seq, pts_s=pts_s, captured_s=captured_s, slate=seq in (3, 4)))
    sink.close()
    expected = [0.0, 0.1, 0.1 + TICK_S, *expected]  # A slate is not recorded.
    assert times(decode(tmp_path / "x.mp4")) == pytest.approx(expected, abs=2e-5)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        SinkError, match=r"/file/x\.mp4 cannot be written \(.*/file is not a"
    ) as hit:
        make(tmp_path / "file" / "x.mp4").write(output(0))
    assert hit.value.reason is Reason.NOT_WRITABLE
    with pytest.raises(SinkError) as hit:
        make(Path("/proc/affectd/x.mp4")).write(output(0))
    assert hit.value.reason is Reason.NOT_WRITABLE


def test_nothing_is_recorded_beside_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").mkdir()
    with pytest.raises(SinkError, match=r"/x\.mp4 cannot be written \(Is a directory\)"):
        make(tmp_path / "x.mp4").write(output(0))
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_a_picture_that_libav_does_not_take_ends_its_file(tmp_path: Path) -> None:
    """Time goes back, which no sink is given: the whole fragment before it stays."""
    config = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4")
    encoder, sink = StreamEncoder(config, live=True), Mp4File(config)
    packets = [
        packet for seq in range(12) for packet in encoder.encode(output(seq, pts_s=seq / 10))
    ]
    for packet in packets:
        sink.write(packet)
    with pytest.raises(
        SinkError, match=r"x\.mp4: it cannot be encoded \(Invalid argument\)"
    ) as hit:
        sink.write(packets[1])
    assert hit.value.reason is Reason.ENCODE_ERROR
    sink.close()
    assert len(decode(tmp_path / "x.mp4")) == 10


_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from daemon.errors import SinkError
from daemon.frame import plane
from daemon.config.sink_settings import Mp4SinkSettings
from tests.daemon.outputs import mp4, output, picture

resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
sink = mp4(Mp4SinkSettings(kind="mp4", path=Path(sys.argv[1]), fragment_s=0.2))
noise = np.random.default_rng(0)
image = picture()
try:
    for seq in range(200):
        plane(image, 0)[:] = noise.integers(16, 235, (48, 64))
        sink.write(output(seq, image=image))
except SinkError as error:
    print(error.reason, seq)
sink.close()
"""


def test_no_room_left_keeps_the_fragments_before(tmp_path: Path) -> None:
    """The limit on a file's size is the full disk that needs no root."""
    path = tmp_path / "x.mp4"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    reason, seq = done.stdout.split()
    assert reason == Reason.DISK_FULL
    assert 5 < int(seq) < 199
    assert len(decode(path)) == int(seq) // 5 * 5 - 5
    assert path.stat().st_size < 40_000


def test_a_kill_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    record_and_kill(path, 124)
    frames = decode(path)
    # 124 frames at 25 a second were written, 4.92 s: the worst moment for a kill.
    assert times(frames)[-1] >= 4.92 - 1.0
    assert len(frames) == 100
    assert [int(np.median(plane(frame, 0))) for frame in frames] == pytest.approx(
        [luma_of(seq) for seq in range(100)], abs=2
    )


def test_after_a_pause_that_the_container_cannot_hold_a_new_file_begins(tmp_path: Path) -> None:
    """A camera was off for six hours, which is still one film, and later for seven."""
    sink = make(tmp_path / "lobby.mp4")
    begins = (0.0, 5.9 * 3600.0, 13.0 * 3600.0)
    for begin, number in zip(begins, range(0, 150, 50), strict=True):
        for seq in range(number, number + 50):
            sink.write(output(seq, pts_s=begin + (seq - number) / 25))
    sink.close()
    first, second = decode(tmp_path / "lobby.mp4"), decode(tmp_path / "lobby-2.mp4")
    assert times(first) == pytest.approx(
        [begin + n / 25 for begin in begins[:2] for n in range(50)], abs=1e-4
    )
    assert times(second) == pytest.approx([n / 25 for n in range(50)], abs=1e-4)


def test_a_disk_with_room_for_no_picture_is_not_strewn_with_empty_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = PieceFile.append

    def head_alone(file: PieceFile, piece: bytes) -> None:
        if piece and file.size:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(file, piece)

    # A fake, since no disk here ends between the head and the first picture.
    monkeypatch.setattr(PieceFile, "append", head_alone)
    sink = make(tmp_path / "x.mp4", fragment_s=0.2)

    def write(begin: int) -> None:
        for seq in range(begin, begin + 50):
            sink.write(output(seq))

    for begin in (0, 50):
        with pytest.raises(SinkError) as caught:
            write(begin)
        assert caught.value.reason is Reason.DISK_FULL
        assert list(tmp_path.iterdir()) == []
