"""What every classifier declares, so that the batcher need not know its kind."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Reads = Literal["face", "frame", "frame_text", "clip"]


class Classifier(Protocol):
    """A model that turns a batch of inputs into class probabilities.

    `reads` says what one input is: `face` a uint8 grey crop from the crop contract
    ([48, 48], full range 0..255), `frame` a whole picture, `frame_text` a picture with its
    text, `clip` a stretch of video with sound. `engine` is what computes it on `device`, and how
    precisely. Below a probability of `unknown_below` the label is `unknown`.
    """

    name: str
    reads: Reads
    labels: tuple[str, ...]
    device: str
    engine: str
    unknown_below: float

    @property
    def view_count(self) -> int:
        """How many views of each input are averaged."""
        ...

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Return calibrated probabilities, [N, len(labels)] float32, each row summing to 1.

        view_indices: [N], how many readings of each one's track are averaged already; None: zeros.
        """
        ...
