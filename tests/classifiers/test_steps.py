"""Single steps of a training: how precisely they compute, how fast, and what they wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD

from classifiers.errors import TrainingError
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation import measure
from classifiers.expression.oom import explain_oom
from classifiers.expression.training import joining, train
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.training.compiling import compile_fault, why
from classifiers.expression.training.journal import Step
from classifiers.expression.training.recipe import Distillation, JointRecipe, Stage
from classifiers.expression.training.run import Run
from tests.classifiers.noise import FACES, PLAN, loss_of_three_steps
from tests.nets import save_tiny


@pytest.mark.parametrize(
    ("abilities", "low"),
    [
        ({"amx_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": True}, True),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_vnni": True}, False),
        ({}, False),
    ],
)
def test_a_processor_that_has_bfloat16_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, abilities: dict[str, bool], low: bool
) -> None:
    """Near float32 and not the same; without it the same as where torch does not tell."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities, raising=False)
    got = loss_of_three_steps()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    plain = loss_of_three_steps()
    assert (got != plain) is low
    assert got == pytest.approx(plain, rel=0.02)


def test_a_net_that_was_traced_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """To float32's rounding, and by one program; the slow test below lets torch compile it too."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    need_one_program_for_the_same_steps()


@pytest.mark.slow
def test_a_compiled_net_takes_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    if fault := compile_fault("cpu"):
        pytest.skip(fault)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    need_one_program_for_the_same_steps()


def need_one_program_for_the_same_steps() -> None:
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters["stats"]
    counters.clear()
    got = loss_of_three_steps(compiled=True)
    assert counters["unique_graphs"] == 1
    assert got == pytest.approx(loss_of_three_steps(), rel=1e-4)


@pytest.mark.parametrize("pressed", [False, True])
def test_a_compiler_that_fails_ends_the_run_with_a_word(
    monkeypatch: pytest.MonkeyPatch, pressed: bool
) -> None:
    """As a full disk makes it, or Ctrl-C in its minute, which ends the compiler as well."""
    run, stopped = Run(PLAN, FACES, "cpu"), False

    def fail(x: torch.Tensor) -> torch.Tensor:
        nonlocal stopped
        stopped = pressed
        raise torch._dynamo.exc.TorchDynamoException("C++ compile error\n\ncc1plus: error: no room")

    monkeypatch.setattr(run, "_forward", fail)
    if pressed:
        assert train._epoch(run, FACES, lambda: stopped, print, lambda: 0.0) is None
        return
    with pytest.raises(TrainingError, match="cannot be compiled: cc1plus: error: no room; the las"):
        train._epoch(run, FACES, lambda: stopped, print, lambda: 0.0)


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
    assert train.train(PLAN, fer, tmp_path, max_minutes=0.0) is None
    monkeypatch.setattr(where, what, fails_with(error))
    with pytest.raises(
        TrainingError, match=r"device is full: end .* and begin anew; the last stat"
    ):
        train.train(PLAN, fer, tmp_path, resume=True)


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


def test_faces_are_changed_less_in_a_stage_of_less_strength() -> None:
    """At half strength as by half of every change, and so at none."""
    halved = Augmentation(*(value / 2 for value in astuple(Augmentation())))
    weaker = (Stage(0.0, 44, strength=0.5),)
    assert loss_of_three_steps(stages=weaker) == loss_of_three_steps(augmentation=halved)
    assert loss_of_three_steps(stages=weaker) != loss_of_three_steps()


def test_images_per_s_are_those_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step takes a second here, the holdout a thousand."""
    now_s = 0.0

    def takes(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            nonlocal now_s
            now_s += seconds
            return work(*given)

        return timed

    monkeypatch.setattr(Run, "one_step", takes(1.0, Run.one_step))
    monkeypatch.setattr(train, "probabilities", takes(1000.0, measure.probabilities))
    run = Run(PLAN, FACES, "cpu")
    seen: list[Step] = []
    done = train._epoch(run, FACES, lambda: False, seen.append, lambda: now_s)
    assert [step.step for step in seen] == [1, 2, 3, 4]  # each takes longer than REPORT_S
    assert seen[-1] == done
    assert {step.images_per_s for step in seen} == {PLAN.batch}
    assert [step.holdout is not None for step in seen] == [False, False, False, True]


def test_steps_are_reported_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report of a card's loss waits for all that it was told to do."""
    now_s = 0.0
    step = Run.one_step

    def quick(run: Run, order: torch.Tensor) -> None:
        nonlocal now_s
        step(run, order)
        now_s += 0.2

    monkeypatch.setattr(Run, "one_step", quick)
    run = Run(replace(PLAN, batch=6), FACES, "cpu")
    seen: list[Step] = []
    train._epoch(run, FACES, lambda: False, seen.append, lambda: now_s)
    assert [step.step for step in seen] == [3, 6, 9, 10]


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
