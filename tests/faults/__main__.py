"""Cause every fault and measure when affectd found it and when pictures came again.

python -m tests.faults [--json FILE] [--only TEXT]
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.faults.camera import Camera
from tests.faults.faults import FAULTS
from tests.faults.play import play
from tests.faults.rig import FROZEN_S, STALL_S, Outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", default="", help="those whose name holds this")
    args = parser.parse_args()
    outcomes, broken = [], []
    with Camera() as steady:
        steady.start()
        for fault in FAULTS:
            if args.only in fault.name:
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        outcomes.append(play(fault, Path(folder), steady))
                    except AssertionError as error:
                        broken.append(f"{fault.name}: {error}")
                        continue
                print(outcomes[-1], file=sys.stderr, flush=True)
    print(f"stall_timeout_s = {STALL_S:g}, frozen_timeout_s = {FROZEN_S:g}\n\n{table(outcomes)}")
    if args.json is not None:
        args.json.write_text(json.dumps([o.as_dict() for o in outcomes], indent=1) + "\n")
    sys.exit("\n".join(broken) or 0)


def table(outcomes: list[Outcome]) -> str:
    """The figures in Markdown, as docs/reliability.md shows them."""
    caused = {fault.name: fault.caused for fault in FAULTS}
    heads = ("fault", "caused by", "found after", "recovered after", "reconnects counted")
    rows = [heads, ("---",) * len(heads)]
    for outcome in outcomes:
        counted = ", ".join(f"{times} {reason}" for reason, times in outcome.counted.items())
        quiet = f"goes on; no picture for {outcome.quiet_s or 0.0:.1f} s at most"
        damaged = f"; {outcome.damaged} packets dropped" if outcome.damaged else ""
        rows.append(
            (
                outcome.fault,
                caused[outcome.fault],
                quiet if outcome.found_s is None else f"{outcome.found_s:.1f} s",
                "" if outcome.recovered_s is None else f"{outcome.recovered_s:.1f} s",
                (counted or "none") + damaged,
            )
        )
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
