"""Trainings that cannot go on: what they say, and what they leave."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers.errors import TrainingError
from classifiers.expression.training.loss import LOSSES
from classifiers.expression.training.run import Run
from classifiers.expression.training.train import train
from tests.classifiers.bars import PLAN


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
