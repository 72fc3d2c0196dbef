"""`affectd run`: everything that runs, started in order, changed on SIGHUP and ended in order."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from pathlib import Path

from prometheus_client import CollectorRegistry

from daemon import models
from daemon.config.file import Loaded, load
from daemon.errors import ConfigError, EnvironmentClashError
from daemon.fleet import Fleet
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Shared
from daemon.reading import Reading
from daemon.redact import Redactor
from daemon.service import logs, preflight, signals
from daemon.service.clashes import clashes
from daemon.service.gc_thread import GcThread
from daemon.service.notify import Notifier, Watchdog, watchdog_interval_s
from daemon.service.reload import Changes, compare, in_effect
from daemon.sinks.feed import Feed
from daemon.sinks.make import sink_labels
from daemon.sinks.shown import Shown
from daemon.version import affectd_version
from daemon.web.app import make_site
from daemon.web.server import WebServer
from detectors.errors import DetectorError
from detectors.select import Choice

log = logging.getLogger("affectd")

READINGS_WAITING = 256  # readings that a slow reader of /events may fall behind
# Limit of the shutdown, of the 10 s that are promised: sinks that hang leave less time to what ends
# after them.
END_S = 9.5
BATCHER_STOP_S = 1.0
WEB_STOP_S = 2.5
JOIN_S = 1.0


def run_daemon(loaded: Loaded, path: Path) -> int:
    """Run until SIGTERM, SIGINT or the end of its terminal, then end cleanly; SIGHUP reads `path`
    again. Returns the exit code.

    `signals.hold` was called before. Raises AffectdError, DetectorError or ClassifierError when
    it cannot start.
    """
    redactor = logs.set_up(loaded.settings.daemon.log_level, loaded.secrets)
    found = clashes()
    if found:
        raise EnvironmentClashError("\n".join(found))
    preflight.check(path, loaded.settings)
    log.info("affectd %s, configured by %s", affectd_version(), path)
    _warn(path, loaded)
    number = _Daemon(loaded, path, redactor).run()
    log.info("ended cleanly")
    return signals.exit_code(number)


def _warn(path: Path, loaded: Loaded) -> None:
    for line in preflight.in_vain(path, loaded.settings):
        log.warning("%s", line)


class _Daemon:
    """What all streams share, and the main thread's work with it."""

    def __init__(self, loaded: Loaded, path: Path, redactor: Redactor) -> None:
        self._path = path
        self._redactor = redactor
        self._started = self._settings = loaded.settings
        self._stop = threading.Event()
        self._notifier = Notifier.from_env(os.environ)
        self._board = Board(time.time, redact=redactor.redact)
        # Clients may ask before the models are loaded, and must not be told that their stream does
        # not exist.
        for stream in loaded.settings.stream:
            labels = sink_labels(stream.sink)
            self._board.add(stream.name, labels, only_counts=stream.aggregate_only)
        self._health = Health(time.monotonic)
        self._metrics = Metrics(CollectorRegistry())
        self._readings: Feed[Reading] = Feed(READINGS_WAITING)
        self._shown = Shown()
        self._colours = dict(loaded.settings.overlay.colours)
        site = make_site(
            self._board,
            self._metrics,
            self._health,
            self._shown,
            self._readings,
            self._settings.daemon,
            affectd_version(),
            colours=self._colours,
        )
        self._web = WebServer(site, self._settings.daemon.host, self._settings.daemon.port)

    def run(self) -> signal.Signals:
        """Start, wait for signals, and end what was started; returns the signal to end."""
        interval_s = watchdog_interval_s(os.environ, os.getpid())
        watchdog = Watchdog(
            self._notifier, self._health, self._stop, interval_s, self._board.summary
        )
        collector = GcThread(self._stop)
        self._note_reload(True)  # Before the first scrape: loading models may take minutes.
        self._web.start()
        batcher = fleet = None
        try:
            log.info("loading models")
            with signals.leaving_at_once():
                loaded = models.load(self._settings, self._metrics, self._health, logs.tell)
            batcher = loaded.batcher
            self._board.ladder = None if batcher is None else batcher.ladder
            collector.start()
            self._health.models_loaded = True
            log.info("%s", ", ".join(f"{key} {value}" for key, value in loaded.description.items()))
            fleet = Fleet(
                Shared(
                    loaded,
                    self._metrics,
                    self._board,
                    self._health,
                    self._shown,
                    self._readings.publish,
                )
            )
            fleet.start(self._settings.stream, self._settings)
            self._notifier.ready()
            watchdog.start()
            log.info("the page is at %s (Ctrl-C ends affectd)", self._web.url)
            while (number := signals.wait()) is None:
                self._reload(fleet, loaded.detector)
            log.info("%s: finishing what is open", number.name)
            return number
        finally:
            end_s = time.monotonic() + END_S
            self._stop.set()
            self._notifier.stopping()
            if fleet is not None:
                fleet.close()

            def left_s(most_s: float) -> float:
                return min(most_s, max(0.0, end_s - time.monotonic()))

            if batcher is not None:
                batcher.stop(left_s(BATCHER_STOP_S))
            self._web.stop(left_s(WEB_STOP_S))
            watchdog.join(left_s(JOIN_S))
            collector.join(left_s(JOIN_S))

    def _reload(self, fleet: Fleet, detector: Choice) -> None:
        """Read the configuration again and apply its changes; an invalid one changes nothing."""
        self._notifier.reloading()
        log.info("SIGHUP: reading %s again", self._path)
        try:
            loaded = load(self._path, os.environ)
            preflight.check(self._path, loaded.settings)
            preflight.check_reads(loaded.settings, self._started.expression.enabled)
            preflight.check_covers(loaded.settings, detector)
        except (ConfigError, DetectorError) as error:
            for line in str(error).splitlines():
                log.error("%s", line)
            log.error("the configuration stays as it was")
            self._note_reload(False)
        else:
            self._redactor.register(*loaded.secrets)
            _warn(self._path, loaded)
            changes = compare(self._started, self._settings, loaded.settings)
            for line in changes.lines():
                log.info("%s", line)
            self._follow(changes, loaded, fleet)
            self._note_reload(True)
        self._notifier.ready()

    def _follow(self, changes: Changes, loaded: Loaded, fleet: Fleet) -> None:
        before = self._settings
        settings = self._settings = in_effect(self._started, before, loaded.settings)
        logs.set_level(settings.daemon.log_level)
        was, now = (
            (one.token, one.allowed_hosts, one.allowed_origins)
            for one in (before.daemon, settings.daemon)
        )
        if now != was:
            self._web.follow(settings.daemon)
        self._colours.update(settings.overlay.colours)
        fleet.follow(settings)
        anew = {*changes.changed, *changes.added}
        fleet.replace(
            [*changes.changed, *changes.removed],
            [stream for stream in settings.stream if stream.name in anew],
            settings,
            is_over=signals.stop_is_due,
        )

    def _note_reload(self, good: bool) -> None:
        self._metrics.reload_ok.set(good)
        if good:
            self._metrics.reload_at.set(time.time())
