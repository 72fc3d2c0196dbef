"""Models for all streams: what is loaded, what is said of it, and what is refused."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from classifiers.errors import CheckpointError
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines import installed
from daemon import models
from daemon.classify.jobs import Job, Result
from daemon.config.settings import Settings
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from detectors.errors import DetectorError
from tests.daemon.streams import value
from tests.nets import save_pair, save_tiny
from tests.shared import MODELS, needs_shared
from tests.waiting import wait_until

needs_openvino = pytest.mark.skipif(
    "openvino" not in installed(), reason="the extra `cpu` is not installed"
)


def settings(**tables: dict[str, object]) -> Settings:
    tables = {"models": {"dir": str(MODELS), "pull": False}, **tables}
    return Settings.model_validate({**tables, "stream": ({"name": "a", "url": "demo://a"},)})


def load(chosen: Settings, metrics: Metrics, health: Health) -> tuple[models.Models, list[str]]:
    said: list[str] = []
    return models.load(chosen, metrics, health, said.append), said


@pytest.fixture
def health() -> Health:
    return Health(time.monotonic)


def batchers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "batcher"]


@needs_shared
def test_a_net_that_reads_no_faces_is_refused(
    tmp_path: Path, metrics: Metrics, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no such family yet."""
    monkeypatch.setattr(ExpressionClassifier, "reads", "frame")
    weights = str(save_tiny(tmp_path / "tiny.safetensors"))
    with pytest.raises(CheckpointError, match=r"tiny-\w+ reads frame; accepted are nets"):
        load(settings(expression={"weights": weights, "device": "cpu"}), metrics, health)
    assert not batchers()


@needs_shared
@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_what_was_loaded_is_told_and_runs(
    tmp_path: Path, metrics: Metrics, health: Health, engine: str
) -> None:
    weights = save_tiny(tmp_path / "tiny.safetensors")
    expression: dict[str, object] = {"weights": str(weights), "device": "cpu", "tta": "flip"}
    expression["engine"] = engine
    cv2.setNumThreads(4)
    found, said = load(settings(expression=expression), metrics, health)
    assert found.batcher is not None
    try:
        assert health.is_alive() == (True, "loops that turn: 1")
        assert found.detector.backend == "yunet"
        assert cv2.getNumThreads() == 1  # streams are what runs in parallel
        assert len(said) == (engine == "openvino")  # that it has no int8 of this net
        told = found.description
        assert set(told) == {"version", "torch", "device", "engine", "weights", "detector"}
        assert told["detector"] == found.detector.description
        assert (told["device"], told["engine"]) == ("cpu", f"{engine} float32")
        assert told["weights"].startswith("tiny-")
        assert metrics.registry.get_sample_value("affectd_build_info", told) == 1.0
        model = {"model": told["weights"]}
        assert metrics.registry.get_sample_value("affectd_tta_crops", model) == 2.0
    finally:
        found.batcher.stop()
    wait_until(lambda: batchers() == [])


@needs_shared
def test_the_detector_is_the_one_of_the_settings(metrics: Metrics, health: Health) -> None:
    detector: dict[str, object] = {"backend": "mediapipe", "range": "short", "min_score": 0.7}
    found, _ = load(settings(detector=detector, expression={"enabled": False}), metrics, health)
    assert found.detector.description == "mediapipe short"
    assert isinstance(found.detector.make, partial)
    assert found.detector.make.keywords["min_score"] == 0.7


@needs_shared
def test_late_readings_shed_work_as_configured(
    tmp_path: Path, metrics: Metrics, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Of two crops one finds no room, and the other waits for too long. 2. Of the next face
    fewer views are read, and what was done is counted."""
    monkeypatch.setattr("daemon.ladder.WINDOW_S", 0.0)
    expression: dict[str, object] = {
        "weights": str(save_tiny(tmp_path / "tiny.safetensors")),
        "device": "cpu",
        "engine": "torch",
        "tta": "flip",
        "max_age_ms": 60_000.0,
        "queue_crops": 1,
        "max_batch": 3,
        "max_wait_ms": 50.0,
    }
    found, _ = load(settings(expression=expression), metrics, health)
    batcher = found.batcher
    assert batcher is not None

    def job(track: int, age_s: float) -> Job:
        now_s = time.monotonic()
        image = np.zeros((48, 48), np.uint8)
        return Job("lobby", track, image, None, now_s - age_s, now_s)

    results: list[Result] = []
    try:
        assert (batcher._max_batch, batcher._max_wait_s) == (3, 0.05)
        batcher.submit([job(1, age_s=90.0), job(2, age_s=90.0)], results.extend)
        wait_until(lambda: batcher.ladder.rung.tta == "none")
        batcher.submit([job(3, age_s=0.0)], results.extend)
        wait_until(lambda: results)
    finally:
        batcher.stop()
    assert [result.view_count for result in results] == [1]
    for reason in ("queue_full", "too_old"):
        dropped = {"stream": "lobby", "stage": "classify", "reason": reason}
        assert value(metrics.registry, "affectd_frames_dropped_total", **dropped) == 1.0
    model = found.description["weights"]
    assert value(metrics.registry, "affectd_tta_crops", model=model) == 1.0
    assert value(metrics.registry, "affectd_load_steps_total", direction="down") == 1.0


@needs_shared
def test_a_joint_is_as_much_work_as_all_its_nets(
    tmp_path: Path, metrics: Metrics, health: Health
) -> None:
    expression: dict[str, object] = {"weights": str(save_pair(tmp_path)), "device": "cpu"}
    expression |= {"engine": "torch", "tta": "flip"}
    found, _ = load(settings(expression=expression), metrics, health)
    assert found.batcher is not None
    found.batcher.stop()
    assert found.batcher.ladder.top.view_count == found.batcher.classifier.view_count == 4


@needs_shared
def test_without_expressions_there_is_no_batcher(metrics: Metrics, health: Health) -> None:
    found, _ = load(settings(expression={"enabled": False}), metrics, health)
    assert found.batcher is None
    wait_until(lambda: batchers() == [])
    told = found.description
    assert (told["device"], told["engine"], told["weights"]) == ("none", "none", "none")
    assert metrics.registry.get_sample_value("affectd_build_info", told) == 1.0
    assert health.is_alive() == (True, "loops that turn: 0")


def test_a_detector_without_its_model_is_named(
    tmp_path: Path, metrics: Metrics, health: Health
) -> None:
    chosen = settings(models={"dir": str(tmp_path), "pull": False}, detector={"backend": "yunet"})
    with pytest.raises(DetectorError, match="yunet"):
        load(chosen, metrics, health)


def test_weights_that_are_not_there_are_named_and_leave_no_thread(
    tmp_path: Path, metrics: Metrics, health: Health
) -> None:
    missing = tmp_path / "none.safetensors"
    chosen = settings(detector={"backend": "haar"}, expression={"weights": str(missing)})
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        load(chosen, metrics, health)
    wait_until(lambda: batchers() == [])


def test_auto_falls_back_to_haar_and_says_so_loudly(
    tmp_path: Path, metrics: Metrics, health: Health
) -> None:
    chosen = settings(models={"dir": str(tmp_path), "pull": False}, expression={"enabled": False})
    found, said = load(chosen, metrics, health)
    assert found.detector.backend == "haar"
    assert any(line.startswith("WARNING") and "Haar" in line for line in said)


@pytest.mark.parametrize("named", [False, True])
def test_faces_are_not_covered_by_what_haar_finds_unless_it_was_asked_for(
    tmp_path: Path, metrics: Metrics, health: Health, named: bool
) -> None:
    """No model is there and none may be pulled, so `auto` would take Haar's cascade."""
    tables: dict[str, object] = {
        "models": {"dir": str(tmp_path), "pull": False},
        "expression": {"enabled": False},
        "detector": {"backend": "haar" if named else "auto"},
        "stream": ({"name": "door", "url": "demo://a", "privacy": "blur"},),
    }
    chosen = Settings.model_validate(tables)
    if named:
        assert load(chosen, metrics, health)[0].detector.backend == "haar"
    else:
        with pytest.raises(DetectorError, match=r'stream door: privacy = "blur" wants a better'):
            load(chosen, metrics, health)
