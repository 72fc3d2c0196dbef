"""Fixtures for tests of the daemon. Nothing here loads torch."""

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
    """A failed sink is up again after one successful write."""
    monkeypatch.setattr(writer, "GOOD_AFTER_S", 0.0)


@pytest.fixture
def patient_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits longer for sinks to finish their files, which may take long on a busy machine."""
    monkeypatch.setattr("daemon.pipeline.CLOSE_S", 60.0)
