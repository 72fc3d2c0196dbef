"""Has the faces of a stream classified, and makes readings of the results."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import ClassifierError
from classifiers.expression.crop import FRAMINGS, crop
from classifiers.expression.prior import told, with_prior
from daemon.classify.batcher import Batcher
from daemon.classify.jobs import Job, Result
from daemon.classify.quality import assess, why_poor
from daemon.config.settings import ExpressionSettings, StreamSettings
from daemon.frame import Frame, is_full_range, plane
from daemon.monitoring.metrics import Metrics
from daemon.reading import UNKNOWN, Quality, Reading
from daemon.redact import display_url
from daemon.track import Track, Tracker
from detectors.base import Box, Detector


@dataclass(frozen=True, slots=True)
class _CropInfo:
    """What a reading will say of its crop, kept while that is classified; holds no frame in
    memory."""

    seq: int
    pts_s: float
    captured_s: float
    frame_px: tuple[int, int]
    box: Box
    quality: Quality
    detector: str


class FaceReader:
    """Cuts the faces of one stream out, has them classified, and smooths the results into their
    tracks. Belongs to the stream's thread; made together with `tracker`.

    Live: `ask` submits crops; when results are there, `wake` is called in the batcher's thread, and
    `arrived` returns the readings. File: `ask` waits and returns the readings, each with the file's
    name; `beat` is called meanwhile, and with `offline` a failure of the classifier raises
    ClassifierError. New `limits` hold from the next reading on.
    """

    def __init__(
        self,
        stream: StreamSettings,
        limits: ExpressionSettings,
        batcher: Batcher,
        tracker: Tracker,
        metrics: Metrics,
        *,
        offline: bool,
        stop: threading.Event,
        wake: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self._name = stream.name
        self._live = stream.is_live
        self._file = None if self._live else display_url(stream.url.get_secret_value())
        self._batcher = batcher
        self._tracker = tracker
        self._metrics = metrics
        self._offline = offline
        self._stop = stop
        self._wake = wake
        self._beat = beat
        self._clock = clock
        # When the tracker began. None with `offline`: two runs must agree to the byte.
        self._since_s = None if offline else clock()
        # Bounded by the batcher's queue: results are taken out before more crops are submitted.
        self._inbox: deque[Result] = deque()
        # The series start at zero, so that the first rate over them is right.
        for label in (*batcher.classifier.labels, UNKNOWN):
            metrics.readings.labels(self._name, label)
            metrics.face_seconds.labels(self._name, label)

    def stop(self) -> None:
        """Withdraw the crops that wait, and count the results that nobody will take as dropped."""
        self._batcher.forget(self._name)
        lost = self._metrics.dropped.labels(self._name, "classify", "stream_gone")
        lost.inc(len(self._inbox))
        self._inbox.clear()

    def jobs(self, frame: Frame, tracks: Iterable[Track], detector: Detector) -> list[Job]:
        """A job for each face that `detector` found, with its crop and its quality."""
        luma, full_range = plane(frame.image, 0), is_full_range(frame.image)
        framing = FRAMINGS[detector.name]
        size_px = (frame.image.width, frame.image.height)
        # By the monotonic clock, which nobody sets.
        captured_mono_s = time.monotonic() - max(0.0, self._clock() - frame.captured_s)
        jobs = []
        for track in tracks:
            found = track.place
            box = found.box
            xywh = (box.x, box.y, box.width, box.height)
            face = crop(luma, xywh, found.eyes, framing, full_range)
            quality = assess(found, face)
            info = _CropInfo(
                seq=frame.seq,
                pts_s=frame.pts_s,
                captured_s=frame.captured_s,
                frame_px=size_px,
                box=box,
                quality=quality,
                detector=detector.description,
            )
            now_s = time.monotonic()
            jobs.append(
                Job(self._name, track.id, face, info, captured_mono_s, now_s, track.reading_count)
            )
        return jobs

    def ask(self, jobs: Sequence[Job]) -> list[Reading]:
        """Have crops classified; returns a file's readings. Those of live streams arrive later."""
        if self._live:
            self._batcher.submit(jobs, self._deliver)
            return []
        results = self._batcher.classify(jobs, self._beat)
        lost = any(result.probabilities is None for result in results)
        if lost and self._offline and not self._stop.is_set():
            raise ClassifierError(f"{self._name}: the classifier failed; its log says why")
        return self._read(results)

    def _deliver(self, results: Sequence[Result]) -> None:
        self._inbox.extend(results)
        self._wake()

    def arrived(self) -> list[Reading]:
        """The new readings of crops that were submitted with earlier frames."""
        results = [self._inbox.popleft() for _ in range(len(self._inbox))]
        return self._read(results)

    def _read(self, results: Sequence[Result]) -> list[Reading]:
        """Smooth each result into its track; what has no track or failed is dropped and counted."""
        readings = []
        dropped = self._metrics.dropped
        for result in results:
            track = self._tracker.get(result.job.track)
            if track is None:
                dropped.labels(self._name, "classify", "track_ended").inc()
            elif result.probabilities is not None:
                readings.append(self._reading(result, track, result.probabilities))
            else:
                dropped.labels(self._name, "classify", "error").inc()
        return readings

    def _reading(self, result: Result, track: Track, probabilities: NDArray[np.float32]) -> Reading:
        info, limits, classifier = result.job.context, self.limits, self._batcher.classifier
        assert isinstance(info, _CropInfo)
        why = why_poor(info.quality, limits.min_face_px, limits.max_blur, limits.max_yaw_deg)
        # A poor look changes only a copy of the average, else it would spoil later, good looks.
        smoother = replace(track.smoother) if why else track.smoother
        smooth = smoother.update(probabilities, info.pts_s, self._tracker.settings.half_life_s)
        smooth = with_prior(smooth, limits.prior)
        track.reading_count += why is None
        shares = {name: float(p) for name, p in zip(classifier.labels, smooth, strict=True)}
        best = max(shares, key=lambda name: shares[name])
        floor = limits.unknown_below
        if floor is None:
            floor = classifier.unknown_below
        if why is None and shares[best] < floor:
            why = "unsure"
        label = UNKNOWN if why else best
        track.label, track.probabilities, track.read_s = label, shares, info.pts_s
        self._metrics.readings.labels(self._name, label).inc()
        age_s = time.monotonic() - result.job.captured_mono_s
        if self._live:
            self._metrics.reading_age_seconds.labels(self._name).observe(age_s)
        return Reading(
            stream=self._name,
            seq=info.seq,
            media_time_s=info.pts_s,
            captured_s=info.captured_s if self._live else None,
            track=track.id,
            tracked_since_s=self._since_s,
            box_px=info.box.rounded(),
            frame_px=info.frame_px,
            label=label,
            probabilities=shares,
            quality=info.quality,
            crops=result.view_count,
            weights=classifier.name,
            engine=classifier.engine,
            detector=info.detector,
            age_ms=1000.0 * age_s if self._live else None,
            unknown=why,
            prior=told(limits.prior),
            file=self._file,
        )
