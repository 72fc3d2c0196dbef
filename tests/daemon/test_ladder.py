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


class Watched:
    """A ladder of two rungs on a simulated clock, and when it went up. What it is told of a face
    costs as much on either rung, and has waited in the queue all its time."""

    def __init__(self) -> None:
        self.world, self.ups = World(), list[float]()
        self.ladder = Ladder(
            rungs("flip", VIEW_COUNT)[:2], 1.0, clock=self.world.clock, on_rung=self._on_rung
        )

    def _on_rung(self, rung: Rung, down: bool) -> None:
        if not down:
            self.ups.append(self.world.now_s)

    @property
    def is_down(self) -> bool:
        return self.ladder.rung != self.ladder.top

    def window(self, *told: Wait) -> None:
        self.world.pass_(WINDOW_S)
        if told:
            self.ladder.saw(told, 0.1)
        self.ladder.decide()


@pytest.mark.parametrize(("late", "is_down"), [(5, False), (15, True)])
def test_a_few_late_readings_shed_no_work(late: int, is_down: bool) -> None:
    watched = Watched()
    for _ in range(3):
        watched.window(*waits(0.1, 100 - late), *waits(2.0, late))
    assert watched.is_down is is_down


def test_without_faces_there_is_room() -> None:
    watched = Watched()
    watched.window(*waits(1.2))
    assert watched.is_down
    for _ in range(math.ceil(HOLD_S) + 4):
        watched.window()
    assert not watched.is_down


def test_room_that_does_not_last_is_none() -> None:
    """On the lowest rung: four seconds of room, one that is late, and so on."""
    watched = Watched()
    for second in range(100):
        watched.window(*waits(1.2 if second % 5 == 0 else 0.1))
    assert watched.is_down
    assert watched.ups == []


def test_what_did_not_last_is_tried_ever_more_rarely_and_what_did_sooner() -> None:
    """1. There is room on the lower rung and none on the upper, although a face was measured to
    cost the same on both. 2. The upper one holds for long, and is late once more."""
    watched = Watched()
    while len(watched.ups) < 9:
        watched.window(*waits(0.3 if watched.is_down else 1.2))
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(watched.ups)]
    for pause_s, hold_s in zip(pauses_s, [10, 20, 40, 80, 160, 320, 320, 320], strict=True):
        assert hold_s <= pause_s <= hold_s + 6.0
    for _ in range(math.ceil(MOST_HOLD_S) + 3):
        watched.window(*waits(0.3))
    late_s = watched.world.now_s
    while len(watched.ups) < 10:
        watched.window(*waits(0.3 if watched.is_down else 1.2))
    assert watched.ups[-1] - late_s <= 0.5 * MOST_HOLD_S + 6.0


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
