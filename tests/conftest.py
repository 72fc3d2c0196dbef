"""What holds for all tests."""

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
