"""What tests of the daemon share. Nothing here loads torch."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from daemon.monitoring.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())
