"""What three scales of a face say in place of ten crops, on every 24th face of PublicTest."""

from __future__ import annotations

import numpy as np
import pytest

from classifiers.expression import StaticTTA
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import accuracy, classify, losses
from classifiers.expression.tta import VIEW_COUNT
from tests.fer import load_split
from tests.shared import SHARED, needs_shared

EVERY = 24
MOST_LOST = 0.04  # of accuracy on these faces: two standard errors of the difference
MOST_DEARER = 0.03  # nats a face, likewise


@needs_shared
@pytest.mark.parametrize("weights", ["default", "vgg10-wide"])
def test_three_scales_are_as_good_as_ten_crops(weights: str) -> None:
    classifier = ExpressionClassifier.load(weights, device="cpu")
    public = load_split(SHARED / "data/fer2013/fer2013.tar.xz", "public")
    faces = public.keep(np.arange(len(public.images)) % EVERY == 0)

    def figures(tta: StaticTTA) -> tuple[float, float]:
        classifier.tta = tta
        said = classify(classifier, faces)
        return accuracy(said, faces), float(losses(said, faces.labels).mean())

    one, few, ten = figures("none"), figures("scales"), figures("ten_crop")
    assert few[0] >= ten[0] - MOST_LOST
    assert few[1] <= ten[1] + MOST_DEARER
    assert few[1] < one[1]
    assert VIEW_COUNT["scales"] / VIEW_COUNT["ten_crop"] < 1 / 3
