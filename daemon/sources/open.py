"""From the url of a stream's settings to an open source."""

from __future__ import annotations

import threading

from daemon.config.settings import StreamSettings
from daemon.sources.base import UNHEARD, Report, Source
from daemon.sources.picture import Turn


def open_source(
    settings: StreamSettings, *, stop: threading.Event, report: Report = UNHEARD
) -> Source:
    """Open the source that `settings.url` names, by its scheme. Raises SourceError.

    Each kind of source is imported when it is first used.
    """
    url = settings.url.get_secret_value()
    turn = Turn(settings.rotate, settings.mirror)
    if settings.scheme == "demo":
        from daemon.sources.demo.source import DemoSource

        return DemoSource(settings.name, url, live=settings.is_live, stop=stop, turn=turn)
    if settings.scheme == "v4l2":
        from daemon.sources.webcam import WebcamSource

        return WebcamSource(settings, stop=stop, report=report)
    from daemon.sources.network import Network
    from daemon.sources.video import VideoSource

    return VideoSource(
        settings.name,
        url,
        live=settings.is_live,
        stop=stop,
        loop=settings.loop,
        stall_timeout_s=settings.stall_timeout_s,
        network=Network(settings.transport, settings.tls_verify),
        decoder=settings.decoder,
        turn=turn,
        report=report,
    )
