"""What a net makes of a split, and what is fitted to that: temperature, and when to abstain.

Training uses this too, so scikit-learn is imported only where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers.base import Classifier
from classifiers.expression import TTA, StaticTTA
from classifiers.expression.architectures import FaceNet
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.data import Faces
from classifiers.expression.tta import (
    STATIC_TTA,
    VIEW_COUNT,
    mean_probabilities,
    with_temperature,
)
from classifiers.extras import extra

BATCH = 64  # faces
LEAST = 2.0**-23  # float32's resolution at 1: a probability of 0 would be an infinite loss
UNKNOWN_PERCENT = range(30, 61)  # the thresholds that `unknown_threshold` chooses from


def batches(images: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Images [N, 48, 48] in parts of BATCH to 2 BATCH - 1; fewer than BATCH in one part."""
    return np.array_split(images, _number(images))


@torch.inference_mode()
def probabilities(
    net: FaceNet,
    faces: Faces,
    crop_px: int,
    tta: TTA,
    device: str,
) -> NDArray[np.float32]:
    """Uncalibrated probabilities of every face, float32 [N, 7]. Leaves the net in eval mode."""
    net.eval()
    images = torch.from_numpy(faces.images).to(device)
    parts = [
        mean_probabilities(net, part, crop_px, tta)
        for part in images.tensor_split(_number(faces.images))
    ]
    return torch.cat(parts).cpu().numpy().astype(np.float32)  # only here a card is waited for


def _number(images: NDArray[np.uint8]) -> int:
    return max(1, len(images) // BATCH)


def classify(
    classifier: Classifier,
    faces: Faces,
    done: Callable[[int], None] = lambda number: None,
) -> NDArray[np.float32]:
    """What a classifier that reads faces makes of a split, float32 [N, 7].

    `done` gets the number of faces of each batch as soon as it is read.
    """
    guessed = []
    for part in batches(faces.images):
        guessed.append(classifier.predict(part))
        done(len(part))
    return np.concatenate(guessed)


def read_splits(
    nets: Sequence[ExpressionClassifier],
    splits: Mapping[str, Faces],
    report: Callable[[float, str], None],
) -> dict[tuple[str, StaticTTA], NDArray[np.float32]]:
    """What M nets make of every split in every mode, float32 [M, N, 7]; changes their `tta`.

    `report` gets the share that is done, 0..1, and what is being done.
    """
    read = 0
    faces = sum(len(split.files) for split in splits.values())
    views = len(nets) * faces * sum(VIEW_COUNT[tta] for tta in STATIC_TTA)

    def guess(net: ExpressionClassifier, split: str, tta: StaticTTA) -> NDArray[np.float32]:
        def done(number: int) -> None:
            nonlocal read
            read += VIEW_COUNT[tta] * number
            report(read / views, f"{net.name} reads {split}, {tta}, by {net.engine}")

        net.tta = tta
        return classify(net, splits[split], done)

    return {
        (split, tta): np.stack([guess(net, split, tta) for net in nets])
        for split in splits
        for tta in STATIC_TTA
    }


def accuracy(guessed: NDArray[np.float32], faces: Faces) -> float:
    """Share of faces whose likeliest class is their label, 0..1."""
    return float((guessed.argmax(1) == faces.labels).mean())


def losses(guessed: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Negative log-likelihood of each label [N] under probabilities [N, 7], in nats."""
    likely = guessed[np.arange(len(labels)), labels].astype(np.float64)
    found: NDArray[np.float64] = -np.log(likely.clip(LEAST, 1.0))
    return found


def fit_temperature(guessed: NDArray[np.float32], faces: Faces) -> float:
    """The temperature that makes `guessed` (at temperature 1) likeliest (arXiv:1706.04599)."""
    logits = torch.from_numpy(guessed).clamp_min(1e-12).log().double()
    labels = torch.from_numpy(faces.labels)
    tried = np.geomspace(0.25, 4.0, 400)
    lost = [float(nn.functional.cross_entropy(logits / t, labels)) for t in tried]
    return float(tried[int(np.argmin(lost))])


def need_extra() -> None:
    """Raise ExtraError if `unknown_threshold` would: before hours of training, not after."""
    with extra("train"):
        import sklearn.linear_model  # noqa: F401


def unknown_threshold(guessed: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The top probability from which on a label is more likely right than wrong.

    guessed: calibrated probabilities [N, 7] of a split that training did not see; labels: [N].
    Being right is regressed on the top probability by logistic regression: two parameters, so
    that some 1,400 faces fix them. Returns the least of 0.30, 0.31 … 0.60 at which more than
    half are right, or 0.60. Raises ExtraError without scikit-learn.
    """
    with extra("train"):
        from sklearn.linear_model import LogisticRegression
    top, right = guessed.max(1).astype(np.float64), guessed.argmax(1) == labels
    tried = np.array(UNKNOWN_PERCENT) / 100
    if right.all() or not right.any():  # a regression needs both
        return float(tried[0] if right.all() else tried[-1])
    curve = LogisticRegression(C=1e6).fit(top[:, None], right)
    likely = curve.predict_proba(tried[:, None])[:, 1] > 0.5
    return float(tried[int(likely.argmax())] if likely.any() else tried[-1])


def figures(
    plain: Mapping[tuple[str, StaticTTA], NDArray[np.float32]],
    splits: Mapping[str, Faces],
    tta: StaticTTA,
) -> dict[str, Any]:
    """A record's `temperature` of each mode and `unknown_below`, by the holdout, and its `scores`.

    plain: uncalibrated probabilities [N, 7] of every split in every mode. `unknown_below` goes by
    the mode `tta`. Raises ExtraError without scikit-learn.
    """
    held = splits["holdout"]
    temperature: dict[str, float] = {
        mode: round(fit_temperature(plain["holdout", mode], held), 4) for mode in STATIC_TTA
    }
    sure = with_temperature(torch.from_numpy(plain["holdout", tta]), temperature[tta]).numpy()
    return {
        "temperature": temperature,
        "unknown_below": unknown_threshold(sure, held.labels),
        "scores": accuracies(plain, splits),
    }


def accuracies(
    guessed: Mapping[tuple[str, StaticTTA], NDArray[np.float32]], splits: Mapping[str, Faces]
) -> dict[str, float]:
    """The accuracy of each split and mode, as a record's `scores` call and round it."""
    return {
        f"{split}_{mode}": round(accuracy(p, splits[split]), 5)
        for (split, mode), p in guessed.items()
    }
