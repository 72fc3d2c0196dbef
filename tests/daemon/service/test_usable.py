"""What `affectd check` knows of a machine before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.config.settings import (
    DetectorSettings,
    ExpressionSettings,
    ModelsSettings,
    Settings,
    StreamSettings,
)
from daemon.errors import ConfigError
from daemon.service import usable
from tests.inside import inside

OFF = ExpressionSettings(enabled=False)


def settings(
    *,
    models: ModelsSettings | None = None,
    detector: DetectorSettings | None = None,
    expression: ExpressionSettings = OFF,
) -> Settings:
    return Settings(
        stream=(StreamSettings.model_validate({"name": "x", "url": "demo://x"}),),
        models=models or ModelsSettings(),
        detector=detector or DetectorSettings(),
        expression=expression,
    )


def test_a_model_that_may_not_be_pulled_has_to_be_there(tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    yunet = DetectorSettings(backend="yunet")
    found = settings(detector=yunet, models=ModelsSettings(dir=str(tmp_path), pull=False))
    with pytest.raises(ConfigError) as caught:
        usable.check(config, found)
    model = tmp_path / "face_detection_yunet_2026may.onnx"
    assert str(caught.value) == (
        f"{config}: detector.backend: the model file {model} is not there, and models.pull = false"
    )
    # One that may be, any that will do, and one in a folder that only the service knows.
    for models, detector in (
        (ModelsSettings(dir=str(tmp_path)), yunet),
        (ModelsSettings(dir=str(tmp_path), pull=False), DetectorSettings()),
        (ModelsSettings(pull=False), yunet),
    ):
        usable.check(config, settings(models=models, detector=detector))


def test_weights_that_cannot_be_looked_for_from_here_are_left_to_the_service(
    tmp_path: Path,
) -> None:
    """As where the working directory is a home that nobody else may enter."""
    weights = f"{'n' * 300}.safetensors"  # stands in for it: root may enter any
    usable.check(tmp_path, settings(expression=ExpressionSettings(weights=weights)))


def test_a_scene_that_cannot_be_drawn_is_an_error_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "affectd.toml"
    path.write_text('[[stream]]\nname = "a"\nurl = "demo://x?width=640"\n')
    done = inside(capsys, "check", path)
    assert (done.code, done.err) == (
        2,
        [
            f"affectd: {path}: stream[0].url: demo:// has no option 'width'; "
            "accepted are faces, fps, seconds, seed, size"
        ],
    )
