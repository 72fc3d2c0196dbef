"""From the url of a stream's settings to an open source."""

from __future__ import annotations

import threading
from pathlib import Path

from daemon.config.settings import StreamSettings
from daemon.sources.base import NO_CALLBACKS, Source, SourceCallbacks
from daemon.sources.picture import Orientation


def is_pipe(path: str | Path | None) -> bool:
    """Whether `path` is a named pipe. False also where permissions hide it: opening it then raises
    a clearer error."""
    try:
        return path is not None and Path(path).is_fifo()
    except OSError:
        return False


def open_source(
    stream: StreamSettings, *, stop: threading.Event, callbacks: SourceCallbacks = NO_CALLBACKS
) -> Source:
    """Open the source that `stream.url` names, by its scheme. Raises SourceError.

    Each kind of source is imported when it is first used.
    """
    url = stream.url.get_secret_value()
    orientation = Orientation(stream.rotate, stream.mirror)
    if stream.scheme == "demo":
        from daemon.sources.demo.source import DemoSource

        return DemoSource(stream.name, url, live=stream.is_live, stop=stop, orientation=orientation)
    if stream.scheme == "v4l2":
        from daemon.sources.webcam import WebcamSource

        return WebcamSource(stream, stop=stop, callbacks=callbacks)
    from daemon.sources.network import Network
    from daemon.sources.video import VideoSource

    return VideoSource(
        stream.name,
        url,
        live=stream.is_live,
        stop=stop,
        loop=stream.loop,
        stall_timeout_s=stream.stall_timeout_s,
        network=Network(stream.transport, stream.tls_verify),
        decoder=stream.decoder,
        orientation=orientation,
        callbacks=callbacks,
    )
