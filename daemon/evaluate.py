"""`affectd evaluate` on a terminal. Nothing here is loaded by the daemon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from classifiers.expression import LABELS, data
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import accuracy, classify
from classifiers.expression.tta import TTA


def evaluate_expression(
    source: Path, split: data.Split, weights: str, tta: TTA, console: Console
) -> None:
    """Print accuracy and recall by class, with and without images that training has seen."""
    classifier = ExpressionClassifier.load(weights, tta=tta)
    faces = data.load(source, split)
    seen = set(data.load(source, "train").digests())
    unseen = np.array([digest not in seen for digest in faces.digests()])
    guessed = classify(classifier, faces)
    table = Table("", "images", "correct", box=None)
    table.add_row("all", str(len(unseen)), f"{accuracy(guessed, faces):.2%}")
    table.add_row(
        "not in training",
        str(int(unseen.sum())),
        f"{accuracy(guessed[unseen], faces.keep(unseen)):.2%}",
    )
    for index, label in enumerate(LABELS):
        mask = faces.labels == index
        table.add_row(
            label, str(int(mask.sum())), f"{accuracy(guessed[mask], faces.keep(mask)):.2%}"
        )
    console.print(f"{classifier.name} on {split}, {tta}")
    console.print(table)
