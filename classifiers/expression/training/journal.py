"""What a run writes down at the end of each epoch: a CSV, and TensorBoard's events."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from classifiers.atomic import write_atomic, write_errors_as
from classifiers.errors import TrainingError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # TensorBoard comes with affectd[train]; the CSV says the same.
    SummaryWriter = None  # type: ignore[assignment,misc]

CSV = "log.csv"
TENSORBOARD = "tensorboard"
FIGURES = ("loss", "accuracy", "holdout", "learning_rate", "images_per_s")


@dataclass(frozen=True)
class Step:
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
    """The log of a run in `out`. A resumed run keeps the lines of its first `epochs`; later ones
    are of epochs after its last state, which are trained again, and are dropped.

    Raises TrainingError where it cannot be written.
    """

    def __init__(self, out: Path, epochs: int = 0) -> None:
        self._csv = out / CSV
        self._lines = [",".join(("epoch", *FIGURES))]
        self._board = None
        with write_errors_as(out, TrainingError):
            if epochs and self._csv.exists():
                self._lines = self._csv.read_text().splitlines()[: epochs + 1]
            if self._csv.exists():
                self._store()
            if SummaryWriter is not None:
                self._board = SummaryWriter(out / TENSORBOARD, purge_step=epochs + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            with suppress(OSError):  # the CSV says the same
                self._board.close()

    def write(self, done: Step) -> None:
        """Append an epoch."""
        figures = {name: getattr(done, name) for name in FIGURES}
        values = (f"{value:.5f}" for value in figures.values())
        self._lines.append(",".join((str(done.epoch + 1), *values)))
        with write_errors_as(self._csv, TrainingError):
            self._store()
            if self._board is not None:
                for name, value in figures.items():
                    self._board.add_scalar(name, value, done.epoch + 1)

    def _store(self) -> None:
        write_atomic(self._csv, "".join(f"{line}\n" for line in self._lines).encode())
