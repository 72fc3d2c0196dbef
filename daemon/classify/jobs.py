"""What streams hand to the batcher, and what they get back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Job:
    """One crop that waits to be classified.

    `image` is what the classifier reads; `context` is its owner's, and untouched.
    `view_index` is how many readings were in its track's average when it was cut. Its picture was
    captured at `captured_mono_s` and the job submitted at `submitted_s`, by the batcher's clock.
    """

    stream: str
    track: int
    image: NDArray[np.uint8]
    context: object
    captured_mono_s: float
    submitted_s: float
    view_index: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """Probabilities float32 [len(labels)] for a job, from so many views; or None, with none."""

    job: Job
    probabilities: NDArray[np.float32] | None
    view_count: int = 0


Deliver = Callable[[Sequence[Result]], None]
"""Takes those results of a batch that are its own, one at least."""
