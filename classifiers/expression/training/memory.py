"""A device whose memory is full, by training or by another program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from classifiers.errors import TrainingError

FULL = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED")
"""What torch, CUDA, and the libraries on it that keep memory of their own say then."""


def is_full(error: Exception) -> bool:
    """Whether an error says that a device's memory is full, whoever raised it."""
    return any(words in str(error) for words in FULL)


@contextmanager
def full_memory_told(otherwise: str) -> Iterator[None]:
    """Raise TrainingError where a device's memory is full; `otherwise` is what else can be done."""
    try:
        yield
    except RuntimeError as error:
        if not is_full(error):
            raise
        raise TrainingError(
            f"the memory of the device is full: end what else fills it, or {otherwise}"
        ) from error
