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
import av
from daemon.config.sink_settings import EncodedSinkSettings
from daemon.sinks.encode.encoder import Encoder
from daemon.sources.video import VideoSource
from daemon.service.gc_thread import GcThread

gc.disable()
stop = threading.Event()

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

def muxers():
    return sum(type(one) is av.container.OutputContainer for one in gc.get_objects())

def use_and_end():
    source = VideoSource("lobby", sys.argv[1], live=False, stop=stop)
    frames = source.frames()
    image = next(frames).image
    frames.close()
    source.close()
    encoder = Encoder(image, EncodedSinkSettings(), live=True)
    encoder.encode(image, 0, keyframe=True)
    encoder.finish()

use_and_end()
gc.collect()
before = threads()
collector = GcThread(stop, every_s=0.1)
collector.start()
own_thread = threads() - before
for _ in range(5):
    use_and_end()
end_s = time.monotonic() + 60

def left():
    return threads() - before - own_thread, muxers()

while any(left()) and time.monotonic() < end_s:
    time.sleep(0.05)
print(*left())
stop.set()
collector.join(60)
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="libav starts no threads on one core")
def test_ended_decoders_and_encoders_leave_neither_threads_nor_memory(tmp_path: Path) -> None:
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
    assert done.stdout.split() == ["0", "0"]
