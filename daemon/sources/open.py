"""From the url of a stream's settings to an open source."""

from __future__ import annotations

import re
import threading

from daemon.config.settings import StreamSettings
from daemon.sources.base import UNHEARD, Report, Source
from daemon.sources.picture import Turn
from daemon.url import webcam_path


def is_live(settings: StreamSettings) -> bool:
    """Whether the newest frame wins, or every frame is kept.

    `policy` decides; `auto` means file for a path and for file://, and live for everything else:
    what ends like a file on a web server may be a camera (go2rtc's /api/stream.mp4).
    """
    if settings.policy != "auto":
        return settings.policy == "live"
    return _scheme(settings.url.get_secret_value()) not in ("", "file")


def open_source(
    settings: StreamSettings, *, stop: threading.Event, report: Report = UNHEARD
) -> Source:
    """Open the source that `settings.url` names, by its scheme. Raises SourceError.

    Each kind of source is imported when it is first used.
    """
    url = settings.url.get_secret_value()
    live = is_live(settings)
    scheme = _scheme(url)
    turn = Turn(settings.rotate, settings.mirror)
    if scheme == "demo":
        from daemon.sources.demo.source import DemoSource

        return DemoSource(settings.name, url, live=live, stop=stop, turn=turn)
    if scheme == "v4l2":
        from daemon.sources.webcam import WebcamSource

        return WebcamSource(settings, stop=stop, report=report)
    from daemon.sources.network import Network
    from daemon.sources.video import VideoSource

    return VideoSource(
        settings.name,
        url,
        live=live,
        stop=stop,
        loop=settings.loop,
        stall_timeout_s=settings.stall_timeout_s,
        network=Network(settings.transport, settings.tls_verify),
        decoder=settings.decoder,
        turn=turn,
        report=report,
    )


def _scheme(url: str) -> str:
    """The scheme in lower case; v4l2 for a device file, empty for any other path."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    if match:
        return match[1].lower()
    return "" if webcam_path(url) is None else "v4l2"
