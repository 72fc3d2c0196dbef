"""A device that is out of memory (OOM), by training or by another program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from classifiers.errors import ClassifierError

OOM = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""What torch, CUDA, and the libraries on it that keep memory of their own say then."""


def is_oom(error: Exception) -> bool:
    """Whether an error says that a device's memory is full, whoever raised it."""
    return any(words in str(error) for words in OOM)


@contextmanager
def explain_oom(kind: type[ClassifierError], otherwise: str) -> Iterator[None]:
    """Turn the error of a full device into a `kind`; `otherwise` says what else the user can do."""
    try:
        yield
    except RuntimeError as error:
        if not is_oom(error):
            raise
        raise kind(
            f"the memory of the device is full: end what else fills it, or {otherwise}"
        ) from error
