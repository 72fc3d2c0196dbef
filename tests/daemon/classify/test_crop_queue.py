"""Whose turn it is in the queue of crops."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.classify.crop_queue import CropQueue, Queued
from daemon.classify.jobs import Job
from daemon.ladder import Wait
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


def put(queue: CropQueue, stream: str, track: int, when_s: float) -> None:
    queue.put(Job(stream, track, FACE, None, when_s, when_s), lambda result: None)


def test_a_face_that_waits_for_long_is_read_by_its_newest_picture() -> None:
    """What is too old is the picture."""
    given_up: list[str] = []
    queue = CropQueue(8, lambda queued, reason: given_up.append(reason), max_age_s=1.0)
    for when_s in (0.0, 0.9, 1.8):
        put(queue, "lobby", 1, when_s)
    put(queue, "lobby", 2, 0.0)
    (queued,) = queue.take(8, 2.0)
    assert (queued.job.track, queued.waited(2.0)) == (1, Wait(2.0, 2.0))
    assert given_up == ["superseded", "superseded", "too_old"]


def test_a_stream_that_begins_anew_has_no_turns_of_before() -> None:
    """Its faces count from 1 again, and are others."""
    queue = CropQueue(1, lambda queued, reason: None)
    for track in (1, 2):
        put(queue, "lobby", track, 0.0)
    queue.forget("lobby")
    for track in (1, 2):
        put(queue, "lobby", track, 100.0)
        assert [queued.waited(100.0) for queued in queue.take(1, 100.0)] == [Wait(0.0, 0.0)]


@pytest.mark.parametrize("came", [("hall 1", "hall 2", "door 3"), ("door 1", "hall 2", "hall 3")])
def test_the_stream_with_the_most_faces_gives_way(came: tuple[str, ...]) -> None:
    """Of its faces the one that has waited least, even where another stream's has waited less."""
    given_up: list[str] = []
    queue = CropQueue(2, lambda one, _: given_up.append(f"{one.job.stream} {one.job.track}"))
    for when_s, (stream, track) in enumerate(map(str.split, came)):
        put(queue, stream, int(track), float(when_s))
    assert given_up == [max(one for one in came if one.startswith("hall"))]


def test_faces_that_found_no_room_and_left_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.classify.crop_queue.TURNED_AWAY", 3)
    queue = CropQueue(1, lambda queued, reason: None)
    for track in range(10):
        put(queue, "lobby", track, float(track))
    assert list(queue._turned_away) == [("lobby", track) for track in (7, 8, 9)]
