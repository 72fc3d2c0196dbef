"""How long a capture thread waits before it opens a source again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.sources.base import Source, SourceCallbacks
from tests.clock import Clock
from tests.daemon.captures import Rig, refused, run_script


def _pauses(clock: Clock) -> list[float]:
    """The waits of the clock, summed up to whole pauses (each ends with a part of a second)."""
    pauses, current = [], 0.0
    for wait_s in clock.waits_s:
        current += wait_s
        if wait_s < 1.0:
            pauses.append(current)
            current = 0.0
    return pauses


def test_the_delay_doubles_to_a_minute_with_jitter() -> None:
    rig = run_script([(-1, refused()) for _ in range(9)])
    pauses = _pauses(rig.clock)
    for pause, nominal in zip(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert 0.8 * nominal <= pause <= 1.2 * nominal
    assert (
        len({round(pause / nominal, 3) for pause, nominal in zip(pauses, [1, 2, 4], strict=False)})
        > 1
    )
    assert rig.value("affectd_stream_reconnects_total", reason="connect_refused") == 9
    assert max(rig.clock.waits_s) <= 1.0


def test_a_webcam_is_opened_as_soon_as_it_is_plugged_in_again(tmp_path: Path) -> None:
    """1. Another program holds it for three tries. 2. It is unplugged. 3. It is plugged in, and its
    group `video` comes a moment after it: the delay is not that of all these faults.
    """
    device, clock = tmp_path / "video0", Clock()
    device.touch()
    opened_s: list[float] = []
    rig: Rig

    def opener(
        stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks
    ) -> Source:
        opened_s.append(clock.now_s)
        if len(opened_s) <= 3:
            raise SourceError(Reason.UNSUPPORTED, f"{device}: another program uses it")
        if len(opened_s) == 4:
            device.unlink()
        if not device.exists():
            raise SourceError(Reason.NOT_FOUND, f"{device}: there is no such device")
        if len(opened_s) == 7:
            rig.stop.set()
        raise SourceError(Reason.AUTH_FAILED, f"{device}: Permission denied")

    def wait(seconds: float) -> bool:
        if clock.now_s >= 1100.0:
            device.touch()
        return clock.wait(seconds)

    rig = Rig(f"v4l2://{device}", opener=opener, clock=clock, wait=wait)
    rig.capture.run()
    unplugged_s, missing_s, plugged_s, again_s = opened_s[3:]
    assert missing_s - unplugged_s == pytest.approx(60.0)
    assert 1100.0 <= plugged_s <= 1102.0
    assert again_s - plugged_s <= 1.2
    assert rig.beats > 100
    assert rig.value("affectd_stream_reconnects_total", reason="not_found") == 2


def test_the_delay_falls_back_only_after_five_seconds_of_frames() -> None:
    lost = SourceError(Reason.STALLED, "nothing came")
    down = [(-1, refused())] * 3  # 1, 2, 4 s
    rig = run_script([*down, (100, lost), (200, lost), (-1, refused())])
    pauses = _pauses(rig.clock)
    nominal = [1, 2, 4, 8, 1, 2]  # 4 s of frames change nothing, 8 s do
    assert len(pauses) == len(nominal)
    for pause, expected in zip(pauses, nominal, strict=True):
        assert 0.8 * expected <= pause <= 1.2 * expected
    assert rig.value("affectd_stream_reconnects_total", reason="stalled") == 2
