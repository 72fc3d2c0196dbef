"""A made data set, quick to learn: faces that are bars at seven angles, and a plan to learn it."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from classifiers.expression import LABELS
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.training.recipe import Recipe

PLAN = Recipe(
    architecture="vgg10",
    epochs=8,
    options={"widths": [8, 8, 16, 16], "hidden": 32, "dropout": 0.0},
    batch=16,
    learning_rate=0.05,
    ema_decay=0.9,
    augmentation=Augmentation(rotate_deg=3, shift=0.02, scale=0.02, erase=0.0),
)


def bar(index: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A face of class `index`: a bar at its own angle, in noise and with some shift."""
    angle = math.pi * index / len(LABELS)
    image = rng.normal(120, 12, (48, 48))
    centre = 24 + rng.uniform(-3, 3, 2)
    across = np.array([math.cos(angle), math.sin(angle)]) * 18
    start, end = (centre - across).astype(int), (centre + across).astype(int)
    canvas = np.clip(image, 0, 255).astype(np.uint8)
    cv2.line(canvas, start.tolist(), end.tolist(), 230, 5)
    return canvas


def write_bars(root: Path, train: int = 60, public: int = 12) -> Path:
    """Write FER2013's folder layout with so many faces a class; returns `root`."""
    rng = np.random.default_rng(0)
    for index, label in enumerate(LABELS):
        for top, prefix, number in (("train", "Training", train), ("test", "PublicTest", public)):
            folder = root / top / label
            folder.mkdir(parents=True)
            for item in range(number):
                cv2.imwrite(str(folder / f"{prefix}_{index}{item:04}.jpg"), bar(index, rng))
    return root
