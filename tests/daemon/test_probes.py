"""How long a verdict of a probe lasts."""

from __future__ import annotations

import threading

from daemon.probes import FAILURE_LASTS_S, MOST_KEPT, ProbeCache


def test_a_success_is_kept_and_a_failure_tried_again_after_a_while() -> None:
    """1. A full card fails, and is asked again for nothing. 2. When the failure is old it is tried
    again, and works. 3. That is kept for each size by itself, until it is doubted."""
    now_s, tried, full = 0.0, list[tuple[str, int]](), True

    def passes(name: str, width: int) -> bool:
        tried.append((name, width))
        return not full

    works = ProbeCache(passes, lambda: now_s)
    assert not works("nvenc", 640)
    now_s, full = FAILURE_LASTS_S - 1.0, False
    assert not works("nvenc", 640)
    now_s = FAILURE_LASTS_S
    assert works("nvenc", 640)
    now_s, full = 1e9, True
    assert works("nvenc", 640)
    assert not works("nvenc", 320)
    assert tried == [("nvenc", 640), ("nvenc", 640), ("nvenc", 320)]
    works.forget()
    assert not works("nvenc", 640)


def test_what_is_being_tried_is_waited_for() -> None:
    """Streams that start together ask the graphics card once."""
    entered, go, tried = threading.Event(), threading.Event(), list[int]()

    def passes(width: int) -> bool:
        tried.append(width)
        entered.set()
        return go.wait(60.0)

    works, said = ProbeCache(passes), list[bool]()
    threads = [threading.Thread(target=lambda: said.append(works(640))) for _ in range(2)]
    threads[0].start()
    assert entered.wait(60.0)
    threads[1].start()
    threads[1].join(0.05)
    go.set()
    for thread in threads:
        thread.join(60.0)
    assert (tried, said) == ([640], [True, True])


def test_only_so_many_verdicts_are_kept() -> None:
    tried: list[int] = []

    def passes(width: int) -> bool:
        tried.append(width)
        return True

    works = ProbeCache(passes)
    for width in (*range(MOST_KEPT + 1), MOST_KEPT, 0):
        assert works(width)
    assert tried == [*range(MOST_KEPT + 1), 0]
