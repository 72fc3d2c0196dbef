"""Fit the framings of classifiers/expression/crop.py, for docs/crop-contract.md.

    .venv/bin/python -m tests.bench.fit_crop --faces 600

Pastes faces of FER2013's training split into pictures, asks each backend for them, and prints
the median place of FER2013's window seen from the box: the numbers of FRAMINGS.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from classifiers.expression.crop import FRAMINGS
from detectors.select import Backend
from tests.bench.parts.arguments import parser_of
from tests.classifiers.pasted import find, scenes
from tests.detectors.kinds import make
from tests.fer import load_split
from tests.shared import MODELS, SHARED

BACKENDS: tuple[Backend, ...] = ("mediapipe", "yunet", "haar")


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data/fer2013/fer2013.tar.xz")
    parser.add_argument("--models", type=Path, default=MODELS)
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--seed", type=int, default=3)
    chosen = parser.parse_args()

    train = load_split(chosen.data, "train").images
    picked = np.random.default_rng(chosen.seed).choice(len(train), chosen.faces, replace=False)
    out = sys.stdout.write
    out("backend    found   side  (mad)   right  (mad)   down   (mad)   tilt_deg   in use\n")
    for backend in BACKENDS:
        detector = make(backend, "short", models=chosen.models)
        rows = []
        for scene in scenes(train[picked], chosen.seed):
            detection = find(detector, scene)
            if detection is None:
                continue
            box = detection.box
            size = math.sqrt(box.width * box.height)
            tilt = math.nan
            if detection.eyes is not None:
                (x0, y0), (x1, y1) = detection.eyes
                tilt = abs(math.degrees(math.atan2(y1 - y0, x1 - x0)))
            rows.append(
                (
                    scene.side / size,
                    (scene.left + scene.side / 2 - box.x - box.width / 2) / size,
                    (scene.top + scene.side / 2 - box.y - box.height / 2) / size,
                    tilt,
                )
            )
        detector.close()
        table = np.array(rows)
        middle = np.median(table, axis=0)
        spread = np.median(np.abs(table - middle), axis=0)
        used = FRAMINGS[backend]
        out(
            f"{backend:10} {len(rows) / chosen.faces:5.1%}"
            f"  {middle[0]:.3f} ({spread[0]:.3f})  {middle[1]:+.3f} ({spread[1]:.3f})"
            f"  {middle[2]:+.3f} ({spread[2]:.3f})  {middle[3]:8.1f}"
            f"   side {used.side}, shift {used.shift}\n"
        )


if __name__ == "__main__":
    main()
