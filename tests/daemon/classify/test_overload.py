"""A camera with more faces than its classifier can read: what gives way, and that it comes back."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from classifiers.base import Reads
from classifiers.expression import LABELS, TTA
from classifiers.expression.tta import VIEW_COUNT
from daemon import ladder
from daemon.classify.batcher import Batcher
from daemon.config.settings import Settings, StreamSettings
from daemon.ladder import Ladder, Rung, rungs
from daemon.models import Models
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline, Shared
from daemon.reading import Reading
from tests.daemon.streams import sure_of, value, yunet
from tests.serving import serving
from tests.shared import needs_shared
from tests.waiting import wait_until

pytestmark = needs_shared

MAX_AGE_S = 1.5
CROWD = "demo://crowd?faces=4&size=640x360&fps=10&seed=3"


@dataclass
class Slow:
    """Takes `view_s` for each view of a face. A fake, since what a real net costs is the
    machine's to say."""

    view_s: float
    tta: TTA = "ten_crop"
    name: str = "slow-0000000"
    reads: Reads = "face"
    labels: tuple[str, ...] = LABELS
    device: str = "cpu"
    engine: str = "none"
    unknown_below: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def view_count(self) -> int:
        return VIEW_COUNT[self.tta]

    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        self.stop.wait(len(batch) * self.view_count * self.view_s)
        return np.tile(sure_of("happy"), (len(batch), 1))


@pytest.mark.slow
def test_views_then_detections_give_way_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """1. Four faces, of which each view takes nearly half a second: the ladder goes down to its
    end; metrics, the API and each reading say so. 2. The classifier is fast again: the ladder
    comes back up."""
    monkeypatch.setattr(ladder, "WINDOW_S", 0.2)
    monkeypatch.setattr(ladder, "HOLD_S", 0.5)
    metrics, board = Metrics(CollectorRegistry()), Board(time.time)
    slow, readings = Slow(view_s=0.4), list[Reading]()

    def on_rung(rung: Rung, down: bool) -> None:
        metrics.tta_crops.labels(slow.name).set(rung.view_count)
        metrics.load_steps.labels("down" if down else "up").inc()

    def use(rung: Rung) -> None:
        slow.tta = rung.tta

    batcher = Batcher(
        slow,
        metrics,
        max_batch=1,
        max_wait_s=0.0,
        queue_crops=16,
        ladder=Ladder(rungs("ten_crop", VIEW_COUNT), MAX_AGE_S, on_rung=on_rung),
        use=use,
    )
    board.ladder = batcher.ladder
    stream = StreamSettings.model_validate({"name": "crowd", "url": CROWD})
    pipeline = Pipeline(
        stream,
        Settings(stream=(stream,)),
        Shared(Models(yunet(), batcher), metrics, board, publish=readings.append),
        stop=threading.Event(),
    )

    def sample(name: str, **labels: str) -> float:
        return value(metrics.registry, name, **labels)

    batcher.start()
    pipeline.start()
    try:
        wait_until(lambda: sample("affectd_load_steps_total", direction="down") == 4, 120.0)
        assert sample("affectd_tta_crops", model=slow.name) == 1
        wait_until(lambda: sample("affectd_detect_every_frames", stream="crowd") == 4)
        with serving("other") as house:
            house.board.ladder = batcher.ladder
            with house.client() as client:
                load = client.get("/api/streams").json()["load"]
        assert load == {"crops": 1, "crops_wanted": 10, "thinning": 4}
        wait_until(lambda: bool(readings) and readings[-1].crops == 1, 60.0)
        slow.view_s = 0.0
        wait_until(lambda: sample("affectd_load_steps_total", direction="up") == 4, 120.0)
        wait_until(lambda: sample("affectd_detect_every_frames", stream="crowd") == 1)
        assert sample("affectd_tta_crops", model=slow.name) == 10
        wait_until(lambda: readings[-1].crops == 10)
    finally:
        slow.stop.set()
        pipeline.stop.set()
        pipeline.close()
        batcher.stop()
