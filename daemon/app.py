"""`affectd run`: everything that runs, started in order and ended in order."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from daemon import logs, models, signals
from daemon.config.file import Loaded
from daemon.config.settings import MjpegSink, Settings
from daemon.environment import faults
from daemon.errors import EnvironmentClashError
from daemon.feed import Feed, JpegFeed
from daemon.health import Health
from daemon.metrics import Metrics
from daemon.notify import Notifier, Watchdog, watchdog_interval_s
from daemon.pipeline import Pipeline
from daemon.reading import Reading
from daemon.status import Board
from daemon.version import affectd_version
from daemon.web.app import make_app
from daemon.web.server import WebServer

log = logging.getLogger("affectd")

READINGS_WAITING = 256  # readings that a slow reader of /events may fall behind
# With what pipelines may take to close, the end stays below 10 s.
BATCHER_STOP_S = 1.0
WEB_STOP_S = 2.5


def run_daemon(loaded: Loaded, config: Path) -> None:
    """Run until SIGTERM or SIGINT, then end cleanly.

    `signals.hold` was called before. Raises AffectdError, DetectorError or ClassifierError when
    it cannot start.
    """
    settings = loaded.settings
    logs.set_up(settings.daemon.log_level, loaded.secrets)
    found = faults()
    if found:
        raise EnvironmentClashError("\n".join(found))
    log.info("affectd %s, configured by %s", affectd_version(), config)
    _run(settings)
    log.info("ended cleanly")


def _run(settings: Settings) -> None:
    stop = threading.Event()
    notifier = Notifier.from_env(os.environ)
    board, health = Board(time.time), Health(time.monotonic)
    metrics = Metrics(CollectorRegistry())
    readings: Feed[Reading] = Feed(READINGS_WAITING)
    jpegs: dict[str, JpegFeed] = {
        stream.name: JpegFeed()
        for stream in settings.stream
        if any(isinstance(sink, MjpegSink) for sink in stream.sink)
    }
    app = make_app(
        board,
        metrics,
        health,
        jpegs,
        readings,
        settings.daemon,
        affectd_version(),
        colours=settings.overlay.colours,
    )
    web = WebServer(app, settings.daemon.host, settings.daemon.port)
    web.start()
    batcher = None
    pipelines: list[Pipeline] = []
    watchdog = Watchdog(notifier, health, stop, watchdog_interval_s(os.environ, os.getpid()))
    try:
        log.info("loading models")
        with signals.leaving_at_once():
            loaded = models.load(settings, metrics, health, log.info)
        batcher = loaded.batcher
        health.models_loaded = True
        log.info("%s", ", ".join(f"{key} {value}" for key, value in loaded.description.items()))
        for stream in settings.stream:
            pipeline = Pipeline(
                stream,
                settings,
                loaded,
                metrics=metrics,
                board=board,
                health=health,
                stop=stop,
                jpegs=jpegs.get(stream.name) or JpegFeed(),
                publish=readings.publish,
            )
            pipelines.append(pipeline)
            pipeline.start()
        notifier.ready()
        watchdog.start()
        log.info("the page is at %s (Ctrl-C ends affectd)", web.url)
        log.info("%s: finishing what is open", signals.wait().name)
    finally:
        stop.set()
        notifier.stopping()
        _close(pipelines)
        if batcher is not None:
            batcher.stop(BATCHER_STOP_S)
        web.stop(WEB_STOP_S)
        watchdog.join(1.0)


def _close(pipelines: list[Pipeline]) -> None:
    """Close all at once, so that the slowest decides how long it takes, not their sum."""
    threads = [
        threading.Thread(target=pipeline.close, name=f"close {pipeline.name}")
        for pipeline in pipelines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
