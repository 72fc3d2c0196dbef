"""What a second and third recording of the same 1080p pictures cost, encoded once and thrice.

    python -m tests.bench.sinks [--frames 150] [--rounds 5] [--clip YOUR_1080P.mp4]

A file goes through a whole pipeline (no models) into one mp4 sink, into three whose settings
agree, and into three of which none agrees with another. Figures are processor time of the whole
process, decoding included; the ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

import cv2
from pydantic import SecretStr

from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.models import Models
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline, Shared
from detectors.select import Choice
from tests.bench.path import ThreeFaces, make_clip

CRF = {"one": [23], "three that agree": [23, 23, 23], "three that differ": [22, 23, 24]}
# A fake, whose faces cost nothing, since detection is not what is measured.
DRAWN = Choice("yunet", "yunet", None, ThreeFaces)


def ms_a_frame(clip: Path, folder: Path, crfs: list[int]) -> float:
    """Processor time a frame, in milliseconds."""
    sinks = tuple(
        Mp4SinkSettings(kind="mp4", path=folder / f"{number}.mp4", crf=crf)
        for number, crf in enumerate(crfs)
    )
    stream = StreamSettings(name="bench", url=SecretStr(str(clip)), policy="file", sink=sinks)
    board = Board(time.time)
    pipeline = Pipeline(
        stream,
        Settings(stream=(stream,)),
        Shared(Models(DRAWN, None), board=board),
        stop=threading.Event(),
        offline=True,
    )
    began_s = time.process_time()
    pipeline.start()
    pipeline.stream.join()
    pipeline.close()
    spent_s = time.process_time() - began_s
    if pipeline.error is not None:
        raise pipeline.error
    for sink in sinks:
        sink.path.unlink()
    return 1000.0 * spent_s / board.streams()[0].frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clip", type=Path, help="a file of your own instead of a drawn one")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # as the daemon does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = options.clip or folder / "clip.mp4"
        if options.clip is None:
            make_clip(clip, options.frames)
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
