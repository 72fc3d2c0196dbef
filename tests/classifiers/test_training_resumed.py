"""Runs that are stopped and gone on with, and what is not gone on with or written over."""

from __future__ import annotations

import signal
import threading
from csv import DictReader
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from classifiers import checkpoint
from classifiers.errors import CheckpointError
from classifiers.expression.training.interrupt import Interrupted, between_steps
from classifiers.expression.training.loss import LOSSES
from classifiers.expression.training.run import Run
from classifiers.expression.training.train import STORE_S, train
from tests.classifiers.bars import PLAN, write_bars
from tests.fer import load_split


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_stopped_and_resumed_is_as_if_never_stopped(
    fer: Path, tmp_path: Path, optimizer: Literal["sgd", "muon"]
) -> None:
    """1. Train three epochs at once. 2. Train until a clock says stop, resume. 3. Compare."""
    plan = replace(PLAN, epochs=3, optimizer=optimizer)
    train(plan, fer, tmp_path / "whole")
    ticks = count()
    part = tmp_path / "part"
    stopped = train(plan, fer, part, max_minutes=0.5, clock=lambda: float(next(ticks)))
    assert stopped is None
    assert train(plan, fer, part, resume=True) is not None
    same_state(tmp_path / "whole", part)


def test_a_run_that_goes_on_in_other_numbers_says_so(fer: Path, tmp_path: Path) -> None:
    """As one begun with --compile or on another machine; its record names the last."""
    plan = replace(PLAN, epochs=1)
    train(plan, fer, tmp_path, max_minutes=0.0)
    same: list[str] = []
    train(plan, fer, tmp_path, max_minutes=0.0, resume=True, log=same.append)
    assert not any("WARNING" in line for line in same)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    now = state["computes"]
    assert now.endswith(f", threads: {torch.get_num_threads()}")
    torch.save({**state, "computes": "cpu in float16, compiled"}, tmp_path / "last.pt")
    told: list[str] = []
    weights = train(plan, fer, tmp_path, resume=True, log=told.append)
    assert (
        "WARNING: the run was computed on cpu in float16, compiled before; its weights will not "
        "repeat" in told
    )
    assert weights is not None
    assert checkpoint.read_record(weights).computed == now


def same_state(one: Path, other: Path) -> None:
    states = [torch.load(folder / "last.pt", weights_only=True) for folder in (one, other)]
    assert states[0]["step"] == states[1]["step"]
    for part in ("net", "ema"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name
    assert torch.equal(states[0]["sums"], states[1]["sums"])
    assert logged(one) == logged(other)


def logged(folder: Path) -> list[dict[str, str]]:
    """The lines of the log, but for how fast it went."""
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "images_per_s"} for row in DictReader(file)]


def press_ctrl_c(monkeypatch: pytest.MonkeyPatch, step: int, times: int = 1) -> None:
    """Send SIGINT in the middle of a step, counted from 1."""
    taken = count(1)
    loss = LOSSES["cross_entropy"]

    def interrupted(*given: Any) -> torch.Tensor:
        if next(taken) == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return loss(*given)

    monkeypatch.setitem(LOSSES, "cross_entropy", interrupted)


def test_ctrl_c_waits_for_the_end_of_a_step(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Train at once. 2. Press Ctrl-C within a step, resume: nothing of it was done by half.
    3. Press it twice: the state of the epoch before stays, which took a while."""
    plan = replace(PLAN, epochs=2)
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(plan, fer, whole)
    before = signal.getsignal(signal.SIGINT)

    with monkeypatch.context() as patch:
        press_ctrl_c(patch, step=7)
        with pytest.raises(Interrupted):
            train(plan, fer, part)
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(part / "last.pt", weights_only=True)["step"] == 7

    per_epoch = torch.load(whole / "last.pt", weights_only=True)["step"] // 2
    late_s = count(0.0, STORE_S)
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, step=per_epoch - 7 + 3, times=2)
        with pytest.raises(KeyboardInterrupt):
            train(plan, fer, part, resume=True, clock=lambda: next(late_s))
    assert signal.getsignal(signal.SIGINT) is before
    assert torch.load(part / "last.pt", weights_only=True)["step"] == per_epoch

    assert train(plan, fer, part, resume=True) is not None
    same_state(whole, part)
    assert (part / "log.csv").read_text().count("\n") == 3


def test_a_run_that_was_killed_after_quick_epochs_goes_on_from_the_last_state(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A run is stopped in its second epoch. 2. It goes on, and is killed in its fourth, before a
    state was written again. 3. It goes on from the first state, and logs no epoch twice."""
    plan = replace(PLAN, epochs=4)
    whole, part = tmp_path / "whole", tmp_path / "part"
    train(plan, fer, whole)
    per_epoch = torch.load(whole / "last.pt", weights_only=True)["step"] // 4
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, step=per_epoch + 7)
        with pytest.raises(Interrupted):
            train(plan, fer, part)
    state = (part / "last.pt").read_bytes()
    with monkeypatch.context() as patch:
        press_ctrl_c(patch, step=2 * per_epoch, times=2)
        with pytest.raises(KeyboardInterrupt):
            train(plan, fer, part, resume=True, clock=lambda: 0.0)
    assert (part / "last.pt").read_bytes() == state
    assert (part / "log.csv").read_text().count("\n") == 4

    assert train(plan, fer, part, resume=True, max_minutes=0.0) is None
    assert (part / "log.csv").read_text().count("\n") == 2
    assert train(plan, fer, part, resume=True) is not None
    same_state(whole, part)
    assert (part / "log.csv").read_text().count("\n") == 5


def test_a_state_is_stored_when_the_last_one_is_old(
    fer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step takes so long that two epochs, but not one, take STORE_S."""
    stored: list[int] = []
    now_s = 0.0
    store, step = Run.store, Run.one_step

    def noted(run: Run, path: Path) -> None:
        stored.append(run.step // run.per_epoch)
        store(run, path)

    def slow(run: Run, order: torch.Tensor) -> None:
        nonlocal now_s
        step(run, order)
        now_s += 0.6 * STORE_S / run.per_epoch

    monkeypatch.setattr(Run, "store", noted)
    monkeypatch.setattr(Run, "one_step", slow)
    assert train(replace(PLAN, epochs=5), fer, tmp_path, clock=lambda: now_s)
    assert stored == [2, 4, 5]


def test_a_run_outside_the_main_thread_leaves_ctrl_c_alone() -> None:
    seen = []

    def work() -> None:
        with between_steps() as pressed:
            seen.append((signal.getsignal(signal.SIGINT), pressed()))

    thread = threading.Thread(target=work, name="trainer")
    thread.start()
    thread.join(60)
    assert seen == [(signal.getsignal(signal.SIGINT), False)]


def test_resuming_with_another_recipe_or_from_nothing_is_an_error(
    fer: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no state to resume"):
        train(PLAN, fer, tmp_path, resume=True)
    train(replace(PLAN, epochs=1), fer, tmp_path)
    with pytest.raises(CheckpointError, match="another recipe: epochs was 1, is 8; resume with i"):
        train(PLAN, fer, tmp_path, resume=True)


def test_resuming_from_what_is_no_state_is_an_error(fer: Path, tmp_path: Path) -> None:
    plan, state = replace(PLAN, epochs=1), tmp_path / "last.pt"
    train(plan, fer, tmp_path, max_minutes=0.0)
    whole = state.read_bytes()
    for content in (whole[:-200], b"", b"hello"):
        state.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"last\.pt: not a state of training"):
            train(plan, fer, tmp_path, resume=True)
    state.write_bytes(whole)
    good = torch.load(state, weights_only=True)
    run = Run(plan, load_split(fer, "train"), "cpu", good["data_sha256"])
    parts = [{k: v for k, v in good.items() if k != key} for key in good]
    for foreign in (*parts, {"net": 3}, [1]):
        torch.save(foreign, state)
        with pytest.raises(CheckpointError, match=r"last\.pt: not a state of training"):
            run.restore(state)


def test_resuming_on_other_data_is_an_error(fer: Path, tmp_path: Path) -> None:
    train(PLAN, fer, tmp_path / "out", max_minutes=0.0)
    other = write_bars(tmp_path / "other", train=40, public=1)
    with pytest.raises(CheckpointError, match=r"last\.pt: belongs to a data set whose fingerpr"):
        train(PLAN, other, tmp_path / "out", resume=True)


def test_a_folder_with_a_run_is_left_as_it_is_without_resume(fer: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1)
    train(plan, fer, tmp_path, max_minutes=0.0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="holds a run already; accepted: --resume, or anot"):
        train(plan, fer, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_weights_whose_state_was_deleted_are_not_replaced(fer: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1)
    weights = train(plan, fer, tmp_path)
    assert weights is not None
    (tmp_path / "last.pt").unlink()
    written = weights.read_bytes()
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(replace(plan, seed=9), fer, tmp_path)
    assert weights.read_bytes() == written


def test_resuming_a_finished_run_writes_the_same_weights_again(fer: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, epochs=1)
    weights = train(plan, fer, tmp_path)
    assert weights is not None
    written, logged = weights.read_bytes(), (tmp_path / "log.csv").read_text()
    weights.unlink()
    assert train(plan, fer, tmp_path, resume=True) == weights
    assert weights.read_bytes() == written
    assert (tmp_path / "log.csv").read_text() == logged
