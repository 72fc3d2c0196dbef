"""One training run: the net, its average, the optimizers, and the step that changes them.

Everything random in a step is drawn from generators seeded by (seed, step), so a run that was
stopped and resumed draws the same as one that was not, and on a CPU takes the same steps.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from classifiers.atomic import write_atomic, write_errors_as
from classifiers.errors import CheckpointError, DataError, TrainingError
from classifiers.expression.architectures import FaceNet, build
from classifiers.expression.data import Faces
from classifiers.expression.engines.cuda import has_bfloat16, whole_float32
from classifiers.expression.oom import is_oom
from classifiers.expression.provenance import joined, own
from classifiers.expression.training import optimizers
from classifiers.expression.training.augment import augment, mix
from classifiers.expression.training.compiling import compiled
from classifiers.expression.training.loss import LOSSES, one_hot
from classifiers.expression.training.matmul_conv import use_matmul_gradients
from classifiers.expression.training.recipe import Recipe, differences
from classifiers.expression.training.teacher import Teacher
from classifiers.expression.training.widen import begin_with
from classifiers.expression.weight_files import locate

UNREADABLE = (
    OSError,
    EOFError,
    UnpicklingError,
    RuntimeError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What reading a file that is no state of training, or only the beginning of one, raises."""


class Run:
    """All that a step changes, and the data it is fed from.

    The whole data set lies on the device, uint8; `ema` is the average that is kept in the end.
    `fingerprint` is that of the data set; `data_sha256` and `learnt_from` are what the net's record
    will say. With `resume` the recipe's `start` is not read, since `restore` is to follow. `sums`
    are the loss and the right guesses of this epoch's steps until now, float32 [2] on the device.
    `computes` names device, number format and compiler; runs that differ in it end with other
    weights. `log` is told what is not as wished of the teacher.
    """

    def __init__(
        self,
        recipe: Recipe,
        faces: Faces,
        device: str,
        fingerprint: str = "",
        resume: bool = False,
        by_compiled: bool = False,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        whole_float32(device)  # the holdout is read as precisely as on a processor
        if device == "cuda":
            torch.backends.cudnn.benchmark = True  # a run has few shapes, and thousands of steps
        self.recipe = recipe
        self.device = device
        self.images = torch.from_numpy(faces.images).to(device)
        self.labels = torch.from_numpy(faces.labels).to(device)
        self.learnt_from: dict[str, str] = {}
        net = build(recipe.architecture, recipe.options)
        if recipe.start and not resume:
            self.learnt_from[recipe.start] = begin_with(
                net, locate(recipe.start), recipe.architecture, recipe.options
            )
        self.net = net.to(device).to(memory_format=torch.channels_last)
        self.ema = deepcopy(self.net)
        self.dtype = torch.bfloat16 if _has_bfloat16(device) else torch.float32
        if device == "cpu":
            use_matmul_gradients(self.net)
        self._forward = compiled(self.net, device) if by_compiled else self.net
        self._average = get_ema_multi_avg_fn(recipe.ema_decay)  # type: ignore[no-untyped-call]
        self._averaged = _floats(self.ema), _floats(self.net)
        self.optimizers = optimizers.make(self.net, recipe, device)
        self.computes = f"{device} in {str(self.dtype).removeprefix('torch.')}"
        self.computes += ", compiled" if by_compiled else ""
        if device == "cpu":  # sums are of other parts
            self.computes += f", threads: {torch.get_num_threads()}"
        self.step = 0
        self.sums = torch.zeros(2, device=device)
        self.per_epoch = len(self.images) // recipe.batch
        if not self.per_epoch:
            raise DataError(
                f"{len(self.images)} images to train on; accepted are at least one batch, "
                f"{recipe.batch}"
            )
        self.steps = self.per_epoch * recipe.epochs
        plan = recipe.distillation
        self.teacher = Teacher(plan, self.images, device, log) if plan else None
        if plan and self.teacher:
            self.learnt_from[plan.teacher] = self.teacher.sha256
        self.data_sha256 = joined(self.learnt_from, fingerprint)

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine to zero (Loshchilov & Hutter, arXiv:1608.03983)."""
        warmup = self.recipe.warmup_epochs * self.per_epoch
        if self.step < warmup:
            return self.recipe.learning_rate * min(self.step + 1, warmup) / warmup
        done = (self.step - warmup) / max(1.0, self.steps - warmup)
        return self.recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))

    def one_step(self, order: torch.Tensor) -> None:
        """Take one step, and add its loss and number of right guesses to `sums`."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        at = self.step % self.per_epoch * recipe.batch
        chosen = order[at : at + recipe.batch]
        stage = recipe.stage(self.step // self.per_epoch)
        how = recipe.augmentation.weakened(stage.strength)
        x = augment(self.images[chosen], recipe.field_px, stage.out_px, how)
        labels = self.labels[chosen]
        targets = one_hot(labels)  # [N, 7]
        if self.teacher:
            targets = self.teacher.of_faces(targets, chosen)
        if recipe.mixup:
            x, targets = mix(x, targets, recipe.mixup)
        x = x.contiguous(memory_format=torch.channels_last)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate()
        self.net.zero_grad(set_to_none=True)  # a compiled net may overwrite gradients that stay
        with torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            if self.teacher:
                targets = self.teacher.of_views(targets, x)
            logits = self._forward(x)
        loss = LOSSES[recipe.loss](logits.float(), targets, recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            if self.step == 0:  # The weights that a run begins with are not averaged.
                for mean, now in zip(*self._averaged, strict=True):
                    mean.copy_(now)
            else:
                self._average(*self._averaged, None)
            hits = (logits.argmax(1) == labels).sum()
            self.sums += torch.stack([loss.detach(), hits])
        self.step += 1

    def order(self) -> torch.Tensor:
        """This epoch's order of the images, the same in every run of one seed."""
        epoch = self.step // self.per_epoch
        shuffle = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.images), generator=shuffle).to(self.device)

    def need_numbers(self) -> None:
        """Raise TrainingError where the loss of a step of this epoch was not a number."""
        self._need_finite("the loss is not a number", [self.sums])

    def half(self) -> FaceNet:
        """The averaged net as it is stored, in float16, and read, in float32.

        Raises TrainingError where float16 does not hold it.
        """
        net = deepcopy(self.ema).half().float()
        self._need_finite("a weight is too large for float16", _floats(net))
        return net

    def _need_finite(self, fault: str, numbers: list[torch.Tensor]) -> None:
        if not all(some.isfinite().all() for some in numbers):
            raise TrainingError(
                f"{fault} by step {self.step}: lower learning_rate in the recipe "
                "and begin anew with another --out; the last state, if there was one, was kept"
            )

    def store(self, path: Path) -> None:
        """Write the state, whole or not at all.

        Raises TrainingError if it cannot be written, or holds what is not a number.
        """
        self.need_numbers()
        average, now = self._averaged
        # What the last step did shows in no loss yet.
        self._need_finite("a weight is not a number", [*now, *average])
        state = {
            "recipe": asdict(self.recipe),
            "data_sha256": self.data_sha256,
            "computes": self.computes,
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "sums": self.sums,
            "teacher": self.teacher and self.teacher.sha256,
            "taught": self.teacher and self.teacher.said,
            "learnt_from": self.learnt_from,
        }
        content = io.BytesIO()
        torch.save(state, content)
        with write_errors_as(path, TrainingError):
            write_atomic(path, content.getvalue())

    def restore(self, path: Path) -> str:
        """Go on from a stored state, and return its `computes`.

        Raises CheckpointError for none, or one of another recipe, data set or teacher.
        """
        try:
            # Not to the device, which need not have the room for a second copy.
            state = torch.load(path, map_location="cpu", weights_only=True)
            stored, trained_on = state["recipe"], state["data_sha256"]
            differ = differences(stored, self.recipe)
            teacher, taught = state["teacher"], state["taught"]
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no state to resume from") from None
        except UNREADABLE as error:
            raise CheckpointError(f"{path}: not a state of training") from error
        if differ:
            raise CheckpointError(
                f"{path}: belongs to another recipe: {differ}; resume with its own"
            )
        its_own, given = own(trained_on), own(self.data_sha256)
        if its_own != given:
            raise CheckpointError(
                f"{path}: belongs to a data set whose fingerprint begins with {its_own[:7]}, "
                f"this one's begins with {given[:7]}; resume with its own"
            )
        self.data_sha256 = trained_on
        if self.teacher and teacher != self.teacher.sha256:
            raise CheckpointError(f"{path}: was taught by another net; resume with its own")
        try:
            self.step = int(state["step"])
            self.net.load_state_dict(state["net"])
            self.ema.load_state_dict(state["ema"])
            for optimizer, its in zip(self.optimizers, state["optimizers"], strict=True):
                # The groups are the recipe's, and how they are computed is the device's.
                groups = optimizer.state_dict()["param_groups"]
                optimizer.load_state_dict({**its, "param_groups": groups})
            self.sums = state["sums"].to(self.device)
            if self.teacher and taught is not None:
                self.teacher.said = taught.to(self.device)
            self.learnt_from = state["learnt_from"]
            return str(state["computes"])
        except UNREADABLE as error:
            if is_oom(error):
                raise
            raise CheckpointError(f"{path}: not a state of training") from error


def _has_bfloat16(device: str) -> bool:
    """On a graphics card that has it, and on a processor with instructions for it, AMX's or
    AVX-512's: what emulates bfloat16 is slower than float32."""
    if device == "cuda":
        return has_bfloat16()
    if not hasattr(torch.cpu, "get_capabilities"):  # torch 2.11 does not tell
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def _floats(net: nn.Module) -> list[torch.Tensor]:
    """What of a net can be averaged: parameters, and means and variances of normalisations."""
    return [t for t in (*net.parameters(), *net.buffers()) if t.is_floating_point()]
