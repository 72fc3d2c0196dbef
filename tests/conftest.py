"""What holds for all tests."""

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and as much time for each as a busy machine takes.
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
    """A camera's server on a busy machine may take long to begin."""
    monkeypatch.setattr("daemon.sources.container.OPEN_TIMEOUT_S", 60.0)
