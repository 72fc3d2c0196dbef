"""Retries, states and counts of the capture thread.

Sources are real files wherever one can show the case.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from pydantic import SecretStr

from daemon.backoff import Backoff
from daemon.capture import Capture
from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.mailbox import FILE_FRAMES
from daemon.sources.base import Source, SourceCallbacks
from daemon.sources.open import open_source
from tests.clock import Clock
from tests.daemon.captures import Rig, refused, run_script, script
from tests.media import write_clip
from tests.waiting import wait_until


def test_a_file_comes_whole_and_ends(tmp_path: Path) -> None:
    rig = Rig(str(write_clip(tmp_path / "clip.mp4", frames=40)))
    rig.capture.start()
    frames = rig.read()
    rig.capture.join(60.0)
    assert not rig.capture.running
    assert [frame.seq for frame in frames] == list(range(40))
    assert rig.status.state == "ended"
    assert rig.status.reason is None
    assert rig.status.last_frame_s is not None
    assert rig.capture.error is None
    assert rig.value("affectd_frames_total") == 40
    assert rig.value("affectd_stream_up") == 0
    assert rig.value("affectd_stage_seconds_count", stage="decode") == 40
    assert rig.value("affectd_stream_last_frame_timestamp_seconds") == frames[-1].captured_s
    assert rig.beats >= 40
    assert rig.ends == 1


def test_a_capture_that_dies_lets_its_reader_go_and_is_not_taken_for_one_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its silence is what the watchdog goes by."""
    rig = Rig("rtsp://cam/x")
    monkeypatch.setattr(rig.capture, "_run", lambda: [].pop())
    with pytest.raises(IndexError):
        rig.capture.run()
    assert rig.mailbox.ended
    assert rig.ends == 0


def test_a_capture_whose_reader_is_slow_is_seen_to_turn(tmp_path: Path) -> None:
    """Nobody reads the file's pictures, and the box is full."""
    rig = Rig(str(write_clip(tmp_path / "clip.mp4", frames=2 * FILE_FRAMES)))
    rig.capture.start()
    wait_until(lambda: rig.value("affectd_frames_total") == FILE_FRAMES + 1)
    beats = rig.beats
    wait_until(lambda: rig.beats > beats + 1)
    rig.mailbox.close()
    rig.capture.join(60.0)
    assert not rig.capture.running


def test_before_the_first_frame_there_is_no_time_of_the_last() -> None:
    """A source that opens and delivers nothing: 0 would be one of 1970."""
    error = SourceError(Reason.DECODE_ERROR, "rtsp://cam: 50 packets were damaged")
    rig = run_script([(0, error)])
    assert rig.value("affectd_stream_last_frame_timestamp_seconds") is None


def test_a_cut_file_ends_with_its_reason(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", frames=60)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    rig = Rig(str(clip))
    rig.capture.start()
    assert len(rig.read()) > 10
    rig.capture.join(60.0)
    assert (rig.status.state, rig.status.reason) == ("ended", Reason.DECODE_ERROR)
    assert rig.status.last_error is not None
    assert "is cut" in rig.status.last_error
    assert rig.capture.cut == rig.status.last_error


def test_offline_a_missing_file_is_an_error_that_is_kept(tmp_path: Path) -> None:
    rig = Rig(str(tmp_path / "nope.mp4"), offline=True)
    rig.capture.run()
    assert rig.mailbox.ended
    assert isinstance(rig.capture.error, SourceError)
    assert rig.capture.error.reason is Reason.NOT_FOUND
    assert (rig.status.state, rig.status.reason) == ("down", Reason.NOT_FOUND)
    assert rig.clock.waits_s == []


def test_a_missing_file_is_tried_again_until_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    clock = Clock()
    tries: list[int] = []

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        tries.append(1)
        if len(tries) == 3:
            write_clip(path, frames=5)
        return open_source(stream, stop=stop, callbacks=callbacks)

    rig = Rig(str(path), opener=opener, clock=clock)
    rig.capture.start()
    assert len(rig.read()) == 5
    rig.capture.join(60.0)
    assert rig.status.state == "ended"
    assert rig.value("affectd_stream_reconnects_total", reason="not_found") == 2


def test_a_file_that_breaks_off_is_not_read_twice() -> None:
    clock = Clock()
    broken = SourceError(Reason.DECODE_ERROR, "clip.mp4: 50 damaged packets in a row")
    rig: Rig
    opener, _ = script(clock, [(7, broken)], lambda: pytest.fail("opened again"))
    rig = Rig("clip.mp4", opener=opener, clock=clock)
    rig.capture.start()
    assert len(rig.read()) == 7
    rig.capture.join(60.0)
    assert (rig.status.state, rig.status.reason) == ("ended", Reason.DECODE_ERROR)
    assert rig.capture.error is broken


def test_a_looping_file_that_breaks_off_is_tried_again() -> None:
    """Its disk is away just as it begins anew."""
    clock = Clock()
    away = SourceError(Reason.NOT_FOUND, "/mnt/nas/clip.mp4: there is no such file")
    rig: Rig
    opener, _ = script(clock, [(7, away), (-1, away), (7, None)], lambda: pytest.fail("again"))
    rig = Rig("/mnt/nas/clip.mp4", loop=True, opener=opener, clock=clock)
    rig.capture.start()
    assert [frame.seq for frame in rig.read()] == list(range(14))
    rig.capture.join(60.0)
    assert rig.value("affectd_stream_reconnects_total", reason="not_found") == 2


def test_media_time_and_numbers_go_on_over_a_reconnect() -> None:
    clock = Clock()
    seen: list[Frame] = []
    rig: Rig
    lost = SourceError(Reason.END_OF_STREAM, "gone")
    opener, _ = script(clock, [(10, lost), (10, None), (10, lost)], lambda: rig.stop.set())
    rig = Rig("rtsp://cam/x", opener=opener, clock=clock)
    real_put = rig.mailbox.put

    def put(item: Frame, stop: threading.Event, beat: Callable[[], None] = lambda: None) -> bool:
        seen.append(item)
        return real_put(item, stop, beat)

    rig.mailbox.put = put  # type: ignore[method-assign]
    rig.capture.run()
    assert [frame.seq for frame in seen] == list(range(30))
    elapsed_s = [frame.captured_s - seen[0].captured_s for frame in seen]
    assert [frame.pts_s for frame in seen] == pytest.approx(elapsed_s)
    assert rig.value("affectd_stream_reconnects_total", reason="end_of_stream") == 3
    assert rig.value("affectd_frames_dropped_total", stage="capture", reason="superseded") == 29


def test_what_is_behind_and_left_out_is_counted_and_nothing_is_behind_while_it_is_down() -> None:
    clock = Clock()
    shown: list[float | None] = []
    rig: Rig

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        callbacks.on_damaged()
        callbacks.on_superseded(40)
        callbacks.on_behind(3.0)
        shown.append(rig.value("affectd_stream_behind_seconds"))
        raise refused()

    def wait(seconds: float) -> bool:
        shown.append(rig.value("affectd_stream_behind_seconds"))
        rig.stop.set()
        return True

    rig = Rig("rtsp://cam/x", opener=opener, clock=clock, wait=wait)
    rig.capture.run()
    assert shown == [3.0, 0.0]
    dropped = [
        rig.value("affectd_frames_dropped_total", stage="decode", reason=reason)
        for reason in ("damaged", "superseded")
    ]
    assert dropped == [1, 40]


def test_an_unexpected_fault_is_logged_once_with_its_trace_then_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    rig = run_script([(3, ZeroDivisionError("at rtsp://u:pw@cam/x")) for _ in range(4)])
    traces = [record for record in caplog.records if record.exc_info]
    assert len(traces) == 1
    assert "stream s: down (internal): ZeroDivisionError: at rtsp://u:***@cam/x" in caplog.text
    assert rig.value("affectd_stream_reconnects_total", reason="internal") == 4
    assert rig.status.last_error == "ZeroDivisionError: at rtsp://u:***@cam/x"


def test_the_same_refusal_is_said_once_for_each_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run_script([(-1, refused())] * 5)
    assert caplog.text.count("the connection was refused") == 1
    caplog.clear()
    run_script([(-1, refused()), (3, refused()), (-1, refused())])
    assert caplog.text.count("the connection was refused") == 2


def test_a_source_that_stays_away_is_down_also_while_it_is_tried_again() -> None:
    """Else the time since when it is down would begin anew with each try."""
    states: list[str] = []
    rig: Rig

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        states.append(rig.status.state)
        if len(states) == 3:
            rig.stop.set()
        raise refused()

    rig = Rig("rtsp://cam/x", opener=opener)
    rig.capture.run()
    assert states == ["connecting", "down", "down"]


@pytest.mark.parametrize("pausing", [False, True])
def test_of_a_stream_that_was_stopped_nothing_is_counted_any_more(pausing: bool) -> None:
    """Its series are gone, or those of another one of its name."""
    rig: Rig

    def leave() -> None:
        rig.stop.set()
        rig.metrics.remove_stream("s")

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        if not pausing:
            leave()
        raise refused()

    def wait(seconds: float) -> bool:
        leave()
        return True

    rig = Rig("rtsp://cam/x", opener=opener, wait=wait)
    rig.capture.run()
    assert "stream=" not in generate_latest(rig.metrics.registry).decode()


def test_a_camera_whose_picture_stands_still_is_opened_anew() -> None:
    """1. The same picture for 5 s, of which it is given 4: frozen. 2. Twice as long the next time,
    counted from when it was opened."""
    lost = SourceError(Reason.END_OF_STREAM, "gone")
    rig = run_script([(125, None), (125, lost), (125, lost)], frozen_timeout_s=4.0)
    frozen = rig.value("affectd_stream_reconnects_total", reason="frozen")
    assert (frozen, rig.status.state) == (1, "down")
    rig = run_script([(125, None)], frozen_timeout_s=4.0)
    assert (rig.status.state, rig.status.reason) == ("stalled", Reason.FROZEN)
    assert rig.status.last_error == "the same picture for 4 s"


def test_a_file_may_show_one_picture_for_as_long_as_it_likes() -> None:
    clock = Clock()
    opener, _ = script(clock, [(250, None)], lambda: pytest.fail("opened again"))
    rig = Rig("slides.mp4", frozen_timeout_s=4.0, opener=opener, clock=clock)
    rig.capture.start()
    assert len(rig.read()) == 250
    rig.capture.join(60.0)
    assert rig.status.state == "ended"


def test_stop_ends_a_capture_that_waits_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.capture.Backoff", lambda: Backoff(600.0))
    rig = Rig(str(tmp_path / "nope.mp4"))
    capture = Capture(
        rig.stream, rig.mailbox, rig.metrics, rig.row, stop=rig.stop, rng=random.Random(1)
    )
    capture.start()
    while rig.status.state != "down":
        rig.stop.wait(0.01)
    rig.stop.set()
    capture.join(60.0)
    assert not capture.running
    assert rig.mailbox.ended


def test_a_reader_that_gave_up_ends_the_capture(tmp_path: Path) -> None:
    rig = Rig(str(write_clip(tmp_path / "clip.mp4", frames=40)))
    rig.capture.start()
    assert rig.mailbox.get(60.0) is not None
    rig.mailbox.close()
    rig.capture.join(60.0)
    assert not rig.capture.running


@pytest.mark.parametrize(
    ("url", "policy", "live"),
    [
        ("clip.mp4", "auto", False),
        ("file:///srv/clip.mkv", "auto", False),
        ("http://nvr:1984/api/stream.mp4?src=door", "auto", True),
        ("https://nas/clip.mp4", "file", False),
        ("http://cam/video.mjpg", "auto", True),
        ("rtsp://cam/x.mp4", "auto", True),
        ("rtsps://cam/x", "auto", True),
        ("rtmp://cam/live/x", "auto", True),
        ("v4l2:///dev/video0", "auto", True),
        ("/dev/video0", "auto", True),
        ("demo://", "auto", True),
        ("demo://", "file", False),
        ("clip.mp4", "live", True),
    ],
)
def test_the_policy_of_each_kind_of_source(url: str, policy: str, live: bool) -> None:
    stream = StreamSettings.model_validate({"name": "s", "url": SecretStr(url), "policy": policy})
    assert stream.is_live is live
