"""What a soak has to show, each rule with its tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tests.soak.harm import Injection
from tests.soak.soak import Course
from tests.soak.watch import Sample

WARM_UP = 0.3  # of the time, in which caches fill and every kind of fault comes for the first time
SHORTEST_S = 300.0  # of a soak whose slopes mean something
RSS_SHARE = 0.05  # by which memory may grow from the first third after warm-up to the last
THREADS_MORE = 1
FDS_MORE = 2
AGE_BOUND_S = 2.0
EXIT_S = 10.0
WAIT_S = 10.0  # of a viewer; the slate has to be there sooner


@dataclass(frozen=True, slots=True)
class Verdict:
    """One rule, whether it holds, and what was measured."""

    rule: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Trend:
    """A quantity over time: medians of the first and the last third after warm-up, and the slope
    of the straight line through all of it (Theil and Sen's median of slopes), per hour."""

    early: float
    late: float
    per_hour: float


def trend(samples: Sequence[Sample], of: Callable[[Sample], float]) -> Trend:
    """How a quantity went on after the warm-up. Takes at least nine samples."""
    warm = samples[int(len(samples) * WARM_UP) :]
    third = len(warm) // 3
    early, late = (
        median([of(one) for one in part]) for part in (warm[:third], warm[len(warm) - third :])
    )
    few = warm[:: max(1, len(warm) // 200)]
    slopes = [(of(b) - of(a)) / (b.at_s - a.at_s) for i, a in enumerate(few) for b in few[i + 1 :]]
    return Trend(early, late, 3600.0 * median(slopes))


def judge(
    course: Course,
    age_bound_s: float = AGE_BOUND_S,
    exit_bound_s: float = EXIT_S,
    wait_bound_s: float = WAIT_S,
) -> list[Verdict]:
    """Every rule. Those on slopes are left out of a soak shorter than `SHORTEST_S`."""
    verdicts = [
        _faults(course.injections),
        _nothing_else(course),
        _ages(course, age_bound_s),
        _recordings(course),
        _viewers(course, wait_bound_s),
        Verdict(
            "no sink fails because a camera does",
            not course.sink_failures,
            str(course.sink_failures or "none"),
        ),
        Verdict(
            f"SIGTERM ends it with 0 within {exit_bound_s:g} s",
            course.exit_code == 0 and course.exit_s < exit_bound_s and not course.left_behind,
            "; ".join([f"{course.exit_code} after {course.exit_s:.1f} s", *course.left_behind]),
        ),
    ]
    if course.plan.seconds >= SHORTEST_S:
        verdicts += slopes(course.samples)
    return verdicts


def slopes(samples: Sequence[Sample]) -> list[Verdict]:
    """Memory, threads and files do not grow after the warm-up."""
    rss = trend(samples, lambda one: one.rss_mb)
    threads = trend(samples, lambda one: one.threads)
    fds = trend(samples, lambda one: one.fds)
    return [
        Verdict(
            f"memory grows by less than {RSS_SHARE:.0%} after warm-up",
            rss.late - rss.early < RSS_SHARE * rss.early,
            f"{rss.early:.0f} to {rss.late:.0f} MB, {rss.per_hour:+.1f} MB an hour",
        ),
        Verdict(
            f"threads grow by at most {THREADS_MORE}",
            threads.late - threads.early <= THREADS_MORE,
            f"{threads.early:g} to {threads.late:g}, {threads.per_hour:+.1f} an hour",
        ),
        Verdict(
            f"open files and sockets grow by at most {FDS_MORE}",
            fds.late - fds.early <= FDS_MORE,
            f"{fds.early:g} to {fds.late:g}, {fds.per_hour:+.1f} an hour",
        ),
    ]


def _faults(injections: Sequence[Injection]) -> Verdict:
    wrong = [one for one in injections if not one.is_accounted_for]
    seen = f"{len(injections) - len(wrong)} of {len(injections)}"
    if wrong:
        seen += ": " + "; ".join(f"{one.kind.name} of {one.stream}: {one.counted}" for one in wrong)
    return Verdict("every fault is accounted for in metrics", bool(injections) and not wrong, seen)


def _nothing_else(course: Course) -> Verdict:
    """No reconnect without a fault: one of another stream, say."""
    counted = {
        stream: sum(sum(one.counted.values()) for one in course.injections if one.stream == stream)
        for stream in course.frames
    }
    more = {
        stream: sum(course.reconnects.get(stream, {}).values()) - times
        for stream, times in counted.items()
    }
    more = {stream: times for stream, times in more.items() if times}
    return Verdict("there is no reconnect without a fault", not more, str(more or "none"))


def _ages(course: Course, bound_s: float) -> Verdict:
    shares_s = course.age_shares_s()
    return Verdict(
        f"no reading is older than {bound_s:g} s",
        bool(course.ages_s) and shares_s["1"] <= bound_s,
        f"{len(course.ages_s)} readings: half of them at most {shares_s['0.5']:.2f} s old, "
        f"999 of 1000 {shares_s['0.999']:.2f} s, the oldest {shares_s['1']:.2f} s",
    )


def _recordings(course: Course) -> Verdict:
    seen = f"{len(course.recordings)} files, {sum(course.recordings.values())} pictures"
    if course.broken:
        seen += "; " + "; ".join(course.broken)
    fine = bool(course.recordings) and not course.broken
    return Verdict("every recording plays to its end", fine, seen)


def _viewers(course: Course, bound_s: float) -> Verdict:
    longest_s = max((seen.longest_wait_s for seen in course.viewers), default=0.0)
    pictures = [seen.pictures for seen in course.viewers]
    faults = [f"{seen.name}: {fault}" for seen in course.viewers for fault in seen.faults]
    return Verdict(
        f"viewers miss nothing, and wait for {bound_s:g} s at most",
        bool(pictures) and all(pictures) and longest_s <= bound_s and not faults,
        "; ".join([f"{pictures} pictures, longest wait {longest_s:.1f} s", *faults]),
    )
