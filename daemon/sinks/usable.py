"""What a configuration asks of its sinks that this machine cannot give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from daemon.config.settings import EncodedSink, Settings, SinkSettings, SrtSink
from daemon.errors import ConfigError


def check(path: Path, settings: Settings) -> None:
    """Raise ConfigError with one line for each encoder or protocol that does not work here.

    Encoders that are named are tried; "auto" asks for nothing. `path` is the configuration's.
    """
    lines = [
        f"{path}: stream[{at}].sink[{number}].{fault}"
        for at, stream in enumerate(settings.stream)
        for number, sink in enumerate(stream.sink)
        for fault in _faults(sink)
    ]
    if lines:
        raise ConfigError("\n".join(lines))


def _faults(sink: SinkSettings) -> Iterator[str]:
    # Imported where they are needed: most configurations ask for nothing special.
    if isinstance(sink, SrtSink):
        from daemon.sinks.push import has_srt

        if not has_srt():
            yield "kind: found srt, which this build of PyAV does not have; accepted: rtsp, rtmp"
    if isinstance(sink, EncodedSink) and sink.encoder != "auto":
        from daemon.sinks.encoder import working, works

        if not works(sink.encoder):
            yield (
                f"encoder: {sink.encoder} does not work here, in sink {sink.kind}; "
                f"accepted: auto, {', '.join(working())}"
            )
