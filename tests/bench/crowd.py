"""What gives way when a crowd comes before one camera, and how readings of a single face fare.

    python -m tests.bench.crowd [--view-ms 2.5] [--max-age 1]

One camera shows a single face all the time, another a crowd for a minute; batcher, queue and ladder
are the daemon's, the net takes as long as is said, and the clock is simulated: every run is alike.
"""

from __future__ import annotations

import numpy as np

from tests.bench.parts.arguments import parser_of
from tests.daemon.classify.simulated import Camera, House

CROWDS = (1, 20, 60, 200)
BEFORE_S, CROWDED_S, AFTER_S = 10.0, 60.0, 60.0
SETTLED_S = 20.0  # of the crowded minute; before, the ladder may still go down


def line(crowd: int, view_s: float, max_age_s: float) -> str:
    """What happened, as a row of a Markdown table."""
    end_s = BEFORE_S + CROWDED_S
    cameras = [Camera("single", 1), Camera("crowd", crowd, from_s=BEFORE_S, until_s=end_s)]
    house = House(cameras, view_s=view_s, max_age_s=max_age_s)
    house.run(end_s + AFTER_S)

    downs = [(when_s, rung) for when_s, rung, down in house.steps if down]
    back = [when_s for when_s, rung, _ in house.steps if rung == house.ladder.top]
    settled = {
        name: [
            (age_s, views)
            for _, when_s, age_s, views in read
            if BEFORE_S + SETTLED_S <= when_s < end_s
        ]
        for name, read in house.read.items()
    }
    counts = [views for _, views in settled["crowd"]]
    rates = [f"{len(settled[name]) / (CROWDED_S - SETTLED_S):.3g}" for name in ("crowd", "single")]
    cells = [
        str(crowd),
        " and ".join(f"{when_s - BEFORE_S:.1f}" for when_s, _ in downs) or "–",
        f"{np.median(counts):g}",
        f"{np.percentile([age_s for read in settled.values() for age_s, _ in read], 99):.2f}",
        ", ".join(rates),
        f"{back[-1] - end_s:.0f}" if back else "–",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--view-ms", type=float, default=2.5, help="the net's time for one view")
    parser.add_argument("--max-age", type=float, default=1.0, metavar="SECONDS")
    options = parser.parse_args()
    print(
        "| crowd | steps down after, s | crops then | age of readings, p99, s | readings a second, "
        "crowd and single face | all ten crops again after, s |\n|--:|---|--:|--:|---|--:|"
    )
    for crowd in CROWDS:
        print(line(crowd, options.view_ms / 1000.0, options.max_age), flush=True)


if __name__ == "__main__":
    main()
