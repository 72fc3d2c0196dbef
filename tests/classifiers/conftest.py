"""What tests of the classifiers share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.classifiers.bars import write_bars


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Python's own handler, for tests that press it: a shell ignores SIGINT for what it starts with
    `&`, and so would they."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's folder layout with 60 faces a class to train on and 12 to test on."""
    return write_bars(tmp_path_factory.mktemp("fer"))
