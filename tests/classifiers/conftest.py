"""What tests of the classifiers share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.classifiers.bars import write_bars


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's folder layout with 60 faces a class to train on and 12 to test on."""
    return write_bars(tmp_path_factory.mktemp("fer"))
