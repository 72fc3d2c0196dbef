"""Fixtures for tests of the classifiers."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.classifiers.bars import write_bars


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's own handler of SIGINT, for tests that send it: a shell starts jobs with `&` so that
    they ignore SIGINT, and the tests would too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's folder layout with 60 faces a class to train on and 12 to test on."""
    return write_bars(tmp_path_factory.mktemp("fer"))
