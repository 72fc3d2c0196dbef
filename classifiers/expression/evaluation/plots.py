"""The pictures of a report, as PNG; drawn by matplotlib without a screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.expression import LABELS
from classifiers.expression.evaluation.scores import Bin
from classifiers.extras import extra

with extra("train"):
    import matplotlib
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay

matplotlib.use("Agg")

DPI = 120
BLUE, GREY = "#0072B2", "#777777"


def confusion(table: NDArray[np.int64], title: str, counts: Path, shares: Path) -> None:
    """Draw a table [7, 7], labels down, guesses across: its counts, and each row as shares of 1.

    A class without an image has a row of zeros. Raises OSError when a file cannot be written.
    """
    rows = np.maximum(table.sum(1, keepdims=True), 1)
    for target, values, form, top in (
        (counts, table, "d", table.max()),
        (shares, table / rows, ".2f", 1.0),
    ):
        figure = Figure(figsize=(7.0, 6.2), layout="constrained")
        axes = figure.add_subplot()
        display = ConfusionMatrixDisplay(values, display_labels=LABELS)
        display.plot(ax=axes, cmap="Blues", values_format=form, xticks_rotation=45)
        display.im_.set_clim(0, top)
        axes.set(title=title, xlabel="predicted", ylabel="label")
        figure.savefig(target, dpi=DPI)


def reliability(bins: Sequence[Bin], ece: float, title: str, target: Path) -> None:
    """Draw accuracy by confidence over the diagonal, and how many images each has.

    Raises OSError when the file cannot be written.
    """
    filled = [b for b in bins if b.accuracy is not None and b.confidence is not None]
    figure = Figure(figsize=(6.0, 6.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    width = bins[0].high - bins[0].low
    above.bar(
        [b.low for b in filled],
        [b.accuracy for b in filled],
        width,
        align="edge",
        color=BLUE,
        alpha=0.35,
        edgecolor="white",
        label="share that is right",
    )
    above.plot([0, 1], [0, 1], "--", color=GREY, label="as sure as right")
    above.plot(
        [b.confidence for b in filled],
        [b.accuracy for b in filled],
        "o-",
        color=BLUE,
        label="at the bin's mean confidence",
    )
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=f"{title}\nECE {ece:.3f}")
    above.legend(loc="upper left")
    below.bar(
        [b.low for b in bins],
        [b.images for b in bins],
        width,
        align="edge",
        color=GREY,
        edgecolor="white",
    )
    below.set(xlabel="top probability", ylabel="images")
    figure.savefig(target, dpi=DPI)
