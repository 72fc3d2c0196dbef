"""What each part of the recipe is worth: loss, augmentation, number of crops, joint.

    python -m tests.bench.ablation --data fer2013 --out docs/ablation.md --epochs 8

Trains the first recipe with plain cross entropy and with the adaptive loss, each without and with
augmentation; the other recipes once; and joins those that were trained with augmentation. Each
is read from PublicTest with 1, 2, 4 and 10 crops. The nets lie in a folder beside the table, each
with the minutes of its training: run again with the same arguments, it goes on where it was
stopped. What was trained is kept; it is read and joined anew at every run.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from classifiers.atomic import write_atomic
from classifiers.checkpoint import Record, read_record, record_path
from classifiers.expression import LABELS, Device, StaticTTA, data
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
MINUTES = "minutes.txt"


@dataclass(frozen=True)
class Name:
    """How the tables call a net."""

    net: str
    loss: str
    augmentation: str

    def __str__(self) -> str:
        return f"{self.net}, {self.loss}, augmentation {self.augmentation}"

    def cells(self) -> str:
        return f"{self.net} | {self.loss} | {self.augmentation}"


@dataclass(frozen=True)
class Plan:
    """A net to be trained."""

    name: Name
    recipe: Recipe


@dataclass(frozen=True)
class Net:
    """A net that was trained, or a joint of such, and the minutes of all that training."""

    name: Name
    weights: Path
    minutes: float


@dataclass(frozen=True)
class Row:
    """One line of the table. `accuracy` and `unseen` are shares of PublicTest, the latter of the
    faces of which Training holds no copy; `recalls`, in the order of LABELS, of each class."""

    net: Net
    crops: int
    parameters: int
    flops: int
    ms_per_face: float
    accuracy: float
    unseen: float
    recalls: tuple[float, ...]


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
                found.append(Plan(Name(path.stem, loss, "none"), still))
            found.append(Plan(Name(path.stem, loss, "all"), recipe))
    return found


class Ablation:
    """All nets on one data set. `work` keeps their weights and states."""

    def __init__(self, source: Path, out: Path, device: Device) -> None:
        self.source = source
        self.device = device
        # Seconds of the cores, which a busy machine does not lengthen; of a GPU, those of the wall.
        self.clock = time.process_time if device == "cpu" else time.perf_counter
        self.work = out.with_suffix("")
        fer = data.read(source)
        self.public = fer.split("public")
        self.unseen = fer.unseen("public")
        self.of_class = [self.public.labels == index for index in range(len(LABELS))]
        self.fingerprint = fer.fingerprint()

    def train(self, plan: Plan, end_s: float, say: Callable[[str], None]) -> Net | None:
        """Train a net unless it is there; None if `end_s`, on the monotonic clock, came before."""
        depends_on = repr((plan.recipe, self.device, self.fingerprint))
        digest = hashlib.sha256(depends_on.encode()).hexdigest()
        parts = plan.name.net, plan.recipe.loss, plan.name.augmentation, digest[:8]
        folder = self.work / "-".join(parts)
        weights, counted = folder / WEIGHTS, folder / MINUTES
        minutes = float(counted.read_text()) if counted.exists() else 0.0
        if minutes and record_path(weights).exists():
            return Net(plan.name, weights, minutes)
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return None
        say(str(plan.name))
        if not (minutes and (folder / STATE).exists()):
            shutil.rmtree(folder, ignore_errors=True)  # a run whose minutes were not counted
            folder.mkdir(parents=True)
            minutes = 0.0
        began_s = self.clock()
        try:
            done = train(
                plan.recipe,
                self.source,
                folder,
                device=self.device,
                resume=minutes > 0.0,
                max_minutes=left_s / 60,
                report=lambda now: (
                    say(f"  epoch {now.epoch + 1}, holdout {now.holdout:.1%}")
                    if now.holdout
                    else None
                ),
            )
        finally:
            minutes += (self.clock() - began_s) / 60
            write_atomic(counted, f"{minutes}\n".encode())
        return None if done is None else Net(plan.name, weights, minutes)

    def joint(self, nets: list[Net]) -> Net:
        """Join nets."""
        file = self.work / "joint" / FILE
        file.unlink(missing_ok=True)
        recipe = JointRecipe("joint", tuple(str(net.weights) for net in nets))
        make(recipe, self.source, file.parent, device=self.device)
        name_of = {read_record(net.weights).sha256: net.name for net in nets}
        members = [(member.weight, name_of[member.sha256]) for member in read_joint(file).members]
        parts = " + ".join(f"{weight:g} {name.net} {name.loss}" for weight, name in members)
        minutes = sum(net.minutes for net in nets)
        return Net(Name(f"joint: {parts}", "each its own", "all"), file, minutes)

    def rows(self, net: Net) -> Iterator[Row]:
        """What the table says of a net, one row for each number of crops."""
        classifier = ExpressionClassifier.load(net.weights, device=self.device)
        records = _records(net.weights)
        parameters = sum(_parameters(record) for record in records)
        for tta in STATIC_TTA:
            classifier.tta, crops = tta, VIEW_COUNT[tta]
            right, ms_per_face = self._read(classifier)
            yield Row(
                net,
                crops,
                parameters,
                sum(_flops(record, tta) for record in records),
                ms_per_face,
                float(right.mean()),
                float(right[self.unseen].mean()),
                tuple(float(right[of].mean()) for of in self.of_class),
            )

    def _read(self, classifier: ExpressionClassifier) -> tuple[NDArray[np.bool_], float]:
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
        f"| {row.net.name.cells()} | {row.crops} | {row.parameters:,} "
        f"| {row.flops / 1e6:,.0f} | {row.ms_per_face:.2f} | {row.accuracy:.2%} "
        f"| {row.unseen:.2%} | {row.net.minutes:.1f} |"
        for row in rows
    ]
    return "\n".join(lines)


def recall_table(rows: list[Row], faces: list[int]) -> str:
    """Of each net with ten crops, the recall of each class; `faces` is how many each has."""
    classes = [f"{label} ({number})" for label, number in zip(LABELS, faces, strict=True)]
    lines = [f"| net | loss | augmentation | {' | '.join(classes)} | mean |"]
    lines += ["|---|---|---|" + "--:|" * (len(LABELS) + 1)]
    for row in rows:
        if row.crops == VIEW_COUNT["ten_crop"]:
            shares = [f"{share:.1%}" for share in (*row.recalls, statistics.mean(row.recalls))]
            lines.append(f"| {row.net.name.cells()} | {' | '.join(shares)} |")
    return "\n".join(lines)


def page(rows: list[Row], missing: list[str], ablation: Ablation, seed: int, command: str) -> str:
    """The whole Markdown file."""
    faces, unseen = len(ablation.unseen), int(ablation.unseen.sum())
    each = [int(of.sum()) for of in ablation.of_class]
    rarest = min(each)
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

Recall of each class with ten crops, and its mean over the classes; in brackets the faces of a \
class. One standard error of the recall of {rarest} faces is up to {50 / rarest**0.5:.1f} points.

{recall_table(rows, each)}
"""


def main(arguments: list[str] | None = None) -> list[Row]:
    """Write the page and print it; returns the rows of its first table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--recipe", type=Path, nargs="+", default=RECIPES, help="first: ablated")
    parser.add_argument("--epochs", type=int, help="instead of the recipes' own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-minutes", type=float, default=float("inf"), help="of training")
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(given)
    end_s = time.monotonic() + 60 * chosen.max_minutes

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    ablation = Ablation(chosen.data, chosen.out, chosen.device)
    nets, missing = [], []
    for plan in plans(chosen.recipe, chosen.epochs, chosen.seed):
        net = ablation.train(plan, end_s, say)
        if net is None:
            missing.append(str(plan.name))
        else:
            nets.append(net)
    if missing:
        missing.append("the joint")
    else:
        say("joint")
        nets.append(ablation.joint([net for net in nets if net.name.augmentation == "all"]))
    rows: list[Row] = []
    for net in nets:
        say(f"{net.name}: reads PublicTest")
        rows += ablation.rows(net)
    command = shlex.join(["python", "-m", "tests.bench.ablation", *given])
    written = page(rows, missing, ablation, chosen.seed, command)
    chosen.out.write_text(written)
    print(written)
    return rows


if __name__ == "__main__":
    main()
