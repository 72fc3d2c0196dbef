"""The crop contract: what a detector finds is read as well as the data set's own crops."""

from __future__ import annotations

import functools
import logging

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression import data
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.crop import FRAMINGS, crop
from daemon.frame import is_full_range, plane
from tests.classifiers.pasted import find, scenes
from tests.detectors.kinds import build
from tests.fer import load_split
from tests.shared import SHARED, needs_shared

log = logging.getLogger(__name__)

MOST_LOST = 0.02  # of accuracy, between the face's own 48x48 and its way through a detector
# Faces are sorted by class, so every n-th keeps the share of each class.
EVERY = 2
LEAST_FOUND = {"mediapipe short": 0.5, "mediapipe full": 0.25, "yunet": 0.8, "haar": 0.4}


@functools.cache
def public() -> data.Faces:
    """Every n-th face of PublicTest."""
    faces = load_split(SHARED / "data/fer2013/fer2013.tar.xz", "public")
    return faces.keep(np.arange(len(faces.images)) % EVERY == 0)


def detected(kind: str) -> tuple[list[int], NDArray[np.uint8]]:
    """Which of the faces, pasted into pictures, a detector finds; their crops, [N, 48, 48]."""
    detector = build(kind)
    crops, found = [], []
    for number, scene in enumerate(scenes(public().images, seed=7)):
        detection = find(detector, scene)
        if detection is None:
            continue
        box = detection.box
        xywh = (box.x, box.y, box.width, box.height)
        luma, full_range = plane(scene.image, 0), is_full_range(scene.image)
        framing = FRAMINGS[detector.name]
        crops.append(crop(luma, xywh, detection.eyes, framing, full_range))
        found.append(number)
    detector.close()
    return found, np.stack(crops)


@functools.cache
def classifier(weights: str) -> ExpressionClassifier:
    return ExpressionClassifier.load(weights, device="cpu", tta="flip", engine="auto")


def right(weights: str, faces: NDArray[np.uint8], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the faces, uint8 [N, 48, 48], are read rightly; in batches for small machines."""
    batches = [faces[start : start + 64] for start in range(0, len(faces), 64)]
    read = [classifier(weights).predict(batch).argmax(1) for batch in batches]
    return np.asarray(np.concatenate(read) == labels)


@functools.cache
def right_as_they_are(weights: str) -> NDArray[np.bool_]:
    return right(weights, public().images, public().labels)


@needs_shared
@pytest.mark.parametrize("kind", LEAST_FOUND)
def test_detected_faces_are_read_like_the_originals(kind: str) -> None:
    """1. Paste PublicTest faces. 2. Detect and crop. 3. Classify both. 4. Compare."""
    found, crops = detected(kind)
    faces = len(public().labels)
    share = len(found) / faces
    assert share >= LEAST_FOUND[kind]
    for weights in ("default", "joint"):
        as_they_are = right_as_they_are(weights)[found]
        as_detected = right(weights, crops, public().labels[found])
        originals, cropped = as_they_are.mean(), as_detected.mean()
        changed = as_they_are.astype(float) - as_detected
        chance = changed.std() / len(found) ** 0.5  # one standard error of the loss, in pairs
        summary = (
            f"{kind}, {weights}: found {share:.1%} of {faces}; accuracy {originals:.1%} "
            f"as they are, {cropped:.1%} detected and cropped; standard error {chance:.1%}"
        )
        log.info(summary)  # shown by --log-cli-level=info
        assert originals - cropped <= MOST_LOST + chance, summary
