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
from detectors.select import Backend
from tests.classifiers.pasted import find, scenes
from tests.detectors.kinds import make
from tests.fer import load_split
from tests.shared import SHARED, needs_shared

log = logging.getLogger(__name__)

MOST_LOST = 0.02  # of accuracy, between the face's own 48x48 and its way through a detector
# Faces are sorted by class, so every n-th keeps the share of each class.
EVERY = 2
LEAST_FOUND: dict[Backend, float] = {"mediapipe": 0.5, "yunet": 0.8, "haar": 0.4}


@functools.cache
def public() -> data.Faces:
    """Every n-th face of PublicTest."""
    faces = load_split(SHARED / "data/fer2013/fer2013.tar.xz", "public")
    return faces.keep(np.arange(len(faces.images)) % EVERY == 0)


@functools.cache
def classifier() -> ExpressionClassifier:
    return ExpressionClassifier.load("default", device="cpu", tta="flip")


def guesses(faces: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The likeliest class of each face, uint8 [N, 48, 48], in batches that fit a small machine."""
    batches = [faces[start : start + 64] for start in range(0, len(faces), 64)]
    return np.concatenate([classifier().predict(batch).argmax(1) for batch in batches])


@functools.cache
def right_as_they_are() -> NDArray[np.bool_]:
    return np.asarray(guesses(public().images) == public().labels)


@needs_shared
@pytest.mark.parametrize("backend", ["mediapipe", "yunet", "haar"])
def test_detected_faces_are_read_like_the_originals(backend: Backend) -> None:
    """1. Paste PublicTest faces. 2. Detect and crop. 3. Classify both. 4. Compare."""
    faces = public()
    detector = make(backend, "short")
    crops, found = [], []
    for number, scene in enumerate(scenes(faces.images, seed=7)):
        detection = find(detector, scene)
        if detection is None:
            continue
        box = detection.box
        xywh = (box.x, box.y, box.width, box.height)
        luma, full_range = plane(scene.image, 0), is_full_range(scene.image)
        crops.append(crop(luma, xywh, detection.eyes, FRAMINGS[backend], full_range))
        found.append(number)
    detector.close()

    as_they_are = right_as_they_are()[found]
    as_detected = guesses(np.stack(crops)) == faces.labels[found]
    originals, detected = as_they_are.mean(), as_detected.mean()
    changed = as_they_are.astype(float) - as_detected
    chance = changed.std() / len(found) ** 0.5  # one standard error of the loss, in pairs

    share = len(found) / len(faces.labels)
    summary = (
        f"{backend}: found {share:.1%} of {len(faces.labels)}; accuracy {originals:.1%} "
        f"as they are, {detected:.1%} detected and cropped; standard error {chance:.1%}"
    )
    log.info(summary)  # shown by --log-cli-level=info
    assert share >= LEAST_FOUND[backend], summary
    assert originals - detected <= MOST_LOST + chance, summary
