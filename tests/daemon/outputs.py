"""Outputs as a stream hands them to its sinks, with pictures that can be told apart."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import av

from classifiers.expression import LABELS
from daemon.config.sink_settings import EncodedSinkSettings, HlsSinkSettings, Mp4SinkSettings
from daemon.errors import SinkError
from daemon.frame import Frame, plane
from daemon.reading import FaceView, Quality, Reading
from daemon.sinks.base import Output, Packet, Sink, Takes
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.mp4 import Mp4File
from tests.affectd import ROOT

BT709, BT601, UNSPECIFIED = 1, 6, 2
LIMITED, FULL = 1, 2


def luma_of(index: int) -> int:
    """The luma that picture `index` is filled with."""
    return 20 + 7 * index % 210


def picture(
    index: int = 0,
    *,
    width: int = 64,
    height: int = 48,
    pix_fmt: str = "yuv420p",
    color_range: int = LIMITED,
    colorspace: int = BT709,
    chroma: tuple[int, int] = (100, 160),
) -> av.VideoFrame:
    image = av.VideoFrame(width, height, pix_fmt)
    image.color_range, image.colorspace = color_range, colorspace
    plane(image, 0)[:] = luma_of(index)
    plane(image, 1)[:], plane(image, 2)[:] = chroma
    return image


def reading(seq: int, *, live: bool = True, yaw_deg: float | None = 4.0) -> Reading:
    shares = dict.fromkeys(LABELS, 0.01) | {"happy": 0.94}
    return Reading(
        stream="lobby",
        seq=seq,
        media_time_s=seq * 0.04,
        captured_s=1_770_000_000.25 + seq if live else None,
        track=3,
        tracked_since_s=1_770_000_000.0 if live else None,
        box_px=(10, 20, 30, 40),
        frame_px=(640, 480),
        label="happy",
        probabilities=shares,
        quality=Quality(30, 0.125, yaw_deg, 0.875),
        crops=10,
        weights="vgg10-3f2a91c",
        engine="openvino int8",
        detector="yunet",
        age_ms=41.0 if live else None,
    )


def face(label: str | None, *, track: int = 1, side_px: int = 80, age_s: float = 0.1) -> FaceView:
    return FaceView(track, (0, 0, side_px, side_px), label, {}, age_s)


def output(
    seq: int,
    *,
    pts_s: float | None = None,
    captured_s: float | None = None,
    image: av.VideoFrame | None = None,
    readings: Sequence[Reading] = (),
    slate: bool = False,
    faces: Sequence[FaceView] | None = None,
) -> Output:
    frame = Frame(
        "lobby",
        seq,
        seq * 0.04 if pts_s is None else pts_s,
        time.time() if captured_s is None else captured_s,
        picture(seq) if image is None else image,
    )
    return Output(frame, readings, slate, faces)


class Encoded:
    """Gives pictures to a sink of packets, through an encoder of its own; all work is done when a
    call returns."""

    takes: Takes = "pictures"
    wanted = True

    def __init__(
        self, config: EncodedSinkSettings, sink: Sink[Packet], *, live: bool = True
    ) -> None:
        self.sink = sink
        self.now_s = 0.0
        self._encoder = StreamEncoder(
            config, live=live, repeats=isinstance(config, HlsSinkSettings)
        )

    def write(self, output: Output) -> bool:
        """Whether the last packet, if there was one, was written."""
        self.now_s = output.captured_s
        try:
            return self._hand_on(self._encoder.encode(output))
        except SinkError:
            self._encoder.finish()  # After a fault, a sink goes on with a keyframe.
            raise

    def close(self) -> None:
        self._hand_on(self._encoder.finish())
        self.sink.close()

    def _hand_on(self, packets: Sequence[Packet]) -> bool:
        written = [self.sink.write(packet) for packet in packets]
        return not written or written[-1]


def mp4(config: Mp4SinkSettings, *, live: bool = True) -> Encoded:
    """An mp4 sink whose clock shows the time of capture of the newest picture."""
    sink = Encoded(config, Mp4File(config, monotonic=lambda: sink.now_s), live=live)
    return sink


_RECORDER = """
import sys
from pathlib import Path
from daemon.config.sink_settings import Mp4SinkSettings
from tests.daemon.outputs import mp4, output

sink = mp4(Mp4SinkSettings(kind="mp4", path=Path(sys.argv[1]), segment_s=float(sys.argv[2])))
for seq in range(100_000):
    sink.write(output(seq, captured_s=1_795_262_400.0 + seq * 0.04))
    print(seq, flush=True)
    sys.stdin.readline()
"""


def record_and_kill(path: Path, pictures: int, segment_s: float = 0.0) -> None:
    """Record in a process of its own, which is killed after so many pictures, 25 a second."""
    recorder = subprocess.Popen(
        [sys.executable, "-c", _RECORDER, str(path), str(segment_s)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert recorder.stdin is not None
    assert recorder.stdout is not None
    with recorder:
        for seq in range(pictures):
            assert int(recorder.stdout.readline()) == seq
            recorder.stdin.write("\n")
            recorder.stdin.flush()
        recorder.kill()
