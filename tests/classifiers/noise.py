"""Faces of noise, and a plan that takes milliseconds: for tests of single steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from classifiers.expression import data
from classifiers.expression.training.recipe import Recipe
from classifiers.expression.training.run import Run
from tests.nets import OPTIONS

FACES = data.Faces(
    np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8),
    np.arange(64) % 7,
    ("",) * 64,
)
PLAN = Recipe("vgg10", epochs=1, options=OPTIONS, batch=16, learning_rate=0.01)


def loss_of_three_steps(compiled: bool = False, **changes: Any) -> float:
    """The mean of the first three steps of PLAN with `changes`, on the processor."""
    run = Run(replace(PLAN, **changes), FACES, "cpu", by_compiled=compiled)
    if run.teacher:
        run.teacher.read()
    order = run.order()
    for _ in range(3):
        run.one_step(order)
    return run.sums[0].item() / 3
