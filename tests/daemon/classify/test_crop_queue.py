"""Whose turn it is in the queue of crops."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.classify.crop_queue import CropQueue, Queued
from daemon.classify.jobs import Job
from tests.daemon.classify.simulated import FACE


@settings(max_examples=60)
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
        queue.put(
            Job(stream, track, FACE, number, float(number), float(number)), lambda result: None
        )
        newest[stream, track] = number
        assert len(queue) <= room
    before = len(queue)
    taken = queue.take(most, 100.0)
    assert len(taken) == min(most, before)
    assert len(queue) + len(taken) + len(given_up) == len(puts)
    for queued in taken:
        assert queued.job.context == newest[queued.job.stream, queued.job.track]
    served = Counter(queued.job.stream for queued in taken)
    left = queue.take(room, 100.0)
    for stream in {queued.job.stream for queued in left}:
        assert all(served[other] <= served[stream] + 1 for other in served)


def test_a_crop_in_the_place_of_an_older_one_keeps_its_turn() -> None:
    queue = CropQueue(8, lambda queued, reason: None)
    for when, track in enumerate([1, 2, 1]):
        queue.put(Job("lobby", track, FACE, when, float(when), float(when)), lambda result: None)
    assert [queued.job.context for queued in queue.take(8, 3.0)] == [2, 1]
