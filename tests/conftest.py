"""Settings and fixtures for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no deadline for them, since the machine may be busy.
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits longer for a camera's server, which may start slowly on a busy machine."""
    monkeypatch.setattr("daemon.sources.container.OPEN_TIMEOUT_S", 60.0)
