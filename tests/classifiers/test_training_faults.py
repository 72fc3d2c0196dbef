"""Trainings that cannot begin or go on: what they say, and what they leave."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD

from classifiers.errors import DataError, TrainingError
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.oom import explain_oom
from classifiers.expression.training import joining
from classifiers.expression.training.compiling import why
from classifiers.expression.training.journal import Step
from classifiers.expression.training.loss import LOSSES
from classifiers.expression.training.recipe import JointRecipe
from classifiers.expression.training.run import Run
from classifiers.expression.training.train import _epoch, train
from tests.classifiers import noise
from tests.classifiers.bars import PLAN
from tests.nets import save_tiny


@pytest.mark.parametrize("name", ["last.pt", "log.csv"])
def test_a_full_disk_ends_with_a_word_and_the_last_state_stays(
    fer: Path, tmp_path: Path, name: str
) -> None:
    """1. Stop. 2. Resume on a full disk. 3. Resume where there is room: nothing is missing."""
    plan = replace(PLAN, epochs=1)
    train(plan, fer, tmp_path, max_minutes=0.0)
    before = (tmp_path / "last.pt").read_bytes()
    (tmp_path / f".{name}.part").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=f"{name}: cannot be written: No space left on device"):
        train(plan, fer, tmp_path, resume=True)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*.part"))
    assert train(plan, fer, tmp_path, resume=True)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_a_loss_that_is_not_a_number_stops_with_a_word(fer: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower learning_rate .* and begin anew with another"):
        train(replace(PLAN, learning_rate=1e30, warmup_epochs=0.0), fer, tmp_path)


def test_a_loss_that_is_not_a_number_is_not_stored(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A run is stopped. 2. It goes on, and is stopped by Ctrl-C right after such a loss."""
    plan = replace(PLAN, epochs=1)
    train(plan, fer, tmp_path, max_minutes=0.0)
    before = (tmp_path / "last.pt").read_bytes()
    loss = LOSSES["cross_entropy"]

    def infinite(*given: Any) -> torch.Tensor:
        signal.raise_signal(signal.SIGINT)
        return loss(*given) * math.inf

    monkeypatch.setitem(LOSSES, "cross_entropy", infinite)
    with pytest.raises(TrainingError, match=r"the loss is not a number by step 1: .* was kept"):
        train(plan, fer, tmp_path, resume=True)
    assert (tmp_path / "last.pt").read_bytes() == before


@pytest.mark.parametrize(("epochs", "seen_in"), [(1, "a weight"), (2, "the loss")])
def test_a_net_that_a_step_broke_is_not_stored(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, seen_in: str
) -> None:
    """Its loss was taken before. 1. A run is stopped. 2. The last step of an epoch goes wrong."""
    plan = replace(PLAN, epochs=epochs)
    train(plan, fer, tmp_path, max_minutes=0.0)
    before = (tmp_path / "last.pt").read_bytes()
    set_a_weight(monkeypatch, "net", math.nan)
    with pytest.raises(TrainingError, match=rf"{seen_in} is not a number by step \d+: .* was kept"):
        train(plan, fer, tmp_path, resume=True)
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not (tmp_path / "best.safetensors").exists()


def test_weights_that_float16_does_not_hold_are_not_written(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_a_weight(monkeypatch, "ema", 70_000.0)
    with pytest.raises(TrainingError, match="a weight is too large for float16 by step"):
        train(replace(PLAN, epochs=1), fer, tmp_path)
    assert not (tmp_path / "best.safetensors").exists()


def set_a_weight(monkeypatch: pytest.MonkeyPatch, net: str, value: float) -> None:
    """At the end of each epoch, the first of `net`."""
    step = Run.one_step

    def spoilt(run: Run, order: torch.Tensor) -> None:
        step(run, order)
        if run.step % run.per_epoch == 0:
            next(getattr(run, net).parameters()).data.view(-1)[0] = value

    monkeypatch.setattr(Run, "one_step", spoilt)


@pytest.mark.parametrize("pressed", [False, True])
def test_a_compiler_that_fails_ends_the_run_with_a_word(
    monkeypatch: pytest.MonkeyPatch, pressed: bool
) -> None:
    """As a full disk makes it, or Ctrl-C in its minute, which ends the compiler as well."""
    run, stopped = Run(noise.PLAN, noise.FACES, "cpu"), False

    def fail(x: torch.Tensor) -> torch.Tensor:
        nonlocal stopped
        stopped = pressed
        raise torch._dynamo.exc.TorchDynamoException("C++ compile error\n\ncc1plus: error: no room")

    monkeypatch.setattr(run, "_forward", fail)
    if pressed:
        assert _epoch(run, noise.FACES, lambda: stopped, print, lambda: 0.0) is None
        return
    with pytest.raises(TrainingError, match="cannot be compiled: cc1plus: error: no room; the las"):
        _epoch(run, noise.FACES, lambda: stopped, print, lambda: 0.0)


def fails_with(error: RuntimeError) -> Callable[..., None]:
    def fail(*given: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        (Run, "__init__", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.0 GiB.")),
        (Run, "one_step", RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")),
        (SGD, "load_state_dict", RuntimeError("CUDA error: out of memory\nand more")),
    ],
    ids=str,
)
def test_a_full_device_ends_a_run_with_a_word(
    fer: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: type,
    what: str,
    error: RuntimeError,
) -> None:
    """There is no card here to fill: torch is made to say what it says there."""
    assert train(noise.PLAN, fer, tmp_path, max_minutes=0.0) is None
    monkeypatch.setattr(where, what, fails_with(error))
    with pytest.raises(
        TrainingError, match=r"device is full: end .* and begin anew; the last stat"
    ):
        train(noise.PLAN, fer, tmp_path, resume=True)


def test_a_full_device_ends_the_making_of_a_joint_with_a_word(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = JointRecipe("joint", (str(save_tiny(tmp_path / "tiny.safetensors")),))
    error = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`")
    monkeypatch.setattr(ExpressionClassifier, "predict", fails_with(error))
    with pytest.raises(TrainingError, match=r"device is full: end .*, or take --device cpu"):
        joining.make(recipe, fer, tmp_path / "out")


def test_another_failure_of_a_device_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="illegal"), explain_oom(TrainingError, "stop"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_the_line_that_says_what_a_compiler_lacks() -> None:
    said = (
        "CppCompileError: C++ compile error\n\nCommand:\ng++ a.cpp\n\nOutput:\na.cpp:2:10: fatal "
    )
    lacks = "error: Python.h: No such file or directory"
    assert why(RuntimeError(f"{said}{lacks}\n    2 | #include")) == f"a.cpp:2:10: fatal {lacks}"
    assert why(RuntimeError("InvalidCxxCompiler: none\nmore")) == "InvalidCxxCompiler: none"


def test_data_without_public_test_is_refused_before_training(fer: Path, tmp_path: Path) -> None:
    (tmp_path / "fer").mkdir()
    (tmp_path / "fer" / "train").symlink_to(fer / "train")
    seen: list[Step] = []
    with pytest.raises(DataError, match="no PublicTest images"):
        train(replace(PLAN, epochs=1), tmp_path / "fer", tmp_path / "out", report=seen.append)
    assert not seen


def test_too_few_images_for_a_batch_are_an_error(fer: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one batch, 4096"):
        train(replace(PLAN, batch=4096), fer, tmp_path)
