"""That a step does all of what its recipe says, however it is computed."""

from __future__ import annotations

from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.training import run as run_module
from classifiers.expression.training.augment import Augmentation, augment
from classifiers.expression.training.compiling import compile_fault
from classifiers.expression.training.loss import one_hot
from classifiers.expression.training.recipe import Distillation, Stage
from classifiers.expression.training.run import Run
from tests.classifiers.noise import FACES, PLAN, loss_of_three_steps
from tests.nets import OPTIONS, save_tiny

on_python_3_13_0_too = pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")


def at_step(step: int, **changes: Any) -> Run:
    """A run of four steps an epoch that stands there."""
    run = Run(replace(PLAN, **changes), FACES, "cpu")
    run.step = step
    return run


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.1 / 8),  # of eight steps of warm-up
        (3, 0.1 / 2),
        (7, 0.1),  # the last of them
        (8, 0.1),
        (16, 0.1 * 0.75),  # a third of the way: half of 1 + cos 60°
        (20, 0.1 / 2),
        (24, 0.1 * 0.25),
        (31, 0.1 * 0.00427757),  # half of 1 + cos 172.5°
        (32, 0.0),
    ],
)
def test_the_learning_rate_climbs_in_a_line_and_falls_in_a_cosine(
    step: int, expected: float
) -> None:
    run = at_step(step, epochs=8, warmup_epochs=2.0, learning_rate=0.1)
    assert run.learning_rate() == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("warmup_epochs", [0.001, 0.3, 0.6])
def test_a_warm_up_ends_at_the_learning_rate_and_not_above(warmup_epochs: float) -> None:
    """Also one of less than a step, or of one and a part."""
    run = at_step(0, epochs=8, warmup_epochs=warmup_epochs, learning_rate=0.1)
    rates = []
    for step in range(run.steps):
        run.step = step
        rates.append(run.learning_rate())
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] == pytest.approx(0.1 / max(1.0, warmup_epochs * 4))


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_every_parameter_is_moved_at_the_rate_of_its_step(optimizer: str) -> None:
    run = at_step(1, optimizer=optimizer)
    run.one_step(run.order())
    rates = {group["lr"] for some in run.optimizers for group in some.param_groups}
    assert rates == {PLAN.learning_rate / 2}


def test_what_is_kept_is_the_average_over_steps() -> None:
    """From the first step on; also of what normalisation has seen."""
    run = Run(replace(PLAN, ema_decay=0.7), FACES, "cpu")
    order = run.order()
    run.one_step(order)
    by_hand = {name: value.clone() for name, value in run.net.state_dict().items()}
    begun = {name: value.clone() for name, value in by_hand.items()}
    for _ in range(3):
        run.one_step(order)
        for name, now in run.net.state_dict().items():
            if now.is_floating_point():
                by_hand[name] = 0.7 * by_hand[name] + 0.3 * now
    now = run.net.state_dict()
    for name, kept in run.ema.state_dict().items():
        if kept.is_floating_point():
            assert torch.allclose(kept, by_hand[name], rtol=1e-4, atol=1e-6), name
            assert not torch.allclose(kept, now[name], rtol=1e-4, atol=1e-6), name
            assert not torch.allclose(kept, begun[name], rtol=1e-4, atol=1e-6), name


Drawn = list[tuple[torch.Tensor, int, int, Augmentation]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """The batch that each step drew, with how many pixels, and how it was changed."""
    seen: Drawn = []

    def spy(faces: torch.Tensor, field_px: int, out_px: int, how: Augmentation) -> torch.Tensor:
        x = augment(faces, field_px, out_px, how)
        seen.append((x, field_px, out_px, how))
        return x

    monkeypatch.setattr(run_module, "augment", spy)
    return seen


def test_every_epoch_is_drawn_by_its_own_stage(drawn: Drawn) -> None:
    stages = (Stage(0.0, 36), Stage(0.25, 40, 0.5), Stage(0.5, 44, 0.25))
    how = Augmentation(rotate_deg=8.0, gamma=0.4)
    run = Run(replace(PLAN, epochs=4, stages=stages, field_px=42, augmentation=how), FACES, "cpu")
    while run.step < run.steps:
        run.one_step(run.order())
    expected = [(36, 1.0), (40, 0.5), (44, 0.25), (44, 0.25)]
    for epoch, (out_px, strength) in enumerate(expected):
        for x, field_px, px, changed in drawn[4 * epoch : 4 * epoch + 4]:
            assert x.shape == (16, 1, out_px, out_px)
            assert (field_px, px) == (42, out_px)
            assert astuple(changed) == tuple(strength * value for value in astuple(how))


def test_a_face_is_changed_anew_in_every_epoch(drawn: Drawn) -> None:
    """The same faces in the same order, but other draws; and the same draws in another run."""
    for _ in range(2):
        run = Run(replace(PLAN, epochs=2), FACES, "cpu")
        order = run.order()
        for step in (0, 1, 4):
            run.step = step
            run.one_step(order)
    first, second, later, again = (drawn[i][0] for i in (0, 1, 2, 3))
    assert not torch.equal(first, later)
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_how_a_step_is_computed_is_the_devices_and_not_the_states(tmp_path: Path) -> None:
    """A card's steps are fused; a processor's are not, nor where it goes on from a card's state."""
    path = tmp_path / "last.pt"
    run = Run(PLAN, FACES, "cpu")
    run.one_step(run.order())
    run.store(path)
    state = torch.load(path, weights_only=True)
    for group in state["optimizers"][0]["param_groups"]:
        group["fused"] = True
    torch.save(state, path)
    again = Run(PLAN, FACES, "cpu")
    again.restore(path)
    assert {group["fused"] for group in again.optimizers[0].param_groups} == {None}
    for one in (run, again):
        one.one_step(one.order())
    for name, value in run.net.state_dict().items():
        assert torch.equal(value, again.net.state_dict()[name]), name


def test_every_epoch_has_its_own_order_of_all_faces() -> None:
    orders = [at_step(step, epochs=2).order() for step in (0, 3, 4)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], at_step(0, seed=2).order())
    for order in orders:
        assert order.sort().values.tolist() == list(range(len(FACES.images)))


def test_a_step_takes_the_next_faces_of_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.Tensor] = []

    def spy(faces: torch.Tensor, *how: Any) -> torch.Tensor:
        taken.append(faces)
        return augment(faces, *how)

    monkeypatch.setattr(run_module, "augment", spy)
    run = Run(PLAN, FACES, "cpu")
    order = run.order()
    while run.step < run.steps:
        run.one_step(order)
    assert torch.equal(torch.cat(taken), run.images[order])


@pytest.mark.parametrize(
    "changes",
    [
        {"mixup": 0.2},
        {"label_smoothing": 0.0},
        {"loss": "adaptive"},
        {"optimizer": "muon"},
        {"learning_rate": 0.02},
        {"warmup_epochs": 0.0},
        {"weight_decay": 0.5},
        {"momentum": 0.0},
        {"seed": 2},
        {"field_px": 40},
        {"options": {**OPTIONS, "dropout": 0.5}},
    ],
    ids=str,
)
def test_what_a_recipe_says_is_heard(changes: dict[str, Any]) -> None:
    assert loss_of_three_steps(**changes) != loss_of_three_steps()


@pytest.mark.parametrize("changes", [{"share": 0.4}, {"temperature": 3.0}], ids=str)
@pytest.mark.parametrize("views", ["same", "ten_crop"])
def test_what_a_recipe_says_of_its_teacher_is_heard(
    tmp_path: Path, views: Any, changes: dict[str, Any]
) -> None:
    teacher = str(save_tiny(tmp_path / "tiny.safetensors"))
    plan = Distillation(teacher, share=1.0, temperature=1.0, views=views)
    other = replace(plan, **changes)
    assert loss_of_three_steps(distillation=plan) != loss_of_three_steps(distillation=other)


def test_targets_are_blended_of_labels_and_what_the_teacher_says(tmp_path: Path) -> None:
    file = save_tiny(tmp_path / "tiny.safetensors")
    plan = Distillation(str(file), share=0.7, temperature=2.0, views="ten_crop")
    run = Run(replace(PLAN, distillation=plan), FACES, "cpu")
    assert run.teacher
    run.teacher.read()
    chosen = torch.tensor([5, 3, 11])
    labels = one_hot(run.labels[chosen])
    reader = ExpressionClassifier.load(str(file), device="cpu", tta="ten_crop", engine="auto")
    softened = torch.from_numpy(reader.predict(FACES.images[chosen.numpy()])).sqrt()
    softened /= softened.sum(1, keepdim=True)
    expected = 0.3 * labels + 0.7 * softened
    assert torch.allclose(run.teacher.of_faces(labels, chosen), expected, atol=1e-2)
    assert not torch.allclose(0.3 * labels + 0.7 * softened**2, expected, atol=1e-2)


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


@on_python_3_13_0_too
def test_a_net_that_was_traced_takes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """To float32's rounding, and by one program; the slow test below lets torch compile it too."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    need_one_program_for_the_same_steps()


@on_python_3_13_0_too
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


def test_faces_are_changed_less_in_a_stage_of_less_strength() -> None:
    """At half strength as by half of every change, and so at none."""
    halved = Augmentation(*(value / 2 for value in astuple(Augmentation())))
    weaker = (Stage(0.0, 44, strength=0.5),)
    assert loss_of_three_steps(stages=weaker) == loss_of_three_steps(augmentation=halved)
    assert loss_of_three_steps(stages=weaker) != loss_of_three_steps()
