"""Probabilities under another prior: Bayes' rule by hand, and that the shares are the data's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.expression import LABELS
from classifiers.expression.prior import TRAINED, told, with_prior
from daemon.track import Smoother
from tests.bench.prior import figures
from tests.fer import load_split
from tests.shared import SHARED, needs_shared

shares = st.lists(st.floats(0.01, 1.0), min_size=7, max_size=7).map(lambda s: np.array(s) / sum(s))


@needs_shared
def test_the_shares_are_those_of_the_data() -> None:
    faces = load_split(SHARED / "data/fer2013/fer2013.tar.xz", "train")
    counts = np.bincount(faces.labels, minlength=len(LABELS))
    assert pytest.approx(counts / counts.sum(), abs=1e-4) == TRAINED


def test_by_hand() -> None:
    """Neutral told at half: its odds against all others rise by (0.5 / 0.5) / (0.1780 / 0.8220)."""
    p = np.array([0.1, 0.0, 0.1, 0.1, 0.3, 0.1, 0.3])
    weighed = with_prior(p, {"neutral": 0.5})
    odds = 0.3 / 0.7 * (1.0 - 0.1780) / 0.1780
    assert weighed[-1] == pytest.approx(odds / (1.0 + odds), abs=1e-3)
    assert weighed.sum() == pytest.approx(1.0)
    assert weighed[4] / weighed[0] == pytest.approx(3.0)
    assert weighed[1] == 0.0


@given(shares)
def test_no_prior_and_that_of_training_change_nothing(p: np.ndarray) -> None:
    assert with_prior(p, {}) is p
    trained = dict(zip(LABELS, TRAINED / TRAINED.sum(), strict=True))
    assert with_prior(p, trained) == pytest.approx(p, abs=1e-6)


@given(shares, shares)
def test_rows_sum_to_one_and_a_class_that_never_occurs_gets_nothing(
    p: np.ndarray, prior: np.ndarray
) -> None:
    named = dict(zip(LABELS[:5], prior[:5], strict=True)) | {"sad": 0.0}
    rows = with_prior(np.stack([p, p[::-1]]), named)
    assert rows.sum(1) == pytest.approx([1.0, 1.0])
    assert rows[:, LABELS.index("sad")] == pytest.approx([0.0, 0.0])


@given(st.lists(shares, min_size=2, max_size=5))
def test_smoothing_first_is_weighing_first(looks: list[np.ndarray]) -> None:
    """So a reload takes hold at once, and in the middle of a track."""
    plain, early = Smoother(), Smoother()
    prior = {"neutral": 0.5, "happy": 0.2}
    for at, look in enumerate(looks):
        after = with_prior(plain.update(look.astype(np.float32), at / 10, 0.5), prior)
        before = early.update(with_prior(look, prior).astype(np.float32), at / 10, 0.5)
    assert after == pytest.approx(before, abs=1e-4)


def test_it_is_told_in_the_order_of_the_labels() -> None:
    assert told({"neutral": 0.5, "sad": 0.05}) == "sad=0.05 neutral=0.5"
    assert told({}) is None


def test_it_helps_where_it_is_true_and_costs_where_it_is_not() -> None:
    """Two faces look the same, sad rather than neutral; one is neutral."""
    doubtful = np.array([0.0, 0.0, 0.0, 0.0, 0.6, 0.0, 0.4])
    labels = np.array([LABELS.index("sad"), LABELS.index("neutral")])
    p = np.stack([doubtful, doubtful])
    assert figures(p, labels, None, None)[0] == figures(p, labels, 0.5, None)[0] == 0.5
    assert figures(p, labels, None, 0.8)[0] == pytest.approx(0.2)
    assert figures(p, labels, 0.5, 0.8)[0] == pytest.approx(0.8)
