"""Make a joint: how much each net's word counts, found on the holdout alone.

Of all mixtures on a grid, the one with the least mean negative log-likelihood is taken. Not the
most accurate one: among some 1,500 faces a handful decides which mixture that is, by luck, while
the likelihood hears every face, has one minimum, and is what the daemon's probabilities are for.
"""

from __future__ import annotations

import math
import shutil
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.errors import CheckpointError, RecipeError
from classifiers.expression import data
from classifiers.expression.classifier import ExpressionClassifier, locate, shipped
from classifiers.expression.evaluation.measure import accuracy, classify, fit_temperature
from classifiers.expression.joint import Joint, Member, save
from classifiers.expression.training.recipe import _make
from classifiers.expression.tta import TTA, calibrate

FILE = "joint.json"
MOST_MIXTURES = 200_000

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class JointRecipe:
    """Which nets are joined, in steps of what weight they are tried, and seen by which views.

    members: what `expression.weights` accepts, but for joints.
    """

    architecture: Literal["joint"]
    members: tuple[str, ...]
    step: float = 0.05
    tta: TTA = "ten_crop"


@dataclass(frozen=True)
class Made:
    """A joint that was written, and what each of its nets had alone.

    nets: names in the recipe's order; weights and nll (on the holdout, with the recipe's views)
    stand in the same order, the last nll being the joint's.
    """

    path: Path
    joint: Joint
    nets: tuple[str, ...]
    weights: tuple[float, ...]
    nll: tuple[float, ...]


def read(path: Path) -> JointRecipe | None:
    """Read the recipe of a joint; None for any other file, which `recipe.read` judges.

    Raises RecipeError naming the file, the key and what is accepted.
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if content.get("architecture") != "joint":
        return None
    members = content.get("members")
    if not isinstance(members, list) or not members or not all(type(m) is str for m in members):
        raise RecipeError(
            f"{path}: members is {members!r}; accepted is a list of weights, each a shipped name "
            "or the path of a .safetensors file"
        )
    recipe: JointRecipe = _make(JointRecipe, {**content, "members": tuple(members)}, f"{path}: ")
    if not 0.001 <= recipe.step <= 1.0 or abs(1.0 / recipe.step % 1.0 - 0.5) < 0.499:
        raise RecipeError(
            f"{path}: step is {recipe.step}; accepted is a fraction that 1 is a multiple of, "
            "for example 0.05"
        )
    mixtures = math.comb(_steps(recipe) + len(members) - 1, len(members) - 1)
    if mixtures > MOST_MIXTURES:
        raise RecipeError(
            f"{path}: {len(members)} members in steps of {recipe.step} are {mixtures} mixtures; "
            f"accepted are {MOST_MIXTURES}: take a larger step"
        )
    return recipe
