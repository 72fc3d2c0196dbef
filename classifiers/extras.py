"""Libraries that come with an extra only: where one is missing, the user reads how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from classifiers.errors import ExtraError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import the libraries of extra `name` within; raises ExtraError for one that is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ExtraError(
            f"this needs {error.name}, which is not installed: pip install 'affectd[{name}]'"
        ) from error
