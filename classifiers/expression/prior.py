"""Probabilities where expressions are as frequent as the user says, and not as in training.

A net's probabilities hold where classes are as frequent as in its training data. Elsewhere each is
weighed by how much more frequent its class is there, as Bayes' rule has it where only the
frequencies differ: Saerens, Latinne & Decaestecker 2002, Neural Computation 14(1), eq. 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from classifiers.expression import LABELS

TRAINED = np.array([0.1395, 0.0138, 0.1421, 0.2577, 0.1724, 0.0966, 0.1780])
"""Share of each of LABELS in FER2013 Training, less holdout, copies and blank images."""


def with_prior(
    probabilities: NDArray[np.float64], prior: Mapping[str, float]
) -> NDArray[np.float64]:
    """The probabilities [..., 7], each row summing to 1, where expressions have other shares.

    prior: shares of some of LABELS, which sum to less than 1, or of all of them; the others have
    what is left, in proportion to their shares in training. Empty: the very same probabilities.
    """
    if not prior:
        return probabilities
    named = np.array([label in prior for label in LABELS])
    left = 1.0 - sum(prior.values())
    rest = TRAINED[~named].sum()
    expected = np.array([prior.get(label, 0.0) for label in LABELS])
    expected[~named] = TRAINED[~named] * left / rest
    weighed = probabilities * expected / TRAINED
    shared: NDArray[np.float64] = weighed / weighed.sum(-1, keepdims=True)
    return shared


def told(prior: Mapping[str, float]) -> str | None:
    """A prior as readings name it, such as `sad=0.05 neutral=0.5`; None where it is empty."""
    return " ".join(f"{label}={prior[label]:g}" for label in LABELS if label in prior) or None
