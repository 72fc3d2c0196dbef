"""`affectd bench`: what this machine gives, in faces and frames a second."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.tta import CROPS
from daemon.errors import Reason, SinkError
from daemon.frame import SmallLook
from daemon.sources.demo import DemoSource
from detectors import select, store
from detectors.errors import DetectorError

SCENE = "demo://bench?faces=2&size=1280x720&fps=25&seconds=1"
BATCH = 16
WAYS: Sequence[tuple[select.Backend, select.Range]] = (
    ("yunet", "full"),
    ("mediapipe", "full"),
    ("mediapipe", "short"),
    ("haar", "full"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: `a_second` of `unit`, and milliseconds for one, as medians of wall time."""

    what: str
    unit: str
    a_second: float
    ms: float


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to time. `once` does `items` of `unit`."""

    what: str
    unit: str
    items: int
    once: Callable[[], object]


def bench(
    models: str, long_side_px: int, seconds: float, target: Path | None, out: Console, err: Console
) -> None:
    """Time every detector and every test-time mode, `seconds` each; print a table.

    `target` gets the figures as JSON too. Raises SinkError when it cannot be written.
    """
    cv2.setNumThreads(1)
    jobs = chain(_detectors(store.models_dir(models), long_side_px, err), _modes())
    total = len(WAYS) + len(CROPS)
    bar = track(jobs, "measuring", total=total, console=err, transient=True)
    figures = [_measure(job, seconds) for job in bar]
    table = Table("what", "a second", "ms for one", box=None)
    for figure in figures:
        table.add_row(figure.what, f"{figure.a_second:.0f} {figure.unit}", f"{figure.ms:.1f}")
    out.print(table)
    if target is not None:
        try:
            target.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
        except OSError as error:
            raise SinkError(
                Reason.NOT_WRITABLE, f"{target}: cannot be written: {error.strerror}"
            ) from error


def _detectors(folder: Path, long_side_px: int, err: Console) -> Iterator[_Job]:
    """Every backend whose model is there, on a drawn scene of two faces."""
    source = DemoSource("bench", SCENE, paced=False, stop=threading.Event())
    small = SmallLook(long_side_px)(next(iter(source.frames())).image)
    for backend, distance in WAYS:
        name = select.model_of(backend, distance) or backend
        try:
            detector = select.make(
                backend, range=distance, min_score=0.5, models=folder, pull=False, log=err.print
            )
        except DetectorError as error:
            err.print(f"left out: {error}", highlight=False, markup=False, soft_wrap=True)
            continue
        yield _Job(
            f"detector {name}, long side {long_side_px} px",
            "frames",
            1,
            partial(detector.detect, small),
        )
        detector.close()


def _modes() -> Iterator[_Job]:
    """The shipped net with each number of crops, in batches."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (BATCH, 48, 48), dtype=np.uint8)
    for tta in CROPS:
        classifier = ExpressionClassifier.load("default", tta=tta)
        yield _Job(
            f"expressions with {tta} on {classifier.device}",
            "faces",
            BATCH,
            partial(classifier.predict, faces),
        )


def _measure(job: _Job, seconds: float) -> Figure:
    job.once()  # warms caches
    times_s: list[float] = []
    end_s = time.perf_counter() + seconds
    while len(times_s) < 3 or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        job.once()
        times_s.append(time.perf_counter() - began_s)
    one_s = float(np.median(times_s)) / job.items
    return Figure(job.what, job.unit, round(1.0 / one_s, 2), round(1000.0 * one_s, 3))
