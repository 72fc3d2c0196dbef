"""`affectd run` within this process: what is answered before the streams run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from daemon import app, models
from daemon.config.file import load
from daemon.errors import AffectdError
from daemon.fleet import Fleet
from daemon.models import Models
from daemon.monitoring.metrics import Metrics
from daemon.pipeline import Shared
from daemon.redact import Redactor
from daemon.service import signals
from detectors.haar import Haar
from detectors.select import Choice

CONFIG = """
[daemon]
listen = "127.0.0.1:0"
[[stream]]
name = "lobby"
url = "demo://lobby"
[[stream.sink]]
kind = "mjpeg"
[[stream]]
name = "door"
url = "demo://door"
[[stream.sink]]
kind = "hls"
"""


def test_while_models_load_the_streams_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that come back too early after a restart wait; a browser gives up at a 404.
    The models are fake: their loading is when to ask, and ends the run."""
    config = tmp_path / "affectd.toml"
    config.write_text(CONFIG)
    daemon = app._Daemon(load(config, {}), config, Redactor())

    def ask(settings: object, metrics: Metrics, *_: object) -> None:
        taken = metrics.registry.get_sample_value("affectd_config_last_reload_successful")
        assert taken == 1.0  # a download may take longer than the alert waits
        with httpx.Client(base_url=daemon._web.url, timeout=60, trust_env=False) as client:
            names = [stream["name"] for stream in client.get("/api/streams").json()["streams"]]
            assert names == ["lobby", "door"]
            assert client.head("/events?stream=lobby").status_code == 200
            assert client.head("/events?stream=attic").status_code == 404
            for path in ("/streams/lobby/mjpeg", "/streams/door/hls/index.m3u8"):
                answer = client.get(path)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
                assert "has not started yet" in answer.json()["error"]
            assert client.get("/streams/door/mjpeg").status_code == 404
        raise AffectdError("asked")

    monkeypatch.setattr(models, "load", ask)
    with pytest.raises(AffectdError, match="asked"):
        daemon.run()


HAAR = Choice("haar", "haar", None, Haar)


def reload(daemon: app._Daemon, text: str, fleet: type[Fleet] = Fleet) -> None:
    """As SIGHUP does, while no stream runs."""
    daemon._path.write_text(text)
    daemon._reload(fleet(Shared(Models(HAAR, None))), HAAR)


def test_a_secret_that_a_reload_brings_is_shown_nowhere(tmp_path: Path) -> None:
    """Whatever library says it, in whatever words."""
    config = tmp_path / "affectd.toml"
    config.write_text(CONFIG)
    redactor = Redactor()
    daemon = app._Daemon(load(config, {}), config, redactor)
    reload(daemon, CONFIG.replace("[daemon]", '[daemon]\ntoken = "new-token"'))
    assert redactor.redact("tried new-token in vain") == "tried *** in vain"


@pytest.mark.parametrize("due", [True, False])
def test_a_reload_waits_for_no_stream_once_affectd_is_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text(CONFIG)
    daemon = app._Daemon(load(config, {}), config, Redactor())
    asked: list[bool] = []

    class Asking(Fleet):
        """It asks, as one does that waits."""

        def replace(self, *_: object, is_over: Callable[[], bool]) -> None:
            asked.append(is_over())

    monkeypatch.setattr(signals, "stop_is_due", lambda: due)
    reload(daemon, CONFIG.replace("demo://lobby", "demo://other"), Asking)
    assert asked == [due]
