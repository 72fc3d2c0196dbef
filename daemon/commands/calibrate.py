"""`affectd calibrate` on a terminal. Nothing here is loaded by the daemon."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from classifiers.expression.evaluation.calibrate import calibrate
from classifiers.expression.tta import STATIC_TTA
from daemon.commands.progress import share_bar


def calibrate_expression(
    weights: str, source: Path, *, strict: bool, out: Console, err: Console
) -> None:
    """Write into records what int8 needs and scores; print both accuracies.

    Raises ClassifierError, also for a record that cannot be written.
    """
    with share_bar(err) as report:
        found = calibrate(weights, source, strict=strict, log=err.print, report=report)
    table = Table("weights", "views", "float32", "int8", "points lost", box=None, pad_edge=False)
    for one in found:
        for tta in STATIC_TTA:
            plain, low = one.scores[f"public_{tta}"], one.scores[f"public_{tta}_int8"]
            table.add_row(
                one.name,
                tta,
                f"{100 * plain:.2f} %",
                f"{100 * low:.2f} %",
                f"{100 * (plain - low):.2f}",
            )
    out.print(table)
    for one in found:
        err.print(f"Written: {one.record}")
