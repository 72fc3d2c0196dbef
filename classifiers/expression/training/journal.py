"""What a run writes down at the end of each epoch: a CSV, and TensorBoard's events."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # TensorBoard comes with affectd[train]; the CSV says the same.
    SummaryWriter = None  # type: ignore[assignment,misc]

CSV = "log.csv"
TENSORBOARD = "tensorboard"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after a step (`holdout` is None) or at the end of an epoch.

    Accuracies are shares, 0..1; `holdout` is that of the averaged net.
    """

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_s: float
    holdout: float | None = None


class Journal:
    """The log of a run in `out`. A resumed run goes on behind what is there."""

    def __init__(self, out: Path) -> None:
        self._csv = out / CSV
        self._board = None
        if SummaryWriter is not None:
            self._board = SummaryWriter(out / TENSORBOARD)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, done: Progress) -> None:
        """Append an epoch."""
        names = ("loss", "accuracy", "holdout", "learning_rate", "images_per_s")
        figures = {name: getattr(done, name) for name in names}
        fresh = not self._csv.exists()
        with self._csv.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(["epoch", *names])
            writer.writerow([done.epoch + 1, *(f"{value:.5f}" for value in figures.values())])
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, done.epoch + 1)
