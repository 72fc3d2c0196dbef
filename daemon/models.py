"""The models that all streams share: how each makes its detector, and the one batcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import cv2

from classifiers.errors import CheckpointError, EngineError
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.oom import explain_oom
from classifiers.expression.tta import VIEW_COUNT
from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings
from daemon.ladder import Ladder, Rung, rungs
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.service import preflight
from daemon.version import affectd_version
from detectors import select, store

BATCH_LIMIT_S = 120.0  # the first batch on a cold GPU is slow


@dataclass(frozen=True, slots=True)
class Models:
    """What streams need of models. `batcher` is None when expressions are switched off."""

    detector: select.Choice
    batcher: Batcher | None

    @property
    def description(self) -> dict[str, str]:
        """What the page and `affectd_build_info` say."""
        classifier = self.batcher.classifier if self.batcher else None
        return {
            "version": affectd_version(),
            "torch": version("torch"),
            "device": classifier.device if classifier else "none",
            "engine": classifier.engine if classifier else "none",
            "weights": classifier.name if classifier else "none",
            "detector": self.detector.description,
        }


def load(
    settings: Settings, metrics: Metrics, health: Health, log: Callable[[str], None]
) -> Models:
    """Find or pull the detector's model, load the classifier and start its batcher.

    Raises DetectorError, also where faces are to be covered and only Haar is available, or
    ClassifierError. Call `batcher.stop()` at the end.
    """
    cv2.setNumThreads(1)  # streams run in parallel already, and OpenCV's idle threads spin
    detector = select.resolve(
        settings.detector.backend,
        range=settings.detector.range,
        min_score=settings.detector.min_score,
        models=store.models_dir(settings.models.dir),
        pull=settings.models.pull,
        log=log,
    )
    preflight.check_covers(settings, detector)
    batcher = None
    expression = settings.expression
    if expression.enabled:
        with explain_oom(EngineError, 'set expression.device = "cpu"'):
            classifier = ExpressionClassifier.load(
                expression.weights,
                device=expression.device,
                tta=expression.tta,
                engine=expression.engine,
                log=log,
            )
        if classifier.reads != "face":  # streams submit nothing else
            raise CheckpointError(
                f"expression.weights: {classifier.name} reads {classifier.reads}; "
                "accepted are nets that read face"
            )
        crops_in_use = metrics.tta_crops.labels(classifier.name)
        crops_in_use.set(classifier.view_count)

        def on_rung(rung: Rung, down: bool) -> None:
            crops_in_use.set(rung.view_count)
            metrics.load_steps.labels("down" if down else "up").inc()

        def use(rung: Rung) -> None:
            classifier.tta = rung.tta

        view_counts = {tta: len(classifier.nets) * count for tta, count in VIEW_COUNT.items()}
        batcher = Batcher(
            classifier,
            metrics,
            ladder=Ladder(
                rungs(expression.tta, view_counts),
                expression.max_age_ms / 1000.0,
                on_rung=on_rung,
            ),
            use=use,
            max_batch=expression.max_batch,
            max_wait_s=expression.max_wait_ms / 1000.0,
            queue_crops=expression.queue_crops,
            beat=health.loop("batcher", BATCH_LIMIT_S),
        )
        batcher.start()
    models = Models(detector, batcher)
    metrics.build_info.info(models.description)
    return models
