"""Faults of where pictures go to, caused for real in the running program, and measured.

unshare --user --map-root-user --mount .venv/bin/python -m tests.faults.sinks [--json FILE]

`unshare` gives it a small disk of its own to fill. A stream has three sinks, of which one fails at
a time: a push to an RTSP server, a recording on the small disk, and one elsewhere.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

from daemon.errors import Reason
from daemon.sources.video import VideoSource
from tests.affectd import END_S, Daemon
from tests.rtsp import RtspServer

DISK = "4m"
BEFORE_S = 4.0
CONFIG = """
[detector]
backend = "haar"
[expression]
enabled = false
[[stream]]
name = "cam"
url = "demo://cam?faces=1&size=320x240&fps=10&seed=3"
[[stream.sink]]
kind = "rtsp"
url = "{url}"
timeout_s = 60
[[stream.sink]]
kind = "mp4"
path = "{disk}/cam.mp4"
fragment_s = 0.5
segment_s = 5
[[stream.sink]]
kind = "mp4"
path = "elsewhere.mp4"
fragment_s = 0.5
"""


@dataclass
class Measured:
    """What a fault of one sink did. `found_s` runs from the fault to its reason in the sink's
    state, `recovered_s` from its end until the sink is up. `errors` are counted by reason."""

    fault: str
    caused: str
    sink: str
    found_s: float
    recovered_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    fps_before: float = 0.0
    fps_during: float = 0.0


class House:
    """The running program, with the server that it pushes to and the disk that it fills."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.disk, self.folder = folder / "disk", folder
        self.disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(self.disk)]
        subprocess.run(mount, check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(self.disk)], check=True)
        self.server = stack.enter_context(RtspServer("--record"))
        text = CONFIG.format(url=self.server.url("/in"), disk=self.disk)
        self.daemon = stack.enter_context(Daemon(folder, text))
        self.daemon.wait_for(lambda: self.state("rtsp") == self.state("mp4") == "up", "its sinks")

    def state(self, sink: str) -> object:
        return self.sink(sink)["state"]

    def sink(self, name: str) -> dict[str, object]:
        sinks = self.daemon.stream("cam")["sinks"]
        assert isinstance(sinks, list)
        found: dict[str, object] = next(sink for sink in sinks if sink["name"] == name)
        return found

    def frames(self) -> int:
        return int(str(self.daemon.stream("cam")["frames"]))

    def errors(self, sink: str) -> dict[str, int]:
        text = self.daemon.get("/metrics").text
        counted = {}
        for reason in Reason:
            series = f'affectd_sink_errors_total{{reason="{reason}",sink="{sink}",stream="cam"}} '
            if series in text:
                counted[str(reason)] = int(float(text.partition(series)[2].split("\n")[0]))
        return {reason: times for reason, times in counted.items() if times}

    def fill(self) -> None:
        """Leave no room on the small disk."""
        with (self.disk / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        (self.disk / "ballast").unlink()


@dataclass(frozen=True)
class Fault:
    """`cause` begins it, `heal` ends it; `sink` is the one that fails, for one of `reasons`."""

    name: str
    caused: str
    sink: str
    cause: Callable[[House], None]
    heal: Callable[[House], None]
    reasons: tuple[Reason, ...]


FAULTS = (
    Fault(
        "the server that a stream is pushed to is killed",
        "SIGKILL to the RTSP server; started again",
        "rtsp",
        lambda house: house.server.stop(),
        lambda house: house.server.start(),
        (Reason.END_OF_STREAM, Reason.CONNECT_REFUSED),
    ),
    Fault(
        "the disk is full",
        f"a file that takes what is left of a file system of {DISK}; removed",
        "mp4",
        House.fill,
        House.free,
        (Reason.DISK_FULL,),
    ),
)


def play(house: House, fault: Fault) -> Measured:
    """Cause it, end it, and measure; the stream and its other sinks go on meanwhile."""
    errors_before = house.errors(fault.sink)
    frames, began_s = house.frames(), time.monotonic()
    house.daemon.wait_for(lambda: time.monotonic() - began_s > BEFORE_S, "some frames")
    fps_before = (house.frames() - frames) / (time.monotonic() - began_s)
    frames, began_s = house.frames(), time.monotonic()
    fault.cause(house)
    sink: dict[str, object] = {}

    def is_found() -> bool:
        sink.update(house.sink(fault.sink))
        return sink["state"] == "down"

    house.daemon.wait_for(is_found, fault.name)
    found_s = time.monotonic() - began_s
    assert sink["reason"] in fault.reasons, sink
    assert house.state("mp4-2") == "up"
    house.daemon.wait_for(lambda: house.frames() > frames, "frames that go on")
    house.daemon.wait_for(lambda: time.monotonic() - began_s > BEFORE_S, "some frames")
    fps_during = (house.frames() - frames) / (time.monotonic() - began_s)
    healed_s = time.monotonic()
    fault.heal(house)
    house.daemon.wait_for(lambda: house.state(fault.sink) == "up", "recovery")
    recovered_s = time.monotonic() - healed_s
    errors = {
        reason: times - errors_before.get(reason, 0)
        for reason, times in house.errors(fault.sink).items()
    }
    return Measured(
        fault.name,
        fault.caused,
        fault.sink,
        found_s,
        recovered_s,
        {reason: times for reason, times in errors.items() if times},
        fps_before,
        fps_during,
    )


def measure() -> list[Measured]:
    """All of them, one after another; then whatever was recorded is played."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        house = House(Path(folder), stack)
        measured = [play(house, fault) for fault in FAULTS]
        metrics = house.daemon.get("/metrics").text
        assert not re.search(r"affectd_stream_reconnects_total{.*} [1-9]", metrics), metrics
        code, took_s = house.daemon.end()
        assert (code, took_s < END_S) == (0, True), house.daemon.log
        assert "Traceback" not in house.daemon.log
        recordings = [*house.disk.glob("*.mp4"), *house.folder.glob("*.mp4")]
        assert len(recordings) >= 3
        for path in recordings:
            source = VideoSource(path.name, str(path), live=False, stop=Event())
            assert sum(1 for _ in source.frames()) > 0, path
            assert not source.damaged, path
    return measured


def table(measured: list[Measured]) -> str:
    """The figures in Markdown, as docs/reliability.md shows them."""
    heads = ("fault", "caused by", "found after", "recovered after", "failures counted")
    rows = [heads, ("---",) * len(heads)]
    for one in measured:
        counted = ", ".join(f"{times} {reason}" for reason, times in one.errors.items())
        times = f"{one.found_s:.1f} s", f"{one.recovered_s:.1f} s"
        rows.append((one.fault, one.caused, *times, counted))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    measured = measure()
    print(table(measured))
    for one in measured:
        print(f"{one.fault}: {one.fps_before:.1f} fps before, {one.fps_during:.1f} during")
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(one) for one in measured]) + "\n")


if __name__ == "__main__":
    main()
