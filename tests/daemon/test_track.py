from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from daemon.config.settings import TrackingSettings
from daemon.track import COAST_S, Smoother, Tracker
from detectors.base import Box, Detection


def face(x: float, y: float, size: float = 100.0) -> Detection:
    return Detection(Box(x, y, size, size), 0.9)


def tracker(max_missing_s: float = 1.0) -> Tracker:
    return Tracker(TrackingSettings(max_missing_s=max_missing_s))


def test_ids_count_from_one_and_follow_moving_faces() -> None:
    tracks = tracker()
    for step in range(30):
        seen = tracks.update([face(step * 12, 50), face(900 - step * 12, 400)], step / 25)
        assert [track.id for track in seen] == [1, 2]
    assert seen[0].detection.box.x == 29 * 12


def test_pictures_that_come_at_once_fling_no_face_away() -> None:
    """A face that moves evenly, of which one picture's time was moved; and one that stands still
    and trembles, in pairs of pictures that came in one burst."""
    tracks = tracker()
    times_s = [step / 25 - (0.039 if step == 10 else 0.0) for step in range(20)]
    for step, now_s in enumerate(times_s):
        (track,) = tracks.update([face(step * 5, 50)], now_s)
        assert track.id == 1
    tracks = tracker()
    for step in range(40):
        (track,) = tracks.update([face(100 + 2 * (step % 2), 50)], step // 2 / 12 + step % 2 / 1000)
        assert track.id == 1


def test_speed_is_that_of_the_face_at_any_frame_rate() -> None:
    for fps in (5, 25, 120, 240):
        tracks = tracker()
        for step in range(3 * fps):
            (track,) = tracks.update([face(300.0 * step / fps, 100.0 * step / fps)], step / fps)
        assert track.speed == pytest.approx((300.0, 100.0), abs=0.1), fps


def test_two_faces_that_pass_each_other_keep_their_ids() -> None:
    tracks = tracker()
    for step in range(50):
        now_s = step / 25
        left, right = face(step * 20, 100), face(1000 - step * 20, 160)
        seen = {t.id: t for t in tracks.update([right, left] if step % 2 else [left, right], now_s)}
        if step == 0:
            left_id = next(i for i, t in seen.items() if t.detection is left)
    assert seen[left_id].detection.box.x == 49 * 20


def test_order_of_detections_does_not_matter() -> None:
    tracks = tracker()
    tracks.update([face(0, 0), face(500, 0)], 0.0)
    seen = tracks.update([face(502, 0), face(3, 0)], 0.04)
    assert [(t.id, t.detection.box.x) for t in seen] == [(1, 3), (2, 502)]


def test_a_face_that_comes_back_in_time_is_the_same_and_later_another() -> None:
    tracks = tracker(max_missing_s=1.0)
    tracks.update([face(100, 100)], 0.0)
    assert tracks.update([], 0.5) == []
    assert [t.id for t in tracks.update([face(104, 100)], 0.9)] == [1]
    tracks.update([], 1.5)
    assert [t.id for t in tracks.update([face(104, 100)], 2.5)] == [2]
    assert tracks.get(1) is None


def test_slow_frames_do_not_end_tracks_but_an_outage_does() -> None:
    """1. A frame every 3 s, which is longer than max_missing_s. 2. Then none for a minute."""
    tracks = tracker(max_missing_s=1.0)
    tracks.update([face(100, 100)], 0.0)
    tracks.update([face(100, 100)], 3.0)
    for now_s in (6.0, 9.0, 12.0):
        seen = tracks.update([face(100, 100)], now_s)
        assert [t.id for t in seen] == [seen[0].id]
    before = seen[0].id
    assert [t.id for t in tracks.update([face(100, 100)], 72.0)] == [before + 1]


def test_a_face_far_away_or_of_another_size_is_another() -> None:
    tracks = tracker()
    tracks.update([face(0, 0)], 0.0)
    assert [t.id for t in tracks.update([face(300, 0)], 0.04)] == [2]
    assert [t.id for t in tracks.update([face(300, 0, 300)], 0.08)] == [3]
    assert [t.id for t in tracks.update([face(400, 100, 100)], 0.12)] == [4]  # in its middle


@pytest.mark.parametrize("step_px", [-10, -2, 0, 2, 10, 30])
def test_a_face_keeps_its_id_while_others_come_and_go_beside_it(step_px: int) -> None:
    tracks = tracker()
    first, _ = tracks.update([face(300, 100), face(600, 100)], 0.0)
    found = tracks.update([face(300 + step_px, 100), face(100, 100)], 0.04)
    assert [track.id for track in found] == [first.id, 3]


def test_trackers_share_nothing() -> None:
    first, second = tracker(), tracker()
    first.update([face(0, 0), face(500, 0)], 0.0)
    assert [t.id for t in second.update([face(0, 0)], 0.0)] == [1]


def test_an_empty_box_does_no_harm() -> None:
    tracks = tracker()
    tracks.update([Detection(Box(5, 5, 0, 0), 0.5)], 0.0)
    assert [t.id for t in tracks.update([Detection(Box(5, 5, 0, 0), 0.5)], 0.1)] == [1]


HAPPY = np.array([0.9, 0.05, 0.05], np.float32)
SAD = np.array([0.05, 0.9, 0.05], np.float32)


def test_smoothing_depends_on_time_not_on_frame_rate() -> None:
    ends = []
    for rate in (5, 10, 50):
        smoother = Smoother()
        smoother.update(HAPPY, 0.0, 0.5)
        for step in range(1, rate + 1):
            smooth = smoother.update(SAD, step / rate, 0.5)
        ends.append(smooth)
    assert ends[0] == pytest.approx(ends[1], abs=1e-6)
    assert ends[0] == pytest.approx(ends[2], abs=1e-6)


def test_half_life_is_where_two_opposite_looks_balance() -> None:
    smoother = Smoother()
    smoother.update(HAPPY, 0.0, 0.5)
    smooth = smoother.update(SAD, 0.5, 0.5)
    assert smooth[0] == pytest.approx(smooth[1])
    assert smooth.sum() == pytest.approx(1.0)


def test_a_look_that_comes_late_counts_for_nothing() -> None:
    smoother = Smoother()
    smoother.update(HAPPY, 1.0, 0.5)
    assert smoother.update(SAD, 0.5, 0.5) == pytest.approx(HAPPY, abs=1e-6)
    assert smoother.update(SAD, 1.0, 0.5) == pytest.approx(HAPPY, abs=1e-6)


def test_no_half_life_means_no_memory() -> None:
    smoother = Smoother()
    smoother.update(HAPPY, 0.0, 0.0)
    assert smoother.update(SAD, 0.01, 0.0) == pytest.approx(SAD, abs=1e-6)


def test_a_certain_look_can_be_outweighed() -> None:
    smoother = Smoother()
    smoother.update(np.array([1.0, 0.0, 0.0], np.float32), 0.0, 0.5)
    for step in range(1, 60):
        smooth = smoother.update(SAD, step / 25, 0.5)
    assert smooth.argmax() == 1
    assert np.isfinite(smooth).all()


def test_a_face_that_is_not_looked_for_keeps_its_speed_for_a_while() -> None:
    """1. Seen twice, 100 px/s to the right and 40 down. 2. Carried: its place moves on, eyes and
    all. 3. Long after: no further than it comes in COAST_S. 4. Found again: the place is that of
    the box."""
    tracks = tracker()
    eyes = ((10.0, 15.0), (30.0, 15.0))
    tracks.update([Detection(Box(0.0, 0.0, 40.0, 40.0), 0.9, eyes)], 0.0)
    moved = ((20.0, 15.0), (40.0, 15.0))
    (track,) = tracks.update([Detection(Box(10.0, 4.0, 40.0, 40.0), 0.9, moved)], 0.1)
    assert track.speed == pytest.approx((50.0, 20.0))  # half of what was measured counts
    (carried,) = tracks.carry(0.2)
    assert carried is track
    assert carried.place.box == Box(15.0, 6.0, 40.0, 40.0)
    assert carried.place.eyes == ((25.0, 17.0), (45.0, 17.0))
    assert carried.gap_s == pytest.approx(0.1)
    assert carried.detection.box == Box(10.0, 4.0, 40.0, 40.0)
    tracks.carry(0.9)
    assert carried.place.box.x == pytest.approx(10.0 + 50.0 * COAST_S)
    (found,) = tracks.update([Detection(Box(30.0, 0.0, 40.0, 40.0), 0.9, eyes)], 1.0)
    assert found.id == track.id
    assert found.place.box.x == 30.0


def test_a_face_that_was_not_found_is_not_carried() -> None:
    tracks = tracker()
    tracks.update([face(10, 10)], 0.0)
    tracks.update([], 0.1)
    assert tracks.carry(0.2) == []


def covered(tracks: Tracker, box: Box, now_s: float) -> bool:
    """Whether one of the places where faces may be holds all of `box`."""
    return any(
        place.x <= box.x + 0.01
        and place.y <= box.y + 0.01
        and place.x + place.width >= box.x + box.width - 0.01
        and place.y + place.height >= box.y + box.height - 0.01
        for place in tracks.whereabouts(now_s)
    )


@pytest.mark.parametrize("speed", [0.0, 50.0, 200.0, 900.0])
def test_a_missing_face_may_be_all_the_way_that_it_would_have_gone(speed: float) -> None:
    """In pixels a second, of a face of 100: as long as it may be missing, and not after that."""
    tracks = tracker(max_missing_s=1.0)
    for step in range(25):
        tracks.update([face(speed * step / 25, speed * step / 50)], step / 25)
    for step in range(25, 49):
        now_s = step / 25
        tracks.update([], now_s)
        assert covered(tracks, face(speed * now_s, speed * now_s / 2).box, now_s)
    tracks.update([], 3.0)
    assert tracks.whereabouts(3.0) == []


def test_a_missing_face_may_not_be_anywhere_after_a_tremble() -> None:
    """Two frames a thousandth of a second apart would make it a great speed."""
    tracks = tracker()
    tracks.update([face(500, 500)], 0.0)
    tracks.update([face(504, 500)], 0.001)
    (place,) = tracks.whereabouts(0.9)
    assert place.width <= 100 + 2 * 100


@pytest.mark.parametrize("apart", [60, 80, 95])
def test_a_face_whose_track_goes_to_its_neighbour_may_still_be_there(apart: int) -> None:
    """
    1. A face stands still. 2. It is missed, and another is found beside it for the first time.
    3. Both places count, the first as long as a face may be missing.
    """
    tracks = tracker(max_missing_s=1.0)
    for step in range(5):
        tracks.update([face(300, 300)], step / 25)
    for step in range(5, 30):
        (other,) = tracks.update([face(300 + apart, 300)], step / 25)
        assert other.id == 1
        assert covered(tracks, face(300, 300).box, step / 25)
        assert covered(tracks, face(300 + apart, 300).box, step / 25)
    tracks.update([face(300 + apart, 300)], 1.3)
    assert not covered(tracks, face(300, 300).box, 1.3)


@pytest.mark.parametrize("apart_s", [0.6, 1.2, 2.0])
@pytest.mark.parametrize("neighbour", [False, True])
def test_where_frames_are_rare_it_may_as_well(apart_s: float, neighbour: bool) -> None:
    """As long as its track lasts: two frames, or where that is longer what a face may be missing,
    whether or not somebody else gets the track."""
    tracks = tracker(max_missing_s=1.0)
    for step in range(4):
        tracks.update([face(300, 300)], step * apart_s)
    for step in (4, 5):
        tracks.update([face(360, 300)] if neighbour else [], step * apart_s)
        assert covered(tracks, face(300, 300).box, step * apart_s)
    tracks.update([face(360, 300)] if neighbour else [], 7 * apart_s)
    assert not covered(tracks, face(300, 300).box, 7 * apart_s)


def test_a_face_that_jumps_for_long_leaves_nothing_behind() -> None:
    """Half its size between two frames, so that its old place counts for a while, and nobody asks
    for such places."""
    tracks = tracker(max_missing_s=1.0)

    def jump(first: int, last: int) -> int:
        for step in range(first, last):
            (track,) = tracks.update([face(300 + 50 * (step % 2), 300)], step / 10)
            assert track.id == 1
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = jump(0, 100)
        assert jump(100, 2000) - before < 10_000  # bytes
    finally:
        tracemalloc.stop()


def test_tracks_follow_a_change_of_the_pictures_size() -> None:
    """1. Two faces move. 2. The camera sends pictures twice as wide and high. 3. One is missed."""
    tracks = tracker()
    for step in range(5):
        tracks.update([face(300 + 4 * step, 200), face(600, 400)], step / 25)
    tracks.scale(2.0, 2.0)
    seen = tracks.update([face(2 * (300 + 4 * 5), 400, size=200)], 5 / 25)
    assert [track.id for track in seen] == [1]
    assert seen[0].speed[0] == pytest.approx(200.0, rel=0.05)
    assert covered(tracks, face(1200, 800, size=200).box, 5 / 25)


def test_a_place_where_a_face_may_still_be_follows_the_pictures_size() -> None:
    """1. A face stands still. 2. Another one beside it gets its track. 3. The picture is wider."""
    tracks = tracker()
    tracks.update([face(300, 300)], 0.0)
    tracks.update([face(380, 300)], 0.04)
    tracks.scale(2.0, 1.0)
    tracks.update([Detection(Box(760, 300, 200, 100), 0.9)], 0.08)
    assert covered(tracks, Box(600, 300, 200, 100), 0.08)
