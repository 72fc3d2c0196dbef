"""What a step of training costs, part by part, and what an epoch takes.

    python -m tests.bench.train_step [--recipe config/train/vgg10-half.toml] [--device cpu|cuda]
                                     [--compile] [--seconds 10]

Each stage of the recipe takes steps on faces of noise for so many seconds, after three that do not
count (the first compiles), five in a row and then one that waits for the device before and after
each part; figures are medians by the clock. What is neither the changing of faces nor the optimizer
nor the average is counted as forward and backward. `start` and a teacher are left out. An epoch is
one of as many faces as FER2013 gives.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from classifiers.expression.data import Faces
from classifiers.expression.evaluation.measure import probabilities
from classifiers.expression.training import run as run_module
from classifiers.expression.training.recipe import Recipe, Stage, read_net
from classifiers.expression.training.run import Run
from tests.bench.parts.arguments import parser_of

TRAINING, HOLDOUT = 26_000, 1_415  # about as many faces as there are without copies
UNCOUNTED, BLOCK = 3, 5  # steps
PARTS = ("augment", "forward, backward", "optimizer", "average")


def noise(number: int) -> Faces:
    images = np.random.default_rng(0).integers(0, 256, (number, 48, 48), dtype=np.uint8)
    return Faces(images, np.arange(number) % 7, ("",) * number)


def now_s(device: str) -> float:
    """The time when all that the device was told to do is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def take(run: Run, order: torch.Tensor, steps: int) -> float:
    """The seconds of so many steps from where the run stands, where it then stands again."""
    stands, began_s = run.step, now_s(run.device)
    for _ in range(steps):
        run.step = stands  # of its own stage, and never behind the last one
        run.one_step(order)
    run.step = stands
    return now_s(run.device) - began_s


@contextmanager
def parts_timed(run: Run) -> Iterator[dict[str, float]]:
    """The seconds spent in the parts that are functions of their own."""
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            began_s = now_s(run.device)
            made = work(*given)
            spent[name] += now_s(run.device) - began_s
            return made

        return call

    with ExitStack() as patches:
        for where, called, name in (
            (run_module, "augment", "augment"),
            *((optimizer, "step", "optimizer") for optimizer in run.optimizers),
            (run, "_average", "average"),
        ):
            work = timed(name, getattr(where, called))
            patches.enter_context(patch.object(where, called, work))
        yield spent


def measure(run: Run, seconds: float) -> dict[str, float]:
    """Seconds of a step and, in one of its own, of its parts: medians of what fits."""
    order = run.order()
    take(run, order, UNCOUNTED)
    found: dict[str, list[float]] = defaultdict(list)
    end_s = time.perf_counter() + seconds
    while not found or time.perf_counter() < end_s:
        found["step"].append(take(run, order, BLOCK) / BLOCK)
        with parts_timed(run) as spent:
            whole_s = take(run, order, 1)
        spent["forward, backward"] = whole_s - sum(spent.values())
        for part, spent_s in spent.items():
            found[part].append(spent_s)
    return {name: statistics.median(times_s) for name, times_s in found.items()}


def first_epoch(recipe: Recipe, stage: Stage) -> int | None:
    """From which epoch on faces are drawn by `stage`; None where the next takes its place."""
    return next((e for e in range(recipe.epochs) if recipe.stage(e) is stage), None)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("config/train/vgg10-half.toml"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each stage")
    options = parser.parse_args()
    recipe = replace(read_net(options.recipe), start="", distillation=None)
    run = Run(recipe, noise(TRAINING), options.device, by_compiled=options.compile)
    print(f"{options.recipe.name} on {run.computes}; {recipe.batch} faces a step")
    print(f"{'from':>5} {'px':>4} {'ms a step':>10}", *(f"{part:>18}" for part in PARTS), end="")
    print(f" {'images/s':>9} {'s/epoch':>8}")
    for stage in recipe.stages:
        epoch = first_epoch(recipe, stage)
        if epoch is None:
            print(f"{stage.start:5.0%} {stage.out_px:4} no epoch begins in it")
            continue
        run.net.train()
        run.step = max(1, epoch * run.per_epoch)
        spent_s = measure(run, options.seconds)
        step_s = spent_s["step"]
        print(f"{stage.start:5.0%} {stage.out_px:4} {1000 * step_s:10.1f}", end=" ")
        print(*(f"{1000 * spent_s[part]:18.1f}" for part in PARTS), end="")
        print(f" {recipe.batch / step_s:9.0f} {run.per_epoch * step_s:8.1f}")
    held = noise(HOLDOUT)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "last.pt"
        times_s = [now_s(options.device)]
        probabilities(run.ema, held, recipe.field_px, "flip", options.device)
        times_s.append(now_s(options.device))
        run.store(state)
        times_s.append(now_s(options.device))
        size_mb = state.stat().st_size / 1e6
    holdout_s, store_s = np.diff(times_s)
    print(f"besides, the holdout {holdout_s:.2f} s an epoch and a state {store_s:.2f} s", end="")
    print(f" ({size_mb:.0f} MB), at most every 30 s")


if __name__ == "__main__":
    main()
