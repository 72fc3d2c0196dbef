"""What ended sources and sinks held is given back, in a process of its own: the collector that is
switched off here, to show who does it, is everybody's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.affectd import ROOT
from tests.media import write_clip

PROGRAM = """
import gc, sys, threading, time
from pathlib import Path
from daemon.config.sink_settings import EncodedSink
from daemon.sinks.encode.encoder import Encoder
from daemon.sources.video import VideoSource
from daemon.service.sweeper import Sweeper

gc.disable()
stop = threading.Event()

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

def use_and_end():
    source = VideoSource("lobby", sys.argv[1], live=False, stop=stop)
    frames = source.frames()
    image = next(frames).image
    frames.close()
    source.close()
    encoder = Encoder(image, EncodedSink(), live=True)
    encoder.encode(image, 0, key=True)
    encoder.finish()

use_and_end()
gc.collect()
before = threads()
sweeper = Sweeper(stop, every_s=0.1)
for _ in range(5):
    use_and_end()
held = threads()
sweeper.start()
for _ in range(5):
    use_and_end()

def settled(aim):
    end_s = time.monotonic() + 60
    while (now := threads()) > aim and time.monotonic() < end_s:
        time.sleep(0.05)
    return now

print(before, held, settled(before + 1))
stop.set()
sweeper.join(60)
# A joined thread stands in /proc a moment longer.
print(settled(before))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="libav starts no threads on one core")
def test_threads_of_ended_decoders_and_encoders_go(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(clip)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, held, after, last = map(int, done.stdout.split())
    assert held > before + 10, "they go by themselves: no sweeper is needed"
    assert after <= before + 1  # the sweeper's own
    assert last == before
