from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.affectd import ROOT
from tests.disk import OWN_DISK, needs_own_disk
from tests.media import frames_in

# A disk of its own: 1. it fills while recordings grow, 2. is freed, 3. recording goes on.
_SCRIPT = """
import subprocess, sys, threading
from contextlib import suppress
from pathlib import Path
import numpy as np
from prometheus_client import CollectorRegistry
from daemon.frame import plane
from daemon.monitoring.metrics import Metrics
from daemon.config.sink_settings import EventsSinkSettings, Mp4SinkSettings
from daemon.sinks.events import EventsFile
from daemon.sinks.writer import Writer
from tests.daemon.outputs import mp4, output, picture, reading
from tests.waiting import wait_until

disk, kept = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], check=True)
metrics, stop = Metrics(CollectorRegistry()), threading.Event()
sinks = [
    mp4(Mp4SinkSettings(kind="mp4", path=disk / "x.mp4", fragment_s=0.2)),
    mp4(
        Mp4SinkSettings(kind="mp4", path=disk / "seg.mp4", fragment_s=0.2, segment_s=0.4)
    ),
    EventsFile(EventsSinkSettings(kind="events", path=disk / "x.jsonl")),
]
labels = ["mp4", "mp4-2", "events"]
writers = [
    Writer(sink, "lobby", label, keep_all=True, metrics=metrics, stop=stop, first_delay_s=0.01)
    for sink, label in zip(sinks, labels)
]
for writer in writers:
    writer.start()

def value(name, **labels):
    return metrics.registry.get_sample_value(name, {"stream": "lobby", **labels}) or 0.0

def full(sink):
    return value("affectd_sink_errors_total", sink=sink, reason="disk_full")

noise, seq = np.random.default_rng(0), 0

def give(big=False):
    global seq
    image = picture(seq)
    if big:
        plane(image, 0)[:] = noise.integers(16, 235, (48, 64))
    for writer in writers:
        writer.put(output(seq, image=image, readings=[reading(seq)]))
    seq += 1

ballast = disk / "ballast"
ballast.write_bytes(bytes(200_000))
while not all(map(full, labels)):
    give(big=True)
# Written at this moment is what follows the last moof at most, and files that have none.
before = {}
for path in disk.glob("seg-*.mp4"):
    with suppress(FileNotFoundError):
        content = path.read_bytes()
        if b"moof" in content:
            before[path.name] = content[: content.rindex(b"moof") - 4]
ballast.unlink()
def up_again():
    give()
    threading.Event().wait(0.05)  # readings that wait for their sink are bounded
    return all(value("affectd_sink_up", sink=label) for label in labels)

wait_until(up_again)
for _ in range(20):
    give()
assert all(writer.close(60.0) for writer in writers)
assert len(before) >= 2
for name, content in before.items():
    assert (disk / name).read_bytes().startswith(content), name
for path in disk.iterdir():
    (kept / path.name).write_bytes(path.read_bytes())
print(seq)
"""


@needs_own_disk
def test_a_disk_that_fills_and_is_freed(tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    done = subprocess.run(
        [*OWN_DISK, sys.executable, "-c", _SCRIPT, str(disk), str(kept)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (kept / "x.jsonl").read_text().splitlines()
    seqs = [int(line.partition('"seq": ')[2].partition(",")[0]) for line in lines]
    assert seqs == list(range(int(done.stdout)))
    recordings = sorted(kept.glob("*.mp4"))
    assert len(recordings) >= 5
    for recording in recordings:
        assert frames_in(recording) >= 1
