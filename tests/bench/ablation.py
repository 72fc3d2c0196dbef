"""What each part of the recipe is worth: loss, augmentation, number of crops, joint.

    python -m tests.bench.ablation --data fer2013 --out docs/ablation.md --epochs 8 --seed 1 2

For each seed, trains the first recipe by every loss with augmentation, and by plain cross entropy
and the adaptive loss without; the other recipes by plain cross entropy with augmentation; and
joins the nets of all recipes by that. Each is read from PublicTest with 1, 2, 4 and 10 crops. The
nets lie in a folder beside the table, each with the minutes of its training: run again with the
same arguments, it goes on where it was stopped. What was trained is kept; it is read and joined
anew at every run. Seeds may be trained side by side, each by a command of its own, and put into
one table by another.
"""

from __future__ import annotations

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

from classifiers.atomic import write_atomic
from classifiers.checkpoint import Record, read_record, record_path
from classifiers.expression import LABELS, Device, data
from classifiers.expression.architectures import build
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.joint import read as read_joint
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.training.joining import FILE, make
from classifiers.expression.training.recipe import JointRecipe, Recipe, read_net
from classifiers.expression.training.train import STATE, WEIGHTS, train
from classifiers.expression.tta import STATIC_TTA, VIEW_COUNT
from daemon.commands.bench.flops import flops
from tests.bench.parts.ablation_page import Name, Row, Setting, page
from tests.bench.parts.arguments import parser_of

PLAIN = "cross entropy"
JOINED = PLAIN, "all"  # loss and augmentation of the nets that are joined
RECIPES = [Path("config/train/vgg10-half.toml"), Path("config/train/shipped/resnet17-half.toml")]
NO_AUGMENTATION = Augmentation(*[0.0] * len(fields(Augmentation)))
BATCH = 64
MINUTES = "minutes.txt"


@dataclass(frozen=True)
class Plan:
    """A net to be trained."""

    name: Name
    recipe: Recipe


@dataclass(frozen=True)
class Net:
    """A net that was trained, or a joint of such, and the minutes of all that training."""

    name: Name
    seed: int
    weights: Path
    minutes: float


def plans(recipes: list[Path], epochs: int | None, seed: int) -> list[Plan]:
    """The nets of the ablation, in the table's order."""
    found = []
    for path in recipes:
        base = read_net(path)
        base = replace(base, epochs=epochs or base.epochs, seed=seed)
        plain = replace(base, loss="cross_entropy", label_smoothing=0.0)
        adaptive = replace(base, loss="adaptive")
        ways = [(PLAIN, plain)]
        if path == recipes[0]:
            for loss, recipe in ((PLAIN, plain), ("adaptive", adaptive)):
                still = replace(recipe, augmentation=NO_AUGMENTATION, mixup=0.0)
                found.append(Plan(Name(path.stem, loss, "none"), still))
            # Its slopes are smaller, by alpha and by how easy a face is.
            faster = replace(adaptive, learning_rate=2 * adaptive.learning_rate)
            ways += [
                ("smoothed cross entropy", replace(base, loss="cross_entropy")),
                ("adaptive", adaptive),
                ("adaptive at twice the rate", faster),
            ]
        found += [Plan(Name(path.stem, loss, "all"), recipe) for loss, recipe in ways]
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
            return Net(plan.name, plan.recipe.seed, weights, minutes)
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            return None
        say(f"{plan.name}, seed {plan.recipe.seed}")
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
        return None if done is None else Net(plan.name, plan.recipe.seed, weights, minutes)

    def joint(self, nets: list[Net]) -> tuple[Net, str]:
        """Join nets of one seed; also returns how much each one's word counts, in words."""
        seed = nets[0].seed
        file = self.work / f"joint-{seed}" / FILE
        file.unlink(missing_ok=True)
        recipe = JointRecipe("joint", tuple(str(net.weights) for net in nets))
        make(recipe, self.source, file.parent, device=self.device)
        name_of = {read_record(net.weights).sha256: net.name.net for net in nets}
        parts = [f"{m.weight:g} {name_of[m.sha256]}" for m in read_joint(file).members]
        joint = Net(Name("joint", PLAIN, "all"), seed, file, sum(net.minutes for net in nets))
        return joint, f"Joint of seed {seed}: {' + '.join(parts)}"

    def rows(self, net: Net) -> Iterator[Row]:
        """What the table says of a net, one row for each number of crops."""
        classifier = ExpressionClassifier.load(net.weights, device=self.device)
        records = _records(net.weights)
        parameters = sum(_parameters(record) for record in records)
        for tta in STATIC_TTA:
            classifier.tta, crops = tta, VIEW_COUNT[tta]
            right, ms_per_face = self._read(classifier)
            yield Row(
                net.name,
                net.seed,
                crops,
                parameters,
                sum(flops(record, tta) for record in records),
                ms_per_face,
                float(right.mean()),
                float(right[self.unseen].mean()),
                tuple(float(right[of].mean()) for of in self.of_class),
                net.minutes,
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


def main(arguments: list[str] | None = None) -> list[Row]:
    """Write the page and print it; returns what its first table is made of."""
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--recipe", type=Path, nargs="+", default=RECIPES, help="first: ablated")
    parser.add_argument("--epochs", type=int, help="instead of the recipes' own")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--max-minutes", type=float, default=float("inf"), help="of training")
    given = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(given)
    end_s = time.monotonic() + 60 * chosen.max_minutes

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    ablation = Ablation(chosen.data, chosen.out, chosen.device)
    nets: list[Net] = []
    joints: list[str] = []
    missing: list[str] = []
    for seed in chosen.seed:
        of_seed = plans(chosen.recipe, chosen.epochs, seed)
        trained = [net for plan in of_seed if (net := ablation.train(plan, end_s, say))]
        nets += trained
        names = {net.name for net in trained}
        missing += [f"{plan.name}, seed {seed}" for plan in of_seed if plan.name not in names]
        if len(trained) == len(of_seed):
            say(f"joint, seed {seed}")
            alike = [net for net in trained if (net.name.loss, net.name.augmentation) == JOINED]
            joint, parts = ablation.joint(alike)
            nets.append(joint)
            joints.append(parts)
    rows: list[Row] = []
    for net in nets:
        say(f"{net.name}, seed {net.seed}: reads PublicTest")
        rows += ablation.rows(net)
    machine = (
        torch.cuda.get_device_name()
        if chosen.device == "cuda"
        else f"{torch.get_num_threads()} CPU thread(s), times being those of the cores"
    )
    command = shlex.join(["python", "-m", "tests.bench.ablation", *given])
    each = tuple(int(of.sum()) for of in ablation.of_class)
    unseen = int(ablation.unseen.sum())
    setting = Setting(command, machine, BATCH, each, unseen, tuple(joints), tuple(missing))
    written = page(rows, setting)
    chosen.out.write_text(written)
    print(written)
    return rows


if __name__ == "__main__":
    main()
