"""What a stream cuts out of its frames to be read."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from classifiers.expression.crop import FRAMINGS, crop
from daemon.config.settings import TrackingSettings
from daemon.frame import plane
from daemon.monitoring.metrics import Metrics
from daemon.track import Tracker
from detectors.base import Box, Detection, Detector
from tests.daemon.steps import lobby_row, reading_by, stepping
from tests.daemon.streams import WAIT_S, Known, batching, free, talking, value
from tests.shared import needs_shared

pytestmark = needs_shared


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("name", FRAMINGS)
def test_a_crop_goes_by_the_detector_the_eyes_and_the_range_of_the_picture(
    metrics: Metrics, name: str, full_range: bool
) -> None:
    (frame,) = talking(1)
    if full_range:
        frame = replace(frame, image=frame.image.reformat(format="yuvj420p"))
    eyes = ((150.0, 100.0), (190.0, 120.0))
    tracks = Tracker(TrackingSettings())
    found = tracks.update([Detection(Box(120.0, 60.0, 100.0, 110.0), 0.9, eyes)], frame.pts_s)
    with batching(free(), metrics) as batcher:
        reader = reading_by(batcher, tracks, metrics)
        # A fake, since what it found is told above.
        detector = cast(Detector, SimpleNamespace(name=name, description=name))
        (job,) = reader.jobs(frame, found, detector)
    xywh = (120.0, 60.0, 100.0, 110.0)
    expected = crop(plane(frame.image, 0), xywh, eyes, FRAMINGS[name], full_range)
    assert np.array_equal(job.image, expected)


def test_what_waits_to_be_read_of_a_stream_that_ends_is_taken_back(metrics: Metrics) -> None:
    """One crop is with the model, and one waits."""
    known = Known()
    with batching(known, metrics) as batcher:
        steps = stepping(batcher, metrics, lobby_row())
        first, second = talking(2)
        steps.take(first)
        assert known.entered.wait(WAIT_S)
        steps.take(second)
        steps.stop()
        lost = {"stream": "lobby", "stage": "classify", "reason": "stream_gone"}
        assert value(metrics.registry, "affectd_frames_dropped_total", **lost) == 1
