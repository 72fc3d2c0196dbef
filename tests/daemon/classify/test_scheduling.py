"""The batcher, its queue and its ladder under load, on a clock that is simulated: with real ones
no two runs would be alike, and overload would take minutes."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from classifiers.base import Reads
from classifiers.expression.tta import CROPS
from daemon.classify.batcher import IDLE_S, Batcher
from daemon.classify.crop_queue import CropQueue, Queued
from daemon.classify.jobs import Job, Result
from daemon.ladder import HIGH, HOLD_S, LOW, MOST_HOLD_S, WINDOW_S, Ladder, Rung, Wait, rungs
from daemon.monitoring.metrics import Metrics

VIEWS: dict[str, int] = dict(CROPS.items())
FACE = np.zeros((48, 48), np.uint8)


class World:
    """Simulated time: whoever waits or works lets it pass, and what is due meanwhile happens."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def clock(self) -> float:
        return self.now_s

    def at(self, when_s: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, (when_s, self._number, do))

    def pass_(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, do = heapq.heappop(self._due)
            do()
        self.now_s = end_s

    def wait(self, seconds: float) -> None:
        """As a condition does: until something happens, or the time is over."""
        due_s = self._due[0][0] - self.now_s if self._due else seconds
        self.pass_(max(0.0, min(seconds, due_s)))


@dataclass
class Slow:
    """Takes `crop_s` for each view; notes whom it read, when and how."""

    world: World
    crop_s: float
    batch_s: float = 0.0
    tta: str = "ten_crop"
    name: str = "slow"
    reads: Reads = "face"
    labels: tuple[str, ...] = ("a", "b")
    device: str = "cpu"
    unknown_below: float = 0.0
    batches: list[int] = field(default_factory=list)

    @property
    def crops(self) -> int:
        return VIEWS[self.tta]

    def predict(
        self, batch: NDArray[np.uint8], turns: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        self.batches.append(len(batch))
        self.world.pass_(self.batch_s + len(batch) * self.crops * self.crop_s)
        return np.full((len(batch), 2), 0.5, np.float32)


@dataclass
class Camera:
    """Shows `faces` at `fps` from `from_s` to `until_s`; its pictures come `late_s` old."""

    name: str
    faces: int
    fps: float = 25.0
    late_s: float = 0.02
    from_s: float = 0.0
    until_s: float = math.inf


class _Token(NamedTuple):
    stream: str
    track: int
    captured_s: float


class House:
    """Cameras and a batcher with its ladder. `read` holds, for each result, its stream, track,
    age when the batch began and when it was there, the time, and the crops."""

    def __init__(
        self,
        cameras: list[Camera],
        *,
        crop_s: float,
        batch_s: float = 0.0,
        max_batch: int = 16,
        queue_crops: int = 256,
        max_age_s: float = 1.0,
        tta: str = "ten_crop",
    ) -> None:
        self.world = World()
        self.metrics = Metrics(CollectorRegistry())
        self.model = Slow(self.world, crop_s, batch_s, tta)
        self.steps: list[tuple[float, Rung, bool]] = []
        self.ladder = Ladder(
            rungs(tta, VIEWS),
            max_age_s,
            clock=self.world.clock,
            told=lambda rung, down: self.steps.append((self.world.now_s, rung, down)),
        )
        self.beats: list[float] = []
        self.submitted: Counter[str] = Counter()
        self.read: dict[str, list[tuple[int, float, float, int]]] = defaultdict(list)
        self.most_waiting = 0
        self.queue_crops = queue_crops

        def use(rung: Rung) -> None:
            self.model.tta = rung.tta

        self.batcher = Batcher(
            self.model,
            self.metrics,
            max_batch=max_batch,
            max_wait_s=0.01,
            queue_crops=queue_crops,
            ladder=self.ladder,
            use=use,
            clock=self.world.clock,
            wait=self.world.wait,
            beat=lambda: self.beats.append(self.world.now_s),
        )
        for camera in cameras:
            self.world.at(camera.from_s, partial(self._frame, camera, 0))

    def _frame(self, camera: Camera, number: int) -> None:
        now_s = self.world.now_s
        if now_s >= camera.until_s:
            return
        every = self.ladder.rung.thinning
        for track in range(camera.faces if number % every == 0 else 0):
            self.submitted[camera.name] += 1
            token = _Token(camera.name, track, now_s - camera.late_s)
            job = Job(camera.name, track, FACE, token, now_s, age_s=camera.late_s)
            self.batcher.submit(job, self._deliver)
        self.most_waiting = max(self.most_waiting, len(self.batcher._live))
        self.world.at(now_s + 1.0 / camera.fps, lambda: self._frame(camera, number + 1))

    def _deliver(self, result: Result) -> None:
        assert isinstance(result.token, _Token)
        name, track, captured_s = result.token
        assert result.probabilities is not None
        now_s = self.world.now_s
        self.read[name].append((track, now_s, now_s - captured_s, result.crops))

    def run(self, seconds: float) -> None:
        end_s = self.world.now_s + seconds
        while self.world.now_s < end_s:
            assert self.batcher.run_once()

    def dropped(self, name: str) -> dict[str, float]:
        return {
            sample.labels["reason"]: sample.value
            for family in self.metrics.dropped.collect()
            for sample in family.samples
            if sample.name.endswith("_total") and sample.labels["stream"] == name
        }


CAMERAS = st.lists(
    st.tuples(st.integers(0, 60), st.floats(1.0, 60.0), st.floats(0.0, 1.5), st.floats(0.0, 3.0)),
    min_size=1,
    max_size=6,
).map(
    lambda many: [
        Camera(f"c{at}", faces, fps, late_s, from_s, from_s + 3.0)
        for at, (faces, fps, late_s, from_s) in enumerate(many)
    ]
)


@settings(max_examples=30, deadline=None)
@given(
    cameras=CAMERAS,
    crop_s=st.floats(0.0, 0.02),
    batch_s=st.floats(0.0, 0.5),
    max_batch=st.integers(1, 40),
    queue_crops=st.integers(1, 80),
    max_age_s=st.floats(0.05, 2.0),
)
def test_nothing_is_lost_uncounted_read_too_old_or_kept_without_bound(
    cameras: list[Camera],
    crop_s: float,
    batch_s: float,
    max_batch: int,
    queue_crops: int,
    max_age_s: float,
) -> None:
    house = House(
        cameras,
        crop_s=crop_s,
        batch_s=batch_s,
        max_batch=max_batch,
        queue_crops=queue_crops,
        max_age_s=max_age_s,
    )
    took_s = batch_s + max_batch * 10 * crop_s
    house.run(8.0 + 2 * took_s)
    queue = house.batcher._live
    waiting = Counter(queued.job.stream for queued in queue.take(len(queue), -math.inf))
    for camera in cameras:
        read, dropped = house.read[camera.name], house.dropped(camera.name)
        assert set(dropped) <= {"superseded", "queue_full", "too_old"}
        total = len(read) + sum(dropped.values()) + waiting[camera.name]
        assert total == house.submitted[camera.name]
        # Too old is judged when the batch begins; the batch itself takes what it takes.
        assert all(age_s <= max_age_s + took_s + 1e-6 for _, _, age_s, _ in read)
        if camera.late_s > max_age_s + 1e-6:
            assert not read
    assert house.most_waiting <= queue_crops
    assert max(house.model.batches, default=0) <= max_batch
    beats = [0.0, *house.beats]
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) <= (
        IDLE_S + 0.01 + took_s + 1e-6
    )


@settings(max_examples=15, deadline=None)
@given(crowd=st.integers(2, 120), others=st.integers(1, 4), max_batch=st.integers(1, 24))
def test_a_crowd_does_not_starve_a_single_face(crowd: int, others: int, max_batch: int) -> None:
    """Under any load a face alone in its stream waits for the batch at hand and one crop of each
    other stream; and no stream falls behind another that always has crops waiting."""
    singles = [Camera(f"single{at}", 1) for at in range(others)]
    house = House(
        [Camera("crowd", crowd), *singles], crop_s=0.004, max_batch=max_batch, max_age_s=60.0
    )
    house.run(6.0)
    batch_s = max_batch * 10 * 0.004
    turns = math.ceil((others + 1) / max_batch)
    for camera in singles:
        came = [when_s for _, when_s, _, _ in house.read[camera.name]]
        gaps = [later - earlier for earlier, later in itertools.pairwise([0.0, *came])]
        # A new crop every 40 ms; then the batch at hand, and as many as the turns take.
        assert max(gaps) <= 0.04 + 0.01 + (1 + turns) * batch_s + 1e-6
        assert len(came) > 0


@settings(max_examples=15, deadline=None)
@given(faces=st.integers(1, 40), room=st.integers(1, 40), max_batch=st.integers(1, 16))
def test_no_face_of_a_stream_is_read_half_as_often_as_another(
    faces: int, room: int, max_batch: int
) -> None:
    """Whether or not the queue has room for all of them."""
    house = House(
        [Camera("crowd", faces, fps=10.0)],
        crop_s=0.002,
        max_batch=max_batch,
        queue_crops=room,
        max_age_s=60.0,
    )
    house.run(10.0)
    reads = Counter(track for track, *_ in house.read["crowd"])
    counts = [reads[track] for track in range(faces)]
    assert min(counts) >= 0.5 * max(counts) - 2


@settings(max_examples=60, deadline=None)
@given(
    puts=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), min_size=1, max_size=60),
    room=st.integers(1, 30),
    most=st.integers(1, 30),
)
def test_streams_take_turns(puts: list[tuple[str, int]], room: int, most: int) -> None:
    """In a batch no stream has two crops more than another of which one is still waiting."""
    given_up: list[tuple[str, str]] = []

    def drop(queued: Queued, reason: str) -> None:
        given_up.append((queued.job.stream, reason))

    queue = CropQueue(room, drop)
    newest: dict[tuple[str, int], int] = {}
    for number, (stream, track) in enumerate(puts):
        queue.put(Job(stream, track, FACE, number, float(number)), lambda result: None)
        newest[stream, track] = number
        assert len(queue) <= room
    before = len(queue)
    taken = queue.take(most, 100.0)
    assert len(taken) == min(most, before)
    assert len(queue) + len(taken) + len(given_up) == len(puts)
    for queued in taken:
        assert queued.job.token == newest[queued.job.stream, queued.job.track]
    served = Counter(queued.job.stream for queued in taken)
    left = queue.take(room, 100.0)
    for stream in {queued.job.stream for queued in left}:
        assert all(served[other] <= served[stream] + 1 for other in served)


def test_a_crop_in_the_place_of_an_older_one_keeps_its_turn() -> None:
    queue = CropQueue(8, lambda queued, reason: None)
    for when, track in enumerate([1, 2, 1]):
        queue.put(Job("lobby", track, FACE, when, float(when)), lambda result: None)
    assert [queued.job.token for queued in queue.take(8, 3.0)] == [2, 1]


def waits(age_s: float, count: int = 10) -> list[Wait]:
    return [Wait(age_s, age_s)] * count


@settings(max_examples=100, deadline=None)
@given(ages=st.lists(st.floats(0.0, 3.0), max_size=300), tta=st.sampled_from(["ten_crop", "none"]))
def test_whatever_the_ages_are_the_ladder_keeps_its_rules(ages: list[float], tta: str) -> None:
    """Down only where readings were late; up only where they were not for the whole hold, so at
    most once in that time; never off its ends."""
    world = World()
    steps: list[tuple[float, bool]] = []
    ladder = Ladder(
        rungs(tta, VIEWS),
        1.0,
        clock=world.clock,
        told=lambda rung, down: steps.append((world.now_s, down)),
    )
    ways = rungs(tta, VIEWS)
    late_s, early_s = -math.inf, 0.0  # when readings were late last
    for age_s in ages:
        at = ways.index(ladder.rung)
        world.pass_(WINDOW_S)
        ladder.saw(waits(age_s), 0.1)
        ladder.turn()
        if age_s > LOW:
            early_s = world.now_s
        if age_s > HIGH:
            late_s = world.now_s
        moved = ways.index(ladder.rung) - at
        assert moved in (-1, 0, 1)
        if moved == 1:
            assert late_s == world.now_s
        if moved == -1:
            assert world.now_s - early_s >= HOLD_S
    ups = [when_s for when_s, down in steps if not down]
    assert all(b - a >= HOLD_S for a, b in itertools.pairwise(ups))


@settings(max_examples=20, deadline=None)
@given(
    faces=st.integers(1, 400),
    crop_s=st.floats(0.0001, 0.02),
    base_s=st.floats(0.0, 0.6),
    noise=st.floats(0.0, 0.3),
    seed=st.integers(0, 1000),
)
def test_a_steady_load_is_not_flapped_over(
    faces: int, crop_s: float, base_s: float, noise: float, seed: int
) -> None:
    """Ages in proportion to faces and views, with noise: in an hour the ladder settles, but for a
    try every five minutes at most."""
    rng = np.random.default_rng(seed)
    world = World()
    steps: list[tuple[float, bool]] = []
    ladder = Ladder(
        rungs("ten_crop", VIEWS),
        1.0,
        clock=world.clock,
        told=lambda rung, down: steps.append((world.now_s, down)),
    )
    while world.now_s < 3600.0:
        world.pass_(WINDOW_S)
        rung = ladder.rung
        waited_s = faces * rung.crops * crop_s / rung.thinning
        waited_s *= 1.0 + noise * float(rng.uniform(-1.0, 1.0))
        ladder.saw([Wait(base_s + waited_s, waited_s)], rung.crops * crop_s)
        ladder.turn()
    late = [when_s for when_s, _ in steps if when_s > 1800.0]
    assert len(late) <= 2 * 1800.0 / MOST_HOLD_S + 2
    assert len(steps) <= 40


def test_the_ladder_goes_down_under_load_and_comes_back() -> None:
    """1. One face: ten crops. 2. Sixty faces for half a minute: fewer crops, ages within the
    bound but for the first seconds. 3. One face again: ten crops, rung by rung."""
    house = House(
        [Camera("lobby", 1), Camera("crowd", 60, from_s=10.0, until_s=40.0)], crop_s=0.0025
    )
    house.run(10.0)
    assert house.steps == []
    house.run(30.0)
    assert house.ladder.rung.crops < 10
    ages = [age_s for _, when_s, age_s, _ in house.read["crowd"] if when_s > 15.0]
    assert max(ages) <= 1.0
    house.run(60.0)
    assert house.ladder.rung == house.ladder.top
    crops = [crops for *_, crops in house.read["lobby"]]
    assert crops[0] == crops[-1] == 10
    assert 2 in crops
    downs = [when_s for when_s, _, down in house.steps if down]
    ups = [when_s for when_s, _, down in house.steps if not down]
    assert downs[-1] < ups[0]
    assert len(downs) == len(ups)


def test_temporal_has_no_crops_to_shed_only_detections() -> None:
    assert rungs("temporal", VIEWS) == (
        Rung("temporal", 1, 1),
        Rung("temporal", 1, 2),
        Rung("temporal", 1, 4),
    )


def test_a_joint_counts_the_crops_of_all_its_nets() -> None:
    assert [(rung.crops, rung.thinning) for rung in rungs("flip", {"flip": 4, "none": 2})] == [
        (4, 1),
        (2, 1),
        (2, 2),
        (2, 4),
    ]


def test_a_step_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    ladder = Ladder(rungs("flip", VIEWS), 0.5, clock=world.clock)
    for _ in range(3):
        world.pass_(WINDOW_S)
        ladder.saw(waits(1.2), 0.1)
        ladder.turn()
    assert caplog.messages == [
        "readings are 1.20 s old (expression.max_age_ms = 500): crops per face: 1"
    ]


def test_files_always_get_all_their_crops() -> None:
    """While the ladder is down, a kept crop is read in the configured mode all the same."""
    house = House([Camera("crowd", 200)], crop_s=0.01)
    house.run(10.0)
    assert house.ladder.rung.crops == 1
    house.batcher.start()
    results = house.batcher.classify([Job("film", 1, FACE, "film", house.world.now_s)])
    house.batcher.stop()
    assert [result.crops for result in results] == [10]
