"""Run affectd on many failing cameras for an hour, and judge what came of it.

python -m tests.soak [--minutes 60] [--seed 1] [--streams 8] [--out FOLDER]

Writes soak.json and soak.png to FOLDER. Ends with 1 if a rule does not hold.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.soak.harm import KINDS
from tests.soak.judge import AGE_BOUND_S, judge
from tests.soak.plot import plot
from tests.soak.soak import Course, Plan, soak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--fps", type=int, default=4)
    parser.add_argument("--gap", type=float, default=45.0, help="mean seconds between faults")
    parser.add_argument("--age-bound", type=float, default=AGE_BOUND_S, help="of a reading, in s")
    parser.add_argument("--out", type=Path, default=Path("affectd-soak"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    plan = Plan(60.0 * args.minutes, args.seed, args.streams, args.fps, args.gap)
    with tempfile.TemporaryDirectory() as folder:
        course = soak(plan, Path(folder))
    verdicts = judge(course, args.age_bound)
    report = course.as_dict() | {"verdicts": [asdict(verdict) for verdict in verdicts]}
    (args.out / "soak.json").write_text(json.dumps(report, indent=1) + "\n")
    plot(course, args.out / "soak.png")
    print(faults(course))
    for verdict in verdicts:
        print(f"{'holds ' if verdict.holds else 'BROKEN'} {verdict.rule}: {verdict.seen}")
    sys.exit(not all(verdict.holds for verdict in verdicts))


def faults(course: Course) -> str:
    """A line for each kind of fault: how often, and how soon it was found and over."""
    lines = [f"{'fault':12} {'times':>5} {'found after':>14} {'recovered after':>16}"]
    for kind in KINDS:
        ones = [one for one in course.injections if one.kind is kind]
        if ones:
            found = _span([o.found_after_s for o in ones if o.found_after_s is not None])
            over = _span([o.recovered_after_s for o in ones if o.recovered_after_s is not None])
            lines.append(f"{kind.name:12} {len(ones):5} {found:>14} {over:>16}")
    return "\n".join(lines)


def _span(values_s: list[float]) -> str:
    return f"{min(values_s):.1f} to {max(values_s):.1f} s" if values_s else "goes on"


if __name__ == "__main__":
    main()
