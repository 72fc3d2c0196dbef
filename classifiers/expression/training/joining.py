"""Make a joint: find each net's weight, on the holdout alone.

Of all mixtures on a grid, the one with the least mean negative log-likelihood is taken. Not the
most accurate one: among some 1,400 faces a handful decides which mixture that is, by luck, while
the likelihood depends on every face, has one minimum, and judges the probabilities themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.atomic import write_atomic, write_errors_as
from classifiers.errors import CheckpointError, TrainingError
from classifiers.expression import Device, data, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import (
    LEAST,
    accuracy,
    figures,
    losses,
    need_extra,
    read_splits,
)
from classifiers.expression.joint import Joint, Member, save
from classifiers.expression.oom import explain_oom
from classifiers.expression.training.recipe import JointRecipe
from classifiers.expression.tta import with_temperature
from classifiers.expression.weight_files import locate_member, shipped

FILE = "joint.json"


@dataclass(frozen=True)
class Tried:
    """A net of the recipe: its name, the weight found for it, and its own figures.

    nll: mean negative log-likelihood on the holdout, accuracy: share on public, both alone,
    calibrated, and with the recipe's views.
    """

    name: str
    weight: float
    nll: float
    accuracy: float


@explain_oom(TrainingError, "take --device cpu")
def make(
    recipe: JointRecipe,
    source: Path,
    out: Path,
    *,
    device: Device = "cpu",
    strict: bool = False,
    commit: str = "",
    log: Callable[[str], None] = lambda line: None,
    report: Callable[[float, str], None] = lambda share, text: None,
) -> list[Tried]:
    """Find the weights on the holdout of FER2013 at `source`; write a joint.json into `out`.

    Its nets are copied beside it; one whose weight is 0 is left out. `report` gets the share
    that is done, 0..1, and what is being done; `log` is told what was read, and `strict` is
    that of `data.read`. Returns the nets in the recipe's order, then the joint. Raises
    DataError, CheckpointError for a net that cannot be loaded, and TrainingError when the device
    is full.
    """
    need_extra()
    if (out / FILE).exists():
        raise CheckpointError(f"{out} holds a joint already; accepted: another --out")
    out.mkdir(parents=True, exist_ok=True)
    files = [locate_member(member, Path(), "") for member in recipe.members]
    nets = [ExpressionClassifier.load(file, device=device) for file in files]
    fer = data.read(source, strict, {"Training", "PublicTest"})
    fingerprint = fer.fingerprint()
    for file in files:
        if other := provenance.warning(file, fingerprint):
            log(other)
    held, public = fer.split("holdout"), fer.split("public")
    log(held.summary("Holdout"))
    log(public.summary("PublicTest"))
    splits = {"holdout": held, "public": public}
    guessed = read_splits(nets, splits, report)
    alone = guessed["holdout", recipe.tta]
    weights = find_weights(alone, held.labels, recipe.step)
    plain = {key: _mix(parts, weights) for key, parts in guessed.items()}
    joint = Joint(
        name="joint",
        members=tuple(
            _copy(name, file, net, weight, out)
            for name, file, net, weight in zip(recipe.members, files, nets, weights, strict=True)
            if weight > 0.0
        ),
        split="holdout",
        data_set="FER2013",
        data_sha256=fingerprint,
        recipe=asdict(recipe),
        commit=commit,
        **figures(plain, splits, recipe.tta),
    )
    save(out / FILE, joint)
    temperature = joint.temperature[recipe.tta]
    mixed = [
        with_temperature(torch.from_numpy(plain[split, recipe.tta]), temperature).numpy()
        for split in splits
    ]

    def tried(
        name: str, weight: float, held_p: NDArray[np.float32], public_p: NDArray[np.float32]
    ) -> Tried:
        nll = float(losses(held_p, held.labels).mean())
        return Tried(name, weight, nll, accuracy(public_p, public))

    return [
        *map(tried, (net.name for net in nets), weights, alone, guessed["public", recipe.tta]),
        tried(f"{joint.name}-{joint.sha256[:7]}", 1.0, *mixed),
    ]


def find_weights(
    guessed: NDArray[np.float32], labels: NDArray[np.int64], step: float
) -> tuple[float, ...]:
    """The weights, each a multiple of `step` and summing to 1, that make `labels` likeliest.

    guessed: probabilities of M nets, [M, N, 7]; labels: [N].
    """
    right = guessed[:, np.arange(len(labels)), labels].astype(np.float64)  # [M, N]
    grid = _simplex(len(guessed), round(1.0 / step))
    parts = np.array_split(grid, math.ceil(len(grid) / 1024))
    lost = np.concatenate([-np.log(np.maximum(part @ right, LEAST)).mean(1) for part in parts])
    return tuple(round(float(weight), 6) for weight in grid[np.argmin(lost)])


def _simplex(parts: int, steps: int) -> NDArray[np.float64]:
    """All ways to share `steps` among `parts`, as fractions, [ways, parts]: stars and bars."""
    last = steps + parts - 1
    ways = [(-1, *bars, last) for bars in combinations(range(last), parts - 1)]
    shares: NDArray[np.float64] = (np.diff(np.array(ways)) - 1) / steps
    return shares


def _mix(guessed: NDArray[np.float32], weights: tuple[float, ...]) -> NDArray[np.float32]:
    mixed: NDArray[np.float32] = np.tensordot(np.array(weights, np.float32), guessed, 1)
    return mixed


def _copy(name: str, file: Path, net: ExpressionClassifier, weight: float, out: Path) -> Member:
    """Put a net and its record beside the joint; a shipped one keeps its name."""
    copy = out / (file.name if name in shipped() else f"{net.name}.safetensors")
    record = checkpoint.record_path
    for source, target in ((file, copy), (record(file), record(copy))):
        with write_errors_as(target, CheckpointError):
            write_atomic(target, source.read_bytes())
    return Member(copy.name, net.record.sha256, weight)
