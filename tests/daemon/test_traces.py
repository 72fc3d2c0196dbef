"""Which faults are logged with their trace."""

from __future__ import annotations

import pytest

from daemon.traces import QUIET_S, Traces


def one(number: int) -> None:
    kind = ValueError if number < 0 else RuntimeError
    raise kind(f"no memory at 0x{number:x}")


def other(number: int) -> None:
    raise RuntimeError("the device went away")


def test_a_fault_is_told_once_until_its_place_was_quiet() -> None:
    """1. A fault comes back, each time with another text: told once. 2. One from another place is
    told at once, as is another kind from there. 3. The first goes on for hours: not told. 4. It
    comes back after a pause."""
    now_s = 0.0
    traces = Traces(lambda: now_s)

    def told(fail: object, number: int = 0) -> bool:
        assert callable(fail)
        with pytest.raises((RuntimeError, ValueError)) as caught:
            fail(number)
        return traces.is_due(caught.value)

    assert [told(one, number) for number in range(3)] == [True, False, False]
    assert told(other)
    assert told(one, -1)
    for number in range(100):
        now_s += QUIET_S
        assert not told(one, number)
    now_s += QUIET_S + 1.0
    assert told(one)
