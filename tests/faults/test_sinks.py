"""Where pictures go to fails for real; that sink comes back, and nothing else notices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.affectd import ROOT
from tests.disk import OWN_DISK, needs_own_disk
from tests.faults.sinks import FAULTS
from tests.rtsp import needs_gstreamer

SLACK_S = 90.0  # what a loaded machine may take


@needs_gstreamer
@needs_own_disk
def test_a_server_that_dies_and_a_disk_that_fills(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [*OWN_DISK, sys.executable, "-m", "tests.faults.sinks", "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(figures.read_text())
    assert [one["fault"] for one in measured] == [fault.name for fault in FAULTS]
    for one, fault in zip(measured, FAULTS, strict=True):
        assert one["found_s"] < SLACK_S
        assert one["recovered_s"] < SLACK_S
        assert sum(one["errors"].get(reason, 0) for reason in fault.reasons) >= 1, one
        assert set(one["errors"]) <= set(map(str, fault.reasons)), one
        assert one["fps_during"] > 0.0
