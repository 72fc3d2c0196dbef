"""What a second and third recording of the same 1080p pictures cost, encoded once and thrice.

    python -m tests.bench.sinks [--frames 150] [--rounds 5] [--clip YOUR_1080P.mp4]

A file goes through a whole pipeline (no models) into one mp4 sink, into three whose settings
agree, and into three of which none agrees with another. Figures are processor time of the whole
process, decoding included; the ratios are taken round by round.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import cv2

from daemon.commands.bench.clip import make_clip
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.models import Models
from daemon.pipeline import Shared
from tests.bench.parts.arguments import parser_of
from tests.bench.parts.sites import THREE_FACES, take_through

CRF = {"one": [23], "three that agree": [23, 23, 23], "three that differ": [22, 23, 24]}


def ms_a_frame(clip: Path, folder: Path, crfs: list[int]) -> float:
    """Processor time a frame, in milliseconds."""
    sinks = [
        Mp4SinkSettings(kind="mp4", path=folder / f"{number}.mp4", crf=crf)
        for number, crf in enumerate(crfs)
    ]
    began_s = time.process_time()
    frames = take_through(clip, sinks, Shared(Models(THREE_FACES, None)))
    spent_s = time.process_time() - began_s
    for sink in sinks:
        sink.path.unlink()
    return 1000.0 * spent_s / frames


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clip", type=Path, help="a file of your own instead of a drawn one")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = options.clip or folder / "clip.mp4"
        if options.clip is None:
            make_clip(clip, 1920, 1080, fps=25, faces=3, frames=options.frames)
        ms_a_frame(clip, folder, CRF["one"])  # warms codecs and caches
        rounds = [
            {case: ms_a_frame(clip, folder, crfs) for case, crfs in CRF.items()}
            for _ in range(options.rounds)
        ]
    for case in CRF:
        cost_ms = statistics.median(one[case] for one in rounds)
        ratio = statistics.median(one[case] / one["one"] for one in rounds)
        print(f"{case:18} {cost_ms:6.1f} ms a frame {ratio:6.2f}")


if __name__ == "__main__":
    main()
