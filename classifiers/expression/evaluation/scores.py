"""The figures of an evaluation, from probabilities and labels; scikit-learn and scipy count.

Shares are 0..1. A figure that the images do not define is None: the recall of a class without an
image, say. Macro means are taken over the classes that have images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from classifiers.errors import DataError
from classifiers.expression import LABELS
from classifiers.expression.evaluation.measure import losses
from classifiers.extras import extra

with extra("train"):
    from sklearn import metrics

Guessed = NDArray[np.float32]
Labels = NDArray[np.int64]

BINS = 15
CONFIDENCE = 0.95
RESAMPLES = 2000
DRAWS = 200  # of labels, for `ece_by_chance`
CLASSES = range(len(LABELS))


@dataclass(frozen=True)
class Scores:
    """The headline figures of some images.

    interval: of the accuracy, 95 %, percentiles of a seeded bootstrap over the images; nll_interval
    likewise. nll: mean of `losses`. hamming: share of labels that are wrong. ece: see
    `reliability`; ece_by_chance: mean and 97.5 % bound. answered: share whose top probability
    reaches `unknown_below`; right_answered: the accuracy among those.
    """

    images: int
    accuracy: float
    interval: tuple[float, float] | None
    nll: float
    nll_interval: tuple[float, float] | None
    precision: float
    recall: float
    f1: float
    auc: float | None
    kappa: float | None
    hamming: float
    ece: float
    ece_by_chance: tuple[float, float]
    answered: float
    right_answered: float | None


@dataclass(frozen=True)
class ClassScores:
    """One class against all others."""

    label: str
    images: int
    precision: float
    recall: float | None
    f1: float
    auc: float | None


@dataclass(frozen=True)
class Bin:
    """Images whose top probability lies in low..high: how sure the net was, how right."""

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Quarter:
    """The images between two quartiles of a property, in its own unit."""

    low: float
    high: float
    scores: Scores


@dataclass(frozen=True)
class Comparison:
    """McNemar's exact test: `p` is how often equally good nets would differ so much or more.

    accuracy, nll: of the second net. *_ahead: how much greater the first net's is, the mean over
    the images; *_error: the `standard_error` of that.
    """

    other: str
    accuracy: float
    accuracy_ahead: float
    accuracy_error: float | None
    nll: float
    nll_ahead: float
    nll_error: float | None
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p: float


def score(guessed: Guessed, labels: Labels, unknown_below: float, seed: int) -> Scores | None:
    """The headline figures of probabilities [N, 7] for labels [N]; None without an image."""
    if not len(labels):
        return None
    predicted = guessed.argmax(1)
    right, lost = predicted == labels, losses(guessed, labels)
    present = [c for c in by_class(guessed, labels) if c.images]
    areas = [c.auc for c in present if c.auc is not None]
    answered = guessed.max(1) >= unknown_below
    varied = len(np.union1d(labels, predicted)) > 1
    return Scores(
        images=len(labels),
        accuracy=float(metrics.accuracy_score(labels, predicted)),
        interval=_interval(right, seed),
        nll=float(lost.mean()),
        nll_interval=_interval(lost, seed),
        precision=float(np.mean([c.precision for c in present])),
        recall=float(np.mean([c.recall for c in present if c.recall is not None])),
        f1=float(np.mean([c.f1 for c in present])),
        auc=float(np.mean(areas)) if areas else None,
        kappa=float(metrics.cohen_kappa_score(labels, predicted)) if varied else None,
        hamming=float(metrics.hamming_loss(labels, predicted)),
        ece=ece(reliability(guessed, labels)),
        ece_by_chance=ece_by_chance(guessed, seed),
        answered=float(answered.mean()),
        right_answered=float(right[answered].mean()) if answered.any() else None,
    )


def by_class(guessed: Guessed, labels: Labels) -> list[ClassScores]:
    """Precision, recall, F1 and the area under the one-vs-rest ROC curve of every class."""
    precision, recall, f1, images = metrics.precision_recall_fscore_support(
        labels, guessed.argmax(1), labels=list(CLASSES), zero_division=0.0
    )
    return [
        ClassScores(
            label=LABELS[c],
            images=int(images[c]),
            precision=float(precision[c]),
            recall=float(recall[c]) if images[c] else None,
            f1=float(f1[c]),
            auc=float(metrics.roc_auc_score(labels == c, guessed[:, c]))
            if 0 < images[c] < len(labels)
            else None,
        )
        for c in CLASSES
    ]


def confusion(guessed: Guessed, labels: Labels) -> NDArray[np.int64]:
    """Images by label (row) and prediction (column), [7, 7]."""
    table: NDArray[np.int64] = metrics.confusion_matrix(
        labels, guessed.argmax(1), labels=list(CLASSES)
    )
    return table


def reliability(guessed: Guessed, labels: Labels) -> list[Bin]:
    """15 bins of equal width over the top probability, 0..1; the lower edge belongs to a bin."""
    top = _top(guessed)
    right = guessed.argmax(1) == labels
    means, edges, _ = stats.binned_statistic(top, [top, right], "mean", BINS, (0.0, 1.0))
    counts = stats.binned_statistic(top, top, "count", BINS, (0.0, 1.0)).statistic
    return [
        Bin(
            low=float(edges[i]),
            high=float(edges[i + 1]),
            images=int(counts[i]),
            confidence=float(means[0, i]) if counts[i] else None,
            accuracy=float(means[1, i]) if counts[i] else None,
        )
        for i in range(BINS)
    ]


def ece(bins: Sequence[Bin]) -> float:
    """Expected calibration error: mean |accuracy - confidence| of the bins, by their images."""
    filled = [
        (b.images, b.accuracy - b.confidence)
        for b in bins
        if b.accuracy is not None and b.confidence is not None
    ]
    images, gaps = np.array(filled).T
    return float(np.average(np.abs(gaps), weights=images))


def ece_by_chance(guessed: Guessed, seed: int) -> tuple[float, float]:
    """What `ece` is where these probabilities [N, 7] are just right: mean, and 97.5 % bound.

    Even a perfect net's sampled labels miss a bin's mean by chance, so this is above zero.
    """
    top = _top(guessed)
    right = np.random.default_rng(seed).random((DRAWS, len(top))) < top
    gaps = stats.binned_statistic(top, right - top, "sum", BINS, (0.0, 1.0)).statistic
    drawn = np.abs(gaps).sum(1) / len(top)
    return float(drawn.mean()), float(np.quantile(drawn, 0.975))


def quarters(
    images: NDArray[np.uint8], guessed: Guessed, labels: Labels, unknown_below: float, seed: int
) -> dict[str, list[Quarter]]:
    """Scores of four equal parts of the images, from the least to the most, by three properties.

    images: uint8 [N, 48, 48]. brightness: mean grey level; contrast: deviation of the grey levels;
    blur: variance of the Laplacian, which is least where an image is blurred. Raises DataError
    where N is less than 4.
    """
    if len(labels) < 4:
        raise DataError(
            f"{len(labels)} faces are too few to be evaluated; accepted is a split of 4 or more"
        )
    properties = {
        "brightness": images.mean(axis=(1, 2)),
        "contrast": images.std(axis=(1, 2)),
        "blur": np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in images]),
    }
    found: dict[str, list[Quarter]] = {}
    for name, values in properties.items():
        found[name] = []
        for part in np.array_split(np.argsort(values, kind="stable"), 4):
            scores = score(guessed[part], labels[part], unknown_below, seed)
            assert scores is not None  # N is at least 4
            low, high = float(values[part].min()), float(values[part].max())
            found[name].append(Quarter(low, high, scores))
    return found


def compare(guessed: Guessed, other: Guessed, labels: Labels, name: str) -> Comparison:
    """McNemar's test (1947), exact: do two nets differ on the images that one of them gets right?

    guessed, other: probabilities [N, 7] of the first and the second net, which is called `name`.
    """
    first, second = guessed.argmax(1) == labels, other.argmax(1) == labels
    ahead = first.astype(np.float64) - second
    theirs = losses(other, labels)
    nll_ahead = losses(guessed, labels) - theirs
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    differ = only_first + only_second
    return Comparison(
        other=name,
        accuracy=float(second.mean()),
        accuracy_ahead=float(ahead.mean()),
        accuracy_error=standard_error(ahead),
        nll=float(theirs.mean()),
        nll_ahead=float(nll_ahead.mean()),
        nll_error=standard_error(nll_ahead),
        both_right=int((first & second).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~first & ~second).sum()),
        p=float(stats.binomtest(only_first, differ).pvalue) if differ else 1.0,
    )


def _top(guessed: Guessed) -> NDArray[np.float64]:
    """The top probabilities, [N]; rounding may leave them above 1."""
    top: NDArray[np.float64] = guessed.max(1).astype(np.float64).clip(0.0, 1.0)
    return top


def standard_error(differences: NDArray[np.float64]) -> float | None:
    """That of the mean of paired differences [N]; None where N is less than 2."""
    return float(stats.sem(differences)) if len(differences) > 1 else None


def _interval(values: NDArray[np.bool_ | np.float64], seed: int) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    found = stats.bootstrap(
        (values.astype(np.float64),),
        np.mean,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
