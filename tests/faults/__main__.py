"""Cause every fault and measure when affectd found it and when pictures came again.

python -m tests.faults [--json FILE] [--only TEXT]
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.camera import Camera
from tests.faults.faults import FAULTS, play
from tests.faults.rig import FROZEN_S, STALL_S, Outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", default="", help="those whose name holds this")
    args = parser.parse_args()
    outcomes = []
    with Camera() as steady:
        steady.start()
        for fault in FAULTS:
            if args.only in fault.name:
                with tempfile.TemporaryDirectory() as folder:
                    outcomes.append(play(fault, Path(folder), steady))
                print(outcomes[-1], flush=True)
    print(f"stall_timeout_s {STALL_S:g}, frozen_timeout_s {FROZEN_S:g}")
    Console(width=160).print(table(outcomes))
    if args.json is not None:
        args.json.write_text(json.dumps([o.as_dict() for o in outcomes], indent=1) + "\n")


def table(outcomes: list[Outcome]) -> Table:
    made = Table("fault", "found s", "recovered s", "counted", "other stream, fps")
    for outcome in outcomes:
        went_on = f"goes on ({outcome.quiet_s:.1f})" if outcome.quiet_s is not None else ""
        made.add_row(
            outcome.fault,
            went_on if outcome.found_s is None else f"{outcome.found_s:.1f}",
            "" if outcome.recovered_s is None else f"{outcome.recovered_s:.1f}",
            ", ".join(f"{reason} {times}" for reason, times in outcome.counted.items()),
            f"{outcome.other_fps_before:.1f} {outcome.other_fps_during:.1f}",
        )
    return made


if __name__ == "__main__":
    main()
