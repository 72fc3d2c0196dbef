"""What `expression.prior` is worth where neutral faces are more frequent than in FER2013.

    affectd evaluate expression --data fer2013 --engine openvino --predictions p.csv
    python -m tests.bench.prior p.csv

Prints a Markdown table. Rows: the share of neutral that the prior tells. Columns: the share that
neutral really has, for which faces count more or less; accuracy and mean negative log-likelihood.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.expression import LABELS
from classifiers.expression.prior import with_prior
from tests.bench.parts.arguments import parser_of

NEUTRAL = LABELS.index("neutral")
TOLD = (None, 0.3, 0.4, 0.5, 0.6)
TRUE = (None, 0.3, 0.4, 0.5, 0.6, 0.7)


def read(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities float64 [N, 7] and labels int64 [N] of the predictions of a split."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    probabilities = np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])
    return probabilities, np.array([LABELS.index(row["label"]) for row in rows])


def figures(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    told: float | None,
    true: float | None,
) -> tuple[float, float]:
    """Accuracy and mean negative log-likelihood with a prior of `told` for neutral, or none, where
    neutral is `true` of the faces, or as in the split."""
    weighed = with_prior(probabilities, {} if told is None else {"neutral": told})
    neutral = labels == NEUTRAL
    counts = np.ones(len(labels))
    if true is not None:
        counts = np.where(neutral, true / neutral.mean(), (1.0 - true) / (~neutral).mean())
    right = weighed.argmax(1) == labels
    loss = -np.log(np.maximum(weighed[np.arange(len(labels)), labels], 1e-12))
    return float(np.average(right, weights=counts)), float(np.average(loss, weights=counts))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("predictions", type=Path, help="of `affectd evaluate`")
    probabilities, labels = read(parser.parse_args().predictions)
    as_it_is = (labels == NEUTRAL).mean()
    shares = [f"{as_it_is if share is None else share:.0%}" for share in TRUE]
    print(f"| neutral told \\ true | {' | '.join(shares)} |")
    print("|---" + "|--:" * len(TRUE) + "|")
    for told in TOLD:
        cells = [figures(probabilities, labels, told, true) for true in TRUE]
        texts = [f"{100 * accuracy:.1f} %, {loss:.3f}" for accuracy, loss in cells]
        print(f"| {'no prior' if told is None else f'{told:.0%}'} | {' | '.join(texts)} |")


if __name__ == "__main__":
    main()
