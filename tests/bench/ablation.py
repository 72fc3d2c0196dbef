"""What each part of the recipe is worth: loss, augmentation, number of crops, joint.

    python -m tests.bench.ablation --data fer2013 --out docs/ablation.md --epochs 8

Trains the first recipe with plain cross entropy and with the adaptive loss, each without and with
augmentation; the other recipes once; and joins those that were trained with augmentation. Each
is read from PublicTest with 1, 2, 4 and 10 crops. The rows lie in a JSON file beside the table, the
nets in a folder beside it: run again with the same arguments, it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from classifiers.checkpoint import Record, read_record
from classifiers.expression import Device, StaticTTA, data
from classifiers.expression.architectures import build
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.joint import read as read_joint
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.training.joint import FILE, JointRecipe, make
from classifiers.expression.training.recipe import Recipe, read
from classifiers.expression.training.train import STATE, WEIGHTS, train
from classifiers.expression.tta import STATIC_TTA, VIEW_COUNT, mean_probabilities, tta_module

RECIPES = [Path("config/train/vgg10-half.toml"), Path("config/train/resnet17-half.toml")]
NO_AUGMENTATION = Augmentation(*[0.0] * len(fields(Augmentation)))
BATCH = 64


@dataclass(frozen=True)
class Row:
    """One line of the table. `accuracy` and `unseen` are shares of PublicTest, the latter of the
    faces of which Training holds no copy."""

    net: str
    loss: str
    augmentation: str
    crops: int
    parameters: int
    flops: int
    ms_per_face: float
    accuracy: float
    unseen: float
    minutes: float


@dataclass(frozen=True)
class Plan:
    """A net to be trained, and how the table calls it."""

    net: str
    loss: str
    augmentation: str
    recipe: Recipe

    @property
    def folder(self) -> str:
        """A name that no other recipe has."""
        digest = hashlib.sha256(repr(self.recipe).encode()).hexdigest()
        return f"{self.net}-{self.recipe.loss}-{self.augmentation}-{digest[:8]}"


def plans(recipes: list[Path], epochs: int | None, seed: int) -> list[Plan]:
    """The nets of the ablation, in the table's order."""
    found = []
    for path in recipes:
        base = read(path)
        base = replace(base, epochs=epochs or base.epochs, seed=seed)
        plain = replace(base, loss="cross_entropy", label_smoothing=0.0)
        ways = [("cross entropy", plain), ("adaptive", replace(base, loss="adaptive"))]
        for loss, recipe in ways if path == recipes[0] else ways[:1]:
            still = replace(recipe, augmentation=NO_AUGMENTATION, mixup=0.0)
            if path == recipes[0]:
                found.append(Plan(path.stem, loss, "none", still))
            found.append(Plan(path.stem, loss, "all", recipe))
    return found


class Cache:
    """What is done already: rows by a key that says all they depend on, in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def rows(self, key: str) -> list[Row] | None:
        found = self._known.get(key, {}).get("rows")
        return None if found is None else [Row(**row) for row in found]

    def minutes(self, key: str) -> float:
        """Minutes spent on a net so far."""
        return float(self._known.get(key, {}).get("minutes", 0.0))

    def put(self, key: str, minutes: float, rows: list[Row] | None) -> None:
        listed = None if rows is None else [asdict(row) for row in rows]
        self._known[key] = {"minutes": minutes, "rows": listed}
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self._known, indent=1) + "\n")
        part.replace(self._path)


class Ablation:
    """All nets on one data set. `work` keeps their weights and states."""

    def __init__(self, source: Path, out: Path, device: Device) -> None:
        self.source = source
        self.device = device
        # Seconds of the cores, which a busy machine does not lengthen; of a GPU, those of the wall.
        self.clock = time.process_time if device == "cpu" else time.perf_counter
        self.work = out.with_suffix("")
        self.cache = Cache(out.with_suffix(".json"))
        fer = data.read(source)
        self.public = fer.split("public")
        self.unseen = fer.unseen("public")
        self.fingerprint = fer.fingerprint()

    def net(self, plan: Plan, end_s: float, say: Callable[[str], None]) -> list[Row] | None:
        """Train and measure one net; None if `end_s`, on the monotonic clock, came before."""
        key = f"{plan.folder} {self.device} {self.fingerprint[:8]}"
        known = self.cache.rows(key)
        if known is not None:
            return known
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return None
        began_s = self.clock()
        folder = self.work / plan.folder
        say(f"{plan.net}, {plan.loss}, augmentation {plan.augmentation}")
        resume = self.cache.minutes(key) > 0.0 and (folder / STATE).exists()
        if not resume:  # a run whose minutes were not counted, or of other data
            for name in (STATE, WEIGHTS):
                (folder / name).unlink(missing_ok=True)
        weights = train(
            plan.recipe,
            self.source,
            folder,
            device=self.device,
            resume=resume,
            max_minutes=left_s / 60,
            report=lambda now: (
                say(f"  epoch {now.epoch + 1}, holdout {now.holdout:.1%}") if now.holdout else None
            ),
        )
        minutes = self.cache.minutes(key) + (self.clock() - began_s) / 60
        rows = None
        self.cache.put(key, minutes, rows)
        if weights is not None:
            rows = list(self._rows(weights, plan.net, plan.loss, plan.augmentation, minutes))
            self.cache.put(key, minutes, rows)
        return rows

    def joint(self, chosen: list[Plan], minutes: float, say: Callable[[str], None]) -> list[Row]:
        """Join nets that were trained, and measure that."""
        paths = [self.work / plan.folder / WEIGHTS for plan in chosen]
        key = f"joint {self.device} {' '.join(read_record(path).sha256 for path in paths)}"
        known = self.cache.rows(key)
        if known is not None:
            return known
        say("joint")
        recipe = JointRecipe("joint", tuple(str(path) for path in paths))
        (self.work / "joint" / FILE).unlink(missing_ok=True)
        make(recipe, self.source, self.work / "joint", device=self.device)
        parts = " + ".join(
            f"{member.weight:g} {plan.net} {plan.loss}"
            for member, plan in _members(self.work / "joint" / FILE, chosen, paths)
        )
        rows = list(
            self._rows(
                self.work / "joint" / FILE, f"joint: {parts}", "each its own", "all", minutes
            )
        )
        self.cache.put(key, minutes, rows)
        return rows

    def _rows(
        self, weights: Path, net: str, loss: str, augmentation: str, minutes: float
    ) -> Iterator[Row]:
        classifier = ExpressionClassifier.load(weights, device=self.device)
        records = _records(weights)
        parameters = sum(_parameters(record) for record in records)
        for tta in STATIC_TTA:
            classifier.tta, crops = tta, VIEW_COUNT[tta]
            right, ms_per_face = self._read(classifier)
            yield Row(
                net,
                loss,
                augmentation,
                crops,
                parameters,
                sum(_flops(record, tta) for record in records),
                ms_per_face,
                float(right.mean()),
                float(right[self.unseen].mean()),
                minutes,
            )

    def _read(self, classifier: ExpressionClassifier) -> tuple[np.ndarray[Any, Any], float]:
        """Which faces of PublicTest are read rightly, bool [N], and the median time of one."""
        right, times_ms = [], []
        for at in range(0, len(self.public.labels), BATCH):
            batch = slice(at, at + BATCH)
            began_s = self.clock()
            guessed = classifier.predict(self.public.images[batch])
            times_ms.append((self.clock() - began_s) * 1000 / len(guessed))
            right.append(guessed.argmax(1) == self.public.labels[batch])
        return np.concatenate(right), statistics.median(times_ms)


def _records(weights: Path) -> list[Record]:
    """The records of the nets that are read: one, or those of a joint."""
    if weights.suffix != ".json":
        return [read_record(weights)]
    return [read_record(weights.parent / member.net) for member in read_joint(weights).members]


def _members(joint: Path, chosen: list[Plan], paths: list[Path]) -> Iterator[tuple[Any, Plan]]:
    plan_of = {read_record(path).sha256: plan for path, plan in zip(paths, chosen, strict=True)}
    for member in read_joint(joint).members:
        yield member, plan_of[member.sha256]


def _parameters(record: Record) -> int:
    return sum(p.numel() for p in build(record.architecture, record.options).parameters())


@torch.inference_mode()
def _flops(record: Record, tta: StaticTTA) -> int:
    """Floating point operations for one face; a multiplication with its addition counts two."""
    net = build(record.architecture, record.options).eval()
    face = torch.zeros(1, record.input_px, record.input_px)
    with FlopCounterMode(display=False) as counter:
        mean_probabilities(tta_module(net, record.crop_px, tta), face, record.crop_px, tta)
    return int(counter.get_total_flops())


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    head = (
        "net",
        "loss",
        "augmentation",
        "crops",
        "parameters",
        "MFLOPs a face",
        "ms a face",
        "PublicTest",
        "unseen",
        "minutes of training",
    )
    lines = [f"| {' | '.join(head)} |", "|---|---|---|" + "--:|" * 7]
    lines += [
        f"| {row.net} | {row.loss} | {row.augmentation} | {row.crops} | {row.parameters:,} "
        f"| {row.flops / 1e6:,.0f} | {row.ms_per_face:.2f} | {row.accuracy:.2%} "
        f"| {row.unseen:.2%} | {row.minutes:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def page(rows: list[Row], missing: list[str], ablation: Ablation, seed: int, command: str) -> str:
    """The whole Markdown file."""
    faces, unseen = len(ablation.unseen), int(ablation.unseen.sum())
    machine = (
        torch.cuda.get_device_name()
        if ablation.device == "cuda"
        else f"{torch.get_num_threads()} CPU thread(s), times being those of the cores"
    )
    late = f"\n\nNot trained yet: {'; '.join(missing)}. Run the command again." if missing else ""
    return f"""# Ablation

`{command}`

Seed {seed}, trained and timed on {machine}. PublicTest has {faces:,} faces; *unseen* are the \
{unseen:,} of which Training holds no copy. One standard error of an accuracy is \
{100 * (0.65 * 0.35 / faces) ** 0.5:.1f} points, and one seed was trained of each: smaller \
differences mean nothing. *Cross entropy* is plain, without label smoothing, *adaptive* has the \
recipe's. Without augmentation a face is only mirrored. Times are of batches of \
{BATCH} faces, FLOPs count a multiplication with its addition as two. The joint's minutes are \
those of all its nets; it leaves out nets that got no weight.

{table(rows)}{late}
"""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--recipe", type=Path, nargs="+", default=RECIPES, help="first: ablated")
    parser.add_argument("--epochs", type=int, help="instead of the recipes' own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(given)
    end_s = time.monotonic() + 60 * chosen.max_minutes

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    ablation = Ablation(chosen.data, chosen.out, chosen.device)
    rows: list[Row] = []
    missing, joined, minutes = [], [], 0.0
    for plan in plans(chosen.recipe, chosen.epochs, chosen.seed):
        found = ablation.net(plan, end_s, say)
        if found is None:
            end_s = -math.inf  # whoever stopped this one stopped all
            missing.append(f"{plan.net}, {plan.loss}, augmentation {plan.augmentation}")
            continue
        rows += found
        if plan.augmentation == "all":
            joined.append(plan)
            minutes += found[0].minutes
    if missing or time.monotonic() >= end_s:
        missing.append("the joint")
    else:
        rows += ablation.joint(joined, minutes, say)
    command = shlex.join(["python", "-m", "tests.bench.ablation", *given])
    chosen.out.write_text(page(rows, missing, ablation, chosen.seed, command))
    print(table(rows))
    if missing:
        say(f"Not trained yet: {'; '.join(missing)}. Run the command again.")


if __name__ == "__main__":
    main()
