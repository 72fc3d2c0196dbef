"""Timestamps that are missing, stand still or leap, and the times that frames get."""

from __future__ import annotations

import pytest

from daemon.sources.timeline import Pace, Timeline


def test_the_timeline_bears_missing_standing_and_leaping_timestamps() -> None:
    line = Timeline(step_s=0.04)
    given = [None, 7.0, 7.04, 7.04, None, 7.2, 1.0, 1.04]
    placed = [line.place(time_s) for time_s in given]
    assert placed == pytest.approx([0.0, 0.04, 0.08, 0.081, 0.121, 0.24, 0.28, 0.32])
    line.restart()
    assert line.place(50.0) == pytest.approx(0.36)


def test_live_timestamps_that_leap_forward_begin_anew_where_time_is() -> None:
    line = Timeline(step_s=0.04)
    came_s = [100.0, 100.04, 100.08, 100.5, 108.5, 108.54]
    given = [5.0, 5.04, 3605.04, 3605.46, 3613.46, 13.54]
    placed = [line.place(time_s, now_s) for time_s, now_s in zip(given, came_s, strict=True)]
    # An hour is jumped over, a gap of eight seconds that has really passed is not.
    assert placed == pytest.approx([0.0, 0.04, 0.08, 0.5, 8.5, 8.54])
    assert line.stood_s() == 0.0


def test_live_pictures_without_timestamps_are_placed_where_they_came() -> None:
    """Two of them at once, one late. Once there is a timestamp, it counts."""
    line = Timeline(step_s=0.04)
    came_s = [10.0, 10.1, 10.1, 10.2, 10.9, 11.0, 11.1, 11.2]
    given = [None, None, None, None, None, 50.0, 50.1, None]
    placed = [line.place(time_s, now_s) for time_s, now_s in zip(given, came_s, strict=True)]
    assert placed == pytest.approx([0.0, 0.1, 0.101, 0.2, 0.9, 0.94, 1.04, 1.08])


def test_a_burst_of_what_was_held_back_is_no_leap() -> None:
    line = Timeline(step_s=0.04)
    given = [0.0, 0.04, 0.08, 0.12, 2.0, 4.0]
    came_s = [10.0, 10.04, 14.0, 14.0, 14.0, 14.04]
    placed = [line.place(time_s, now_s) for time_s, now_s in zip(given, came_s, strict=True)]
    assert placed == pytest.approx(given)


def delays_s(given: list[float | None], came_s: list[float]) -> list[float]:
    line = Timeline(step_s=0.04)
    delays = []
    for time_s, now_s in zip(given, came_s, strict=True):
        line.place(time_s, now_s)
        delays.append(line.delay_s())
    return delays


def test_a_picture_is_behind_by_what_it_came_later_than_the_promptest() -> None:
    """Two seconds come at once after connecting; then pictures pile up, and half are left out."""
    given = [5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 13.0, 14.0]
    came_s = [10.0, 10.0, 10.0, 11.0, 14.0, 16.0, 17.0, 18.5]
    told = delays_s(list(given), came_s)
    assert told == pytest.approx([0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 1.0, 1.5], abs=0.003)


def test_the_way_back_from_being_behind_is_no_leap_though_the_first_pictures_came_early() -> None:
    line = Timeline(step_s=0.04)
    for second in range(6):
        line.place(float(second), 10.0)
    line.place(5.1, 15.1)
    assert line.delay_s() == pytest.approx(5.0, abs=0.002)
    assert line.place(10.0, 15.2) == 10.0


def test_the_drift_of_a_camera_s_clock_is_not_behind_and_a_delay_is_seen_for_hours() -> None:
    hour = range(3600)
    assert max(delays_s([0.9999 * s for s in hour], [10.0 + s for s in hour])) < 0.001
    late = [10.0 + s + (8.0 if s > 60 else 0.0) for s in hour]
    assert 7.0 < delays_s([float(s) for s in hour], late)[-1] < 8.0


def test_being_behind_outlasts_a_leap_of_the_timestamps() -> None:
    told = delays_s([5.0, 6.0, 7.0, 3600.0, 3601.0, 20.0], [10.0, 11.0, 15.0, 15.1, 16.1, 17.1])
    assert told == pytest.approx([0.0, 0.0, 3.0, 3.0, 3.0, 3.0], abs=0.002)


def test_nothing_tells_that_pictures_without_timestamps_are_behind() -> None:
    assert max(delays_s([None, None, 50.0, None], [10.0, 12.0, 12.1, 19.0])) < 0.1


def test_timestamps_that_stand_still_are_timed() -> None:
    line = Timeline(step_s=0.04)
    stood_s = []
    for given, came_s in [(1.0, 10.0), (1.04, 10.1), (1.04, 11.0), (1.04, 12.1), (2.0, 12.2)]:
        line.place(given, came_s)
        stood_s.append(line.stood_s())
    assert stood_s == pytest.approx([0.0, 0.0, 0.9, 2.0, 0.0])
    line.place(None, 15.0)
    assert line.stood_s() == 0.0


def test_pictures_that_lie_ready_are_due_at_their_own_pace() -> None:
    pace = Pace(longest_s=5.0)
    at = [(2.0, 10.0), (2.04, 10.0), (2.08, 10.05), (2.12, 10.2), (3.0, 10.2)]
    assert [pace.wait_s(*one) for one in at] == pytest.approx([0.0, 0.04, 0.03, 0.0, 0.8])


def test_a_long_pause_in_media_time_is_cut_short_and_delay_is_not_made_up_for() -> None:
    pace = Pace(longest_s=5.0)
    at = [(0.0, 10.0), (120.0, 10.0), (120.04, 15.0), (120.08, 18.0), (120.12, 18.0)]
    assert [pace.wait_s(*one) for one in at] == pytest.approx([0.0, 5.0, 0.04, 0.0, 0.04])


def test_what_a_network_delays_is_made_up_for() -> None:
    """Pictures that lie ready, one of them 5 s late: owed, and paid by a tenth of the time."""
    pace, now_s, owed = Pace(longest_s=10.0, makes_up=True), 0.0, []
    for tenth in range(900):
        now_s = max(now_s, 13.0 if tenth >= 80 else 0.0)
        now_s += pace.wait_s(tenth / 10, now_s)
        owed.append(pace.owed_s)
    assert owed[79] == 0.0
    assert owed[80] == pytest.approx(4.99, abs=0.02)
    assert owed[480] == pytest.approx(1.0, abs=0.05)
    assert owed[-1] == 0.0
    assert now_s == pytest.approx(89.9, abs=0.02)


def test_what_a_server_let_go_is_not_waited_for() -> None:
    pace = Pace(longest_s=10.0, makes_up=True)
    at = [(0.0, 10.0), (0.1, 15.1), (4.2, 15.1), (4.3, 15.1), (9.0, 15.2), (11.0, 19.0)]
    waits = [pace.wait_s(*one) for one in at]
    assert waits[:3] == [0.0, 0.0, pytest.approx(0.0)]
    assert waits[3] == pytest.approx(0.09)
    # What is owed no more is waited for: a pause of the camera.
    assert waits[4] == pytest.approx(3.8, abs=0.02)
    assert waits[5] == pytest.approx(2.0, abs=0.02)
    assert pace.owed_s == 0.0


def test_a_file_that_is_read_as_a_camera_makes_up_for_nothing() -> None:
    pace = Pace(longest_s=5.0)
    assert [pace.wait_s(*one) for one in [(0.0, 0.0), (0.1, 5.0), (0.2, 5.0)]] == [
        0.0,
        0.0,
        pytest.approx(0.1),
    ]
    assert pace.owed_s == 0.0


@pytest.mark.parametrize("per_second", [1e-4, 0.0, -1e-4])
@pytest.mark.parametrize("segment_s", [2.0, 6.0])
def test_a_clock_that_is_off_is_no_lateness_for_long(segment_s: float, per_second: float) -> None:
    """Two days of segments of a camera whose clock is 100 ppm slow, or fast; three lay ready."""
    pace, step_s = Pace(longest_s=10.0, makes_up=True), 0.5
    now_s, most_owed_s, most_wait_s = 3.0 * segment_s, 0.0, 0.0
    for number in range(int(2 * 86400 / step_s)):
        media_s = number * step_s
        ends_s = (media_s // segment_s + 1.0) * segment_s
        now_s = max(now_s, ends_s * (1.0 + per_second))
        wait_s = pace.wait_s(media_s, now_s)
        now_s += wait_s
        most_owed_s, most_wait_s = max(most_owed_s, pace.owed_s), max(most_wait_s, wait_s)
    assert most_owed_s < 1.5
    assert most_wait_s < 1.5


def test_a_server_that_stood_still_is_behind_for_a_while_only() -> None:
    """Three times for 9 s, so that all that it has is as late as that: nothing to make up for."""
    pace, now_s, late_s = Pace(longest_s=10.0, makes_up=True), 6.0, 0.0
    for tenth in range(6000):
        late_s += 9.0 if tenth in (200, 300, 400) else 0.0
        now_s = max(now_s, (tenth // 20 + 1) * 2.0 + late_s)
        now_s += pace.wait_s(tenth / 10, now_s)
    assert pace.owed_s < 1.5


def test_rare_pictures_are_not_let_through_at_once() -> None:
    """One every other second, all of 20 s late: no step between two of them is a leap."""
    pace, now_s, waits = Pace(longest_s=10.0, makes_up=True), 0.0, []
    for number in range(20):
        now_s = max(now_s, 30.0 if number >= 5 else 0.0)
        waits.append(pace.wait_s(2.0 * number, now_s))
        now_s += waits[-1]
    assert min(waits[6:]) == pytest.approx(1.8)
