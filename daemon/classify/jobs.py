"""What streams hand to the batcher, and what they get back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Job:
    """One crop that waits to be classified.

    `image` is what the classifier reads; `context` belongs to the submitter and stays untouched.
    `view_index` is how many readings the average of its track held when it was cut. Its picture was
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
    """Probabilities float32 [len(labels)] of a job, from `view_count` views; None without."""

    job: Job
    probabilities: NDArray[np.float32] | None
    view_count: int = 0


Deliver = Callable[[Sequence[Result]], None]
"""Takes those results of a batch whose jobs it was submitted with, one at least."""
