"""What tests of the daemon share. Nothing here loads torch."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from daemon.monitoring.metrics import Metrics
from daemon.sinks import writer


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def good_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that takes one thing again is up."""
    monkeypatch.setattr(writer, "GOOD_AFTER_S", 0.0)


@pytest.fixture
def patient_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks on a busy machine may take long to finish their files."""
    monkeypatch.setattr("daemon.pipeline.CLOSE_S", 60.0)
