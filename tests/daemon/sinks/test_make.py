"""From the configuration to sinks, their labels and time-outs."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from daemon.config.sink_settings import (
    EventsSinkSettings,
    MjpegSinkSettings,
    Mp4SinkSettings,
    RtspSinkSettings,
)
from daemon.sinks.events import EventsFile
from daemon.sinks.make import hung_s, make_sink, sink_labels
from daemon.sinks.mjpeg import MjpegPictures
from daemon.sinks.mp4 import Mp4File
from daemon.sinks.shown import Shown
from daemon.sinks.writer import HUNG_S


def test_a_pushs_own_time_out_comes_before_the_writers(tmp_path: Path) -> None:
    url = SecretStr("rtsp://h/x")
    patient = RtspSinkSettings(kind="rtsp", url=url, timeout_s=60.0)
    assert hung_s(patient, live=True) == 65.0
    assert hung_s(patient, live=False) == HUNG_S
    assert hung_s(RtspSinkSettings(kind="rtsp", url=url), live=True) == HUNG_S
    assert hung_s(Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4"), live=True) == HUNG_S


def test_sinks_of_one_kind_are_numbered(tmp_path: Path) -> None:
    mp4 = Mp4SinkSettings(kind="mp4", path=tmp_path / "x.mp4")
    events = EventsSinkSettings(kind="events", path=tmp_path / "x.jsonl")
    mjpeg = MjpegSinkSettings(kind="mjpeg")
    assert sink_labels([mp4, events, mp4, mjpeg, mp4]) == [
        "mp4",
        "events",
        "mp4-2",
        "mjpeg",
        "mp4-3",
    ]
    sinks = [make_sink(c, "lobby", Shown()) for c in (mp4, events, mjpeg)]
    assert [type(sink) for sink in sinks] == [Mp4File, EventsFile, MjpegPictures]
