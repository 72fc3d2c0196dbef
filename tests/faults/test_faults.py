"""Each fault is caused for real; it is found in time, counted, and no other stream feels it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.camera import Camera
from tests.faults.faults import FAULTS
from tests.faults.play import BY_TIME, Fault, play
from tests.rtsp import needs_gstreamer

pytestmark = [
    needs_gstreamer,
    pytest.mark.usefixtures("patient"),
    pytest.mark.timeout(900),  # more than all that is waited for
]

SLACK_S = 30.0  # what a loaded machine may take longer
RATE_S = 1.0  # for which the other stream's rate is measured


@pytest.fixture(scope="module")
def steady() -> Iterator[Camera]:
    with Camera() as camera:
        camera.start()
        yield camera


@pytest.mark.parametrize("fault", FAULTS, ids=[re.sub(r"\W+", "-", f.name) for f in FAULTS])
def test_a_fault(fault: Fault, steady: Camera, tmp_path: Path) -> None:
    outcome = play(fault, tmp_path, steady, RATE_S)
    if fault.reasons:
        assert outcome.found_s is not None
        assert outcome.found_s < fault.within_s + SLACK_S
        if set(fault.reasons) <= BY_TIME:
            assert str(outcome.last_error).endswith(f" {fault.stall_s:g} s"), outcome
        assert sum(outcome.counted.get(reason, 0) for reason in fault.reasons) >= 1, outcome
    else:
        # Less than the time-out of a stall would be: nothing passed for one.
        assert outcome.quiet_s is not None
        assert outcome.quiet_s < SLACK_S
