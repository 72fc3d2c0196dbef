"""Turns of threads: how many work at once, in which order, and that a long one lets others in."""

from __future__ import annotations

import threading
import time

import pytest

from daemon.turns import SLICE_S, Turn, Turns

LONG_S = 60.0


def wait_for(turns: Turns, number: int) -> None:
    """Return when so many threads wait."""
    end_s = time.monotonic() + LONG_S
    while len(turns._waiting) != number:
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_no_more_threads_work_at_once_than_may() -> None:
    turns = Turns(2)
    lock, working, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal working, most
        turn = Turn(turns)
        for _ in range(20):
            with turn:
                with lock:
                    working += 1
                    most = max(most, working)
                time.sleep(0.0005)
                with lock:
                    working -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 2


def test_who_waits_longest_comes_next() -> None:
    turns = Turns(1)
    came: list[int] = []

    def work(number: int) -> None:
        with Turn(turns):
            came.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    with Turn(turns):
        for number, thread in enumerate(threads):
            thread.start()
            wait_for(turns, number + 1)
    for thread in threads:
        thread.join(LONG_S)
    assert came == [0, 1, 2, 3, 4]


def test_long_work_lets_others_in_between_its_items_and_goes_on() -> None:
    now_s, events = 0.0, list[str]()

    class Counted(Turns):
        leaves = 0

        def leave(self) -> None:
            self.leaves += 1
            super().leave()

    turns = Counted(1)

    def other() -> None:
        with Turn(turns):
            events.append("other")

    thread = threading.Thread(target=other)
    with Turn(turns, clock=lambda: now_s) as turn:
        thread.start()
        wait_for(turns, 1)
        for item in turn.sliced(range(5)):
            events.append(str(item))
            now_s += 0.6 * SLICE_S
    thread.join(LONG_S)
    assert events == ["0", "1", "other", "2", "3", "4"]
    assert turns.leaves == 4  # the other, after two slices, and at the end


def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns(1)
    with pytest.raises(RuntimeError), Turn(turns):
        raise RuntimeError
    with Turn(turns):
        pass


def test_without_turns_nobody_waits() -> None:
    with Turn(None) as one, Turn(None):
        assert list(one.sliced("abc")) == ["a", "b", "c"]
