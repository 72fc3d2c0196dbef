"""Train one expression net: `affectd train expression`.

Everything random in a step is drawn from generators seeded by (seed, step), so a run that was
stopped and resumed takes the same steps as one that was not.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from classifiers import checkpoint
from classifiers.errors import CheckpointError, DataError, TrainingError
from classifiers.expression import LABELS, data
from classifiers.expression.evaluation.measure import accuracy, fit_temperature, probabilities
from classifiers.expression.models import build
from classifiers.expression.training.augment import augment
from classifiers.expression.training.recipe import Recipe

STATE = "last.pt"
WEIGHTS = "best.safetensors"
LOG = "log.csv"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after a step (`holdout` is None) or at the end of an epoch."""

    epoch: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_s: float
    holdout: float | None = None


def train(
    recipe: Recipe,
    source: Path,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    max_minutes: float | None = None,
    commit: str = "",
    report: Callable[[Progress], None] = lambda progress: None,
    clock: Callable[[], float] = time.monotonic,
) -> Path | None:
    """Train by `recipe` on the FER2013 at `source`; leave state, log and weights in `out`.

    Returns the weights' path, or None when `max_minutes` or KeyboardInterrupt ended the run
    early: its state is then in `out`, for `resume`. Raises DataError, CheckpointError, and
    TrainingError when the loss is not a number.
    """
    out.mkdir(parents=True, exist_ok=True)
    end_s = math.inf if max_minutes is None else clock() + 60.0 * max_minutes
    held = data.load(source, "holdout")
    run = _Run(recipe, data.load(source, "train"), device)
    if resume:
        run.restore(out / STATE)
    finished = False
    try:
        while not finished and clock() < end_s:
            finished = _epoch(run, held, out, end_s, report, clock)
    except KeyboardInterrupt:
        pass
    run.store(out / STATE)
    if not finished:
        return None
    return _finish(run, source, held, out, commit)


class _Run:
    """All that a step changes, and the data it is fed from."""

    def __init__(self, recipe: Recipe, faces: data.Faces, device: str) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.images = torch.from_numpy(faces.images).to(device)
        self.labels = torch.from_numpy(faces.labels).to(device)
        net = build(recipe.architecture, recipe.options)
        self.net = net.to(device).to(memory_format=torch.channels_last)
        self.ema = AveragedModel(
            self.net,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay),  # type: ignore[no-untyped-call]
            use_buffers=True,
        )
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.SGD(
            [
                {"params": decayed, "weight_decay": recipe.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=True,
        )
        self.step = 0
        self.per_epoch = len(self.images) // recipe.batch
        if not self.per_epoch:
            raise DataError(
                f"{len(self.images)} images to train on; accepted are at least one batch, "
                f"{recipe.batch}"
            )
        self.steps = self.per_epoch * recipe.epochs

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to zero (Loshchilov & Hutter, arXiv:1608.03983)."""
        warmup = self.recipe.warmup_epochs * self.per_epoch
        if self.step < warmup:
            return self.recipe.learning_rate * (self.step + 1) / warmup
        done = (self.step - warmup) / max(1.0, self.steps - warmup)
        return self.recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))

    def one_step(self, order: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step; returns loss and number of right guesses, scalars on the device."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        at = self.step % self.per_epoch * recipe.batch
        chosen = order[at : at + recipe.batch]
        out_px = recipe.out_px(self.step // self.per_epoch)
        x = augment(self.images[chosen], recipe.field_px, out_px, recipe.augmentation)
        y = self.labels[chosen]
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            logits = self.net(x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), y, label_smoothing=recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.ema.update_parameters(self.net)
        self.step += 1
        return loss.detach(), (logits.argmax(1) == y).sum()

    def order(self) -> torch.Tensor:
        """This epoch's order of the images, the same in every run of one seed."""
        epoch = self.step // self.per_epoch
        shuffle = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.images), generator=shuffle).to(self.device)

    def store(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        state = {
            "recipe": repr(self.recipe),
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no state to resume from") from None
        if state["recipe"] != repr(self.recipe):
            raise CheckpointError(f"{path}: belongs to another recipe; resume with its own")
        self.step = int(state["step"])
        self.net.load_state_dict(state["net"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])


def _epoch(
    run: _Run,
    held: data.Faces,
    out: Path,
    end_s: float,
    report: Callable[[Progress], None],
    clock: Callable[[], float],
) -> bool:
    """Train to the end of the epoch, or to `end_s`; returns whether the whole run is done."""
    run.net.train()
    order = run.order()
    epoch = run.step // run.per_epoch
    loss_sum = torch.zeros((), device=run.device)
    right = torch.zeros((), device=run.device)
    started_s, first = clock(), run.step

    def progress(holdout: float | None = None) -> Progress:
        steps = run.step - first
        loss = loss_sum.item() / steps
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} in epoch {epoch + 1}, step {run.step}: "
                "lower learning_rate in the recipe; the last state was kept"
            )
        seen = steps * run.recipe.batch
        rate = seen / max(1e-9, clock() - started_s)
        return Progress(epoch, run.step, run.steps, loss, right.item() / seen, rate, holdout)

    while run.step < (epoch + 1) * run.per_epoch:
        if clock() >= end_s:
            return False
        loss, hits = run.one_step(order)
        loss_sum += loss
        right += hits
        if run.step % 20 == 0:
            report(progress())
    holdout = accuracy(probabilities(run.ema, held, run.recipe.field_px, "flip", run.device), held)
    done = progress(holdout)
    report(done)
    _log(out / LOG, done, run.learning_rate())
    run.store(out / STATE)
    return run.step >= run.steps


def _log(path: Path, done: Progress, learning_rate: float) -> None:
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(
                ["epoch", "loss", "accuracy", "holdout", "learning_rate", "images_per_s"]
            )
        numbers = [done.loss, done.accuracy, done.holdout, learning_rate, done.images_per_s]
        writer.writerow([done.epoch + 1, *(f"{number:.5f}" for number in numbers)])


def _finish(run: _Run, source: Path, held: data.Faces, out: Path, commit: str) -> Path:
    """Calibrate on the holdout, score, and write weights with their record."""
    net = run.ema.module
    assert isinstance(net, nn.Module)
    recipe = run.recipe
    temperature = fit_temperature(
        probabilities(net, held, recipe.field_px, "ten_crop", run.device), held
    )
    scores = {}
    public = data.load(source, "public")
    for tta in ("none", "flip", "ten_crop"):
        for name, faces in (("holdout", held), ("public", public)):
            guessed = probabilities(net, faces, recipe.field_px, tta, run.device, temperature)
            scores[f"{name}_{tta}"] = round(accuracy(guessed, faces), 5)
    weights = out / WEIGHTS
    record = checkpoint.Record(
        name=recipe.architecture,
        family="expression",
        architecture=recipe.architecture,
        options=recipe.options,
        labels=list(LABELS),
        input_px=data.FACE_PX,
        crop_px=recipe.field_px,
        normalisation="per_crop",
        temperature=round(temperature, 4),
        unknown_below=0.4,
        data_set="FER2013 Training, less holdout and blank images",
        data_sha256=data.fingerprint(source),
        recipe=asdict(recipe),
        seed=recipe.seed,
        commit=commit,
        scores=scores,
    )
    checkpoint.save(weights, net, record, dtype=torch.float16)
    return weights
