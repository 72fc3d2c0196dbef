"""A soak in small: real cameras that really fail. `make soak` is the long one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.affectd import END_S
from tests.rtsp import needs_gstreamer
from tests.shared import needs_shared
from tests.soak.harm import KINDS, Injection
from tests.soak.judge import Verdict, judge, slopes, trend
from tests.soak.plot import plot
from tests.soak.soak import Course, Plan, soak
from tests.soak.viewer import Seen
from tests.soak.watch import Sample

# On a machine that may be loaded:
AGE_S = 10.0  # of a reading
WAIT_S = 60.0  # of a viewer
STALL_S = 60.0


def broken(course: Course) -> list[Verdict]:
    """The rules that do not hold, by bounds that a loaded machine can keep."""
    return [verdict for verdict in judge(course, AGE_S, END_S, WAIT_S) if not verdict.holds]


@needs_shared
@needs_gstreamer
def test_some_seconds_of_bad_weather(tmp_path: Path) -> None:
    kinds = "cut", "restarted", "resized"
    plan = Plan(seconds=8.0, streams=2, gap_s=2.0, kinds=kinds, stall_s=STALL_S)
    # A loaded machine may need more than the time that a thread has to stop.
    course = replace(soak(plan, tmp_path), left_behind=[])
    assert broken(course) == [], course.injections


@pytest.mark.slow
@pytest.mark.timeout(1200)
@needs_shared
@needs_gstreamer
def test_ten_minutes_of_bad_weather(tmp_path: Path) -> None:
    course = soak(Plan(seconds=600.0), tmp_path)
    assert broken(course) == []
    assert {one.kind.name for one in course.injections} == {kind.name for kind in KINDS}


def _samples(leak_mb_s: float = 0.0, threads_each_s: float = 0.0) -> list[Sample]:
    return [
        Sample(float(s), 500 + leak_mb_s * s + s % 7, 40 + int(threads_each_s * s) + s % 2, 80)
        for s in range(600)
    ]


def test_slopes_of_a_leak_are_seen() -> None:
    assert [verdict.holds for verdict in slopes(_samples())] == [True, True, True]
    assert [verdict.holds for verdict in slopes(_samples(leak_mb_s=0.15))] == [False, True, True]
    assert [v.holds for v in slopes(_samples(threads_each_s=0.01))] == [True, False, True]
    leak = trend(_samples(leak_mb_s=0.1), lambda one: one.rss_mb)
    assert leak.per_hour == pytest.approx(360, rel=0.05)


def test_what_the_metrics_do_not_tell_is_found() -> None:
    kinds = {kind.name: kind for kind in KINDS}
    cut = Injection(kinds["cut"], "cam0", 1.0, counted={"end_of_stream": 1})
    assert cut.is_accounted_for
    assert not replace(cut, counted={}).is_accounted_for
    assert not replace(cut, counted={"end_of_stream": 1, "internal": 1}).is_accounted_for
    assert Injection(kinds["resized"], "cam0", 1.0).is_accounted_for
    assert not Injection(kinds["resized"], "cam0", 1.0, counted={"stalled": 1}).is_accounted_for
    assert Injection(kinds["damaged"], "cam0", 1.0, damaged=3).is_accounted_for
    assert not Injection(kinds["damaged"], "cam0", 1.0).is_accounted_for

    course = Course(Plan(1.0), injections=[cut], ages_s=[0.1, 3.0], exit_code=0)
    course.frames = {"cam0": 10, "cam1": 10}
    course.reconnects = {"cam0": {"end_of_stream": 1}, "cam1": {"stalled": 2}}
    course.recordings, course.broken = {"a.mp4": 5}, ["b.mp4: is cut"]
    course.viewers = [Seen("cam0", 9, faults=["4 was followed by 6"]), Seen("cam1", 9)]
    course.sink_failures = {"cam1 mp4 disk_full": 1}
    held = [verdict.holds for verdict in judge(course)]
    assert held == [True, False, False, False, False, False, True]
    course.viewers = [Seen("cam0", 9, longest_wait_s=11.0), Seen("cam1", 9)]
    course.left_behind = ["WARNING affectd.web: the web server did not stop in 2.5 s"]
    assert [judge(course)[number].holds for number in (4, 6)] == [False, False]


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    course = Course(Plan(600.0), samples=_samples())
    course.injections = [Injection(KINDS[0], "cam0", 60.0 * minute) for minute in range(1, 9)]
    assert plot(course, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000
