"""The rungs of the ladder, and when it goes from one to the next."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.expression import TTA
from classifiers.expression.tta import VIEW_COUNT
from daemon.ladder import HIGH, HOLD_S, LOW, MOST_HOLD_S, WINDOW_S, Ladder, Rung, Wait, rungs
from tests.daemon.classify.simulated import World


def waits(age_s: float, count: int = 10) -> list[Wait]:
    return [Wait(age_s, age_s)] * count


@settings(max_examples=100)
@given(ages=st.lists(st.floats(0.0, 3.0), max_size=300), tta=st.sampled_from(["ten_crop", "none"]))
def test_whatever_the_ages_are_the_ladder_keeps_its_rules(ages: list[float], tta: TTA) -> None:
    """Down only where readings were late; up only where they were not for the whole hold, so at
    most once in that time; never off its ends."""
    world = World()
    steps: list[tuple[float, bool]] = []
    ladder = Ladder(
        rungs(tta, VIEW_COUNT),
        1.0,
        clock=world.clock,
        on_rung=lambda rung, down: steps.append((world.now_s, down)),
    )
    order = rungs(tta, VIEW_COUNT)
    late_s, early_s = -math.inf, 0.0  # when readings were late last
    for age_s in ages:
        at = order.index(ladder.rung)
        world.pass_(WINDOW_S)
        ladder.saw(waits(age_s), 0.1)
        ladder.decide()
        if age_s > LOW:
            early_s = world.now_s
        if age_s > HIGH:
            late_s = world.now_s
        moved = order.index(ladder.rung) - at
        assert moved in (-1, 0, 1)
        if moved == 1:
            assert late_s == world.now_s
        if moved == -1:
            assert world.now_s - early_s >= HOLD_S
    ups = [when_s for when_s, down in steps if not down]
    assert all(b - a >= HOLD_S for a, b in itertools.pairwise(ups))


@settings(max_examples=20)
@given(
    faces=st.integers(1, 400),
    view_s=st.floats(0.0001, 0.02),
    base_s=st.floats(0.0, 0.6),
    noise=st.floats(0.0, 0.3),
    seed=st.integers(0, 1000),
)
def test_a_steady_load_is_not_flapped_over(
    faces: int, view_s: float, base_s: float, noise: float, seed: int
) -> None:
    """Ages in proportion to faces and views, with noise: in an hour the ladder settles, but for a
    try every five minutes at most."""
    rng = np.random.default_rng(seed)
    world = World()
    steps: list[tuple[float, bool]] = []
    ladder = Ladder(
        rungs("ten_crop", VIEW_COUNT),
        1.0,
        clock=world.clock,
        on_rung=lambda rung, down: steps.append((world.now_s, down)),
    )
    while world.now_s < 3600.0:
        world.pass_(WINDOW_S)
        rung = ladder.rung
        queued_s = faces * rung.view_count * view_s / rung.thinning
        queued_s *= 1.0 + noise * float(rng.uniform(-1.0, 1.0))
        ladder.saw([Wait(base_s + queued_s, queued_s)], rung.view_count * view_s)
        ladder.decide()
    late = [when_s for when_s, _ in steps if when_s > 1800.0]
    assert len(late) <= 2 * 1800.0 / MOST_HOLD_S + 2
    assert len(steps) <= 40


def test_temporal_has_no_views_to_shed_only_detections() -> None:
    assert rungs("temporal", VIEW_COUNT) == (
        Rung("temporal", 1, 1),
        Rung("temporal", 1, 2),
        Rung("temporal", 1, 4),
    )


def test_a_joint_counts_the_views_of_all_its_nets() -> None:
    assert [(rung.view_count, rung.thinning) for rung in rungs("flip", {"flip": 4, "none": 2})] == [
        (4, 1),
        (2, 1),
        (2, 2),
        (2, 4),
    ]


def test_a_step_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    ladder = Ladder(rungs("flip", VIEW_COUNT), 0.5, clock=world.clock)
    for _ in range(3):
        world.pass_(WINDOW_S)
        ladder.saw(waits(1.2), 0.1)
        ladder.decide()
    assert caplog.messages == [
        "readings are 1.20 s old (expression.max_age_ms = 500): crops per face: 1"
    ]
