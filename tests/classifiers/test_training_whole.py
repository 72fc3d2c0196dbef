"""Training for real, on little: what comes out of it, and what it tells on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from classifiers import checkpoint
from classifiers.expression import data
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation import measure
from classifiers.expression.evaluation.measure import accuracy, classify
from classifiers.expression.training import train
from classifiers.expression.training.journal import Step
from classifiers.expression.training.run import Run
from tests.classifiers import bars
from tests.classifiers.noise import FACES, PLAN
from tests.fer import load_split


def test_a_short_training_beats_chance_and_leaves_what_the_daemon_loads(
    fer: Path, tmp_path: Path
) -> None:
    seen: list[Step] = []
    weights = train.train(bars.PLAN, fer, tmp_path, report=seen.append)
    assert weights is not None
    record = checkpoint.read_record(weights)
    assert record.scores["public_ten_crop"] > 3 / 7
    assert record.data_sha256 == data.read(fer).fingerprint()
    faces = load_split(fer, "public")
    classifier = ExpressionClassifier.load(weights, device="cpu")
    # To the rounding of the record: what was scored is what was stored, in half precision.
    assert accuracy(classify(classifier, faces), faces) == pytest.approx(
        record.scores["public_ten_crop"], abs=1e-5
    )
    assert [p.epoch for p in seen if p.holdout is not None] == list(range(8))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 9


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
