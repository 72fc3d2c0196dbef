"""What a net said about each image, as a CSV that any statistics program reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.atomic import write_atomic
from classifiers.expression import LABELS
from classifiers.expression.data import Faces

COLUMNS = ("file", "label", "predicted", *(f"p_{label}" for label in LABELS))


def write(target: Path, faces: Faces, guessed: NDArray[np.float32]) -> None:
    """Write COLUMNS, one row an image, whole or not at all; what was there is replaced.

    guessed: probabilities [N, 7], written with as many digits as float32 holds. `predicted` is
    the likeliest class, never `unknown`. Raises OSError when the file cannot be written.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for name, label, row in zip(faces.files, faces.labels, guessed, strict=True):
        predicted = LABELS[int(row.argmax())]
        table.writerow([name, LABELS[label], predicted, *map(str, row)])
    write_atomic(target, text.getvalue().encode())
