from __future__ import annotations

from pathlib import Path

import pytest

from daemon.app import _Daemon
from daemon.config.file import load
from daemon.monitoring.metrics import Metrics
from daemon.redact import Redactor
from detectors.errors import DetectorError


def test_the_configuration_counts_as_taken_while_models_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text(
        '[daemon]\nlisten = "127.0.0.1:0"\n[[stream]]\nname = "lobby"\nurl = "demo://demo"\n'
    )
    said = []

    # In place of a download that takes minutes, for which no test can wait.
    def slow(settings: object, metrics: Metrics, *_: object) -> None:
        said.append(metrics.registry.get_sample_value("affectd_config_last_reload_successful"))
        raise DetectorError("enough")

    monkeypatch.setattr("daemon.models.load", slow)
    with pytest.raises(DetectorError, match="enough"):
        _Daemon(load(config, {}), config, Redactor()).run()
    assert said == [1.0]
