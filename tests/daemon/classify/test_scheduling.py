"""The batcher, its queue and its ladder under load, on a simulated clock."""

from __future__ import annotations

import itertools
import math
from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.classify.batcher import IDLE_S
from daemon.classify.jobs import Job
from tests.daemon.classify.simulated import FACE, Camera, House

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


@settings(max_examples=30)
@given(
    cameras=CAMERAS,
    view_s=st.floats(0.0, 0.02),
    batch_s=st.floats(0.0, 0.5),
    max_batch=st.integers(1, 40),
    queue_crops=st.integers(1, 80),
    max_age_s=st.floats(0.05, 2.0),
)
@example(  # a model that takes no time, as far as the clock tells
    cameras=[Camera("c0", 1, 1.0, 0.0, 0.0, 3.0), Camera("c1", 1, 2.0, 0.0, 0.0, 3.0)],
    view_s=0.0,
    batch_s=0.0,
    max_batch=1,
    queue_crops=1,
    max_age_s=1.0,
)
def test_nothing_is_lost_uncounted_read_too_old_or_kept_without_bound(
    cameras: list[Camera],
    view_s: float,
    batch_s: float,
    max_batch: int,
    queue_crops: int,
    max_age_s: float,
) -> None:
    house = House(
        cameras,
        view_s=view_s,
        batch_s=batch_s,
        max_batch=max_batch,
        queue_crops=queue_crops,
        max_age_s=max_age_s,
    )
    took_s = batch_s + max_batch * 10 * view_s
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


@settings(max_examples=15)
@given(crowd=st.integers(2, 120), others=st.integers(1, 4), max_batch=st.integers(1, 24))
def test_a_crowd_does_not_starve_a_single_face(crowd: int, others: int, max_batch: int) -> None:
    """Under any load a face alone in its stream waits for the batch at hand and one crop of each
    other stream; and no stream falls behind another that always has crops waiting."""
    singles = [Camera(f"single{at}", 1) for at in range(others)]
    house = House(
        [Camera("crowd", crowd), *singles], view_s=0.004, max_batch=max_batch, max_age_s=60.0
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


@settings(max_examples=15)
@given(faces=st.integers(1, 40), room=st.integers(1, 40), max_batch=st.integers(1, 16))
def test_no_face_of_a_stream_is_read_half_as_often_as_another(
    faces: int, room: int, max_batch: int
) -> None:
    """Whether or not the queue has room for all of them."""
    house = House(
        [Camera("crowd", faces, fps=10.0)],
        view_s=0.002,
        max_batch=max_batch,
        queue_crops=room,
        max_age_s=60.0,
    )
    house.run(10.0)
    reads = Counter(track for track, *_ in house.read["crowd"])
    counts = [reads[track] for track in range(faces)]
    assert min(counts) >= 0.5 * max(counts) - 2


def test_the_ladder_goes_down_under_load_and_comes_back() -> None:
    """1. One face: ten views. 2. Sixty faces for half a minute: fewer views, ages within the
    bound but for the first seconds. 3. One face again: ten views, rung by rung."""
    house = House(
        [Camera("lobby", 1), Camera("crowd", 60, from_s=10.0, until_s=40.0)], view_s=0.0025
    )
    house.run(10.0)
    assert house.steps == []
    house.run(30.0)
    assert house.ladder.rung.view_count < 10
    ages = [age_s for _, when_s, age_s, _ in house.read["crowd"] if when_s > 15.0]
    assert max(ages) <= 1.0
    house.run(60.0)
    assert house.ladder.rung == house.ladder.top
    counts = [count for *_, count in house.read["lobby"]]
    assert counts[0] == counts[-1] == 10
    assert 2 in counts
    downs = [when_s for when_s, _, down in house.steps if down]
    ups = [when_s for when_s, _, down in house.steps if not down]
    assert downs[-1] < ups[0]
    assert len(downs) == len(ups)


def test_files_always_get_all_their_views() -> None:
    """While the ladder is down, a file's crop is read in the configured mode all the same."""
    house = House([Camera("crowd", 200)], view_s=0.01)
    house.run(10.0)
    assert house.ladder.rung.view_count == 1
    house.batcher.start()
    results = house.batcher.classify(
        [Job("film", 1, FACE, "film", house.world.now_s, house.world.now_s)]
    )
    house.batcher.stop()
    assert [result.view_count for result in results] == [10]
