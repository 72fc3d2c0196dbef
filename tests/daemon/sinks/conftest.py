"""Fixtures for tests of the sinks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon.sinks.writers import WAIT_S, Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.stop.set()
    for writer in bench.writers:
        assert writer.close(WAIT_S)
