"""Training on a graphics card: what a step computes and waits for, and that a run goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from classifiers import checkpoint
from classifiers.expression.training.recipe import Distillation
from classifiers.expression.training.run import Run
from classifiers.expression.training.train import train
from tests.classifiers import bars
from tests.classifiers.noise import FACES, PLAN
from tests.nets import save_tiny


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "adaptive"},
        {"optimizer": "muon"},
        {"mixup": 0.2},
        {"distillation": Distillation("tiny.safetensors", views="same")},
        {"distillation": Distillation("tiny.safetensors", views="ten_crop")},
    ],
    ids=str,
)
def test_no_step_waits_for_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """But the first, which makes what the others use."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors")
    run = Run(replace(PLAN, **changes), FACES, "cuda")
    if run.teacher:
        run.teacher.read()
    order = run.order()
    run.one_step(order)
    try:
        torch.cuda.set_sync_debug_mode("error")
        run.one_step(order)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_a_compiled_net_on_the_card_keeps_its_sums_and_its_average() -> None:
    """Though each step is a replay in the same memory: to the rounding, that of the plain net."""
    runs = [Run(PLAN, FACES, "cuda", by_compiled=by) for by in (False, True)]
    for run in runs:
        for _ in range(run.steps):
            run.one_step(run.order())
    plain, fast = runs
    assert torch.allclose(fast.sums[0], plain.sums[0], rtol=0.01)
    for one, other in zip(fast.ema.parameters(), plain.ema.parameters(), strict=True):
        assert torch.allclose(one, other, atol=0.01)
    assert torch.backends.cudnn.benchmark


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd"},
        {"optimizer": "muon"},
        {"distillation": Distillation("tiny.safetensors", views="ten_crop")},
    ],
    ids=str,
)
def test_a_state_is_gone_on_with_on_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """It is read to the processor first."""
    monkeypatch.chdir(tmp_path)
    save_tiny(tmp_path / "tiny.safetensors")
    recipe = replace(PLAN, **changes)
    first = Run(recipe, FACES, "cuda")
    if first.teacher:
        first.teacher.read()
    first.one_step(first.order())
    first.store(tmp_path / "last.pt")
    again = Run(recipe, FACES, "cuda", resume=True)
    again.restore(tmp_path / "last.pt")
    for one, other in zip(first.net.parameters(), again.net.parameters(), strict=True):
        assert other.is_cuda
        assert torch.equal(other, one)
    again.one_step(again.order())
    assert again.step == 2
    assert again.sums.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize("views", ["same", "ten_crop"])
def test_a_graphics_card_trains_and_resumes(
    fer: Path, tmp_path: Path, views: Literal["same", "ten_crop"]
) -> None:
    """1. A net. 2. One that it teaches is stopped and resumed."""
    teacher = train(replace(bars.PLAN, epochs=1), fer, tmp_path / "teacher", device="cuda")
    taught = Distillation(str(teacher), views=views)
    plan = replace(bars.PLAN, epochs=2, mixup=0.2, distillation=taught)
    ticks = count()
    part = tmp_path / "part"
    train(plan, fer, part, device="cuda", max_minutes=0.5, clock=lambda: float(next(ticks)))
    weights = train(plan, fer, part, device="cuda", resume=True)
    assert weights is not None
    assert checkpoint.read_record(weights).scores["public_ten_crop"] > 2 / 7
