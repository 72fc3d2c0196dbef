"""Makes sinks from their settings, and chooses their names in metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from daemon.config.sink_settings import (
    EncodedSinkSettings,
    EventsSinkSettings,
    HlsSinkSettings,
    MjpegSinkSettings,
    Mp4SinkSettings,
    MqttSinkSettings,
    PushSinkSettings,
    SinkSettings,
)
from daemon.sinks.base import Output, Packet, Sink
from daemon.sinks.events import EventsFile
from daemon.sinks.feed import JpegFeed
from daemon.sinks.hls import HlsSegments
from daemon.sinks.mjpeg import MjpegPictures
from daemon.sinks.mp4 import Mp4File
from daemon.sinks.playlist import Playlist
from daemon.sinks.push import Push
from daemon.sinks.shown import Shown
from daemon.sinks.writer import HUNG_S

_GRACE_S = 5.0  # A write may also wait until the publication before has ended.


def make_sink(config: SinkSettings, stream: str, shown: Shown) -> Sink[Output] | Sink[Packet]:
    """The sink of `stream` that `config` describes, not open yet; what it publishes on the page
    goes to `shown`. Raises ExtraError."""
    match config:
        case Mp4SinkSettings():
            return Mp4File(config)
        case MjpegSinkSettings():
            return MjpegPictures(config, shown.jpegs.setdefault(stream, JpegFeed()))
        case HlsSinkSettings():
            return HlsSegments(config, shown.playlists.setdefault(stream, Playlist()))
        case EventsSinkSettings():
            return EventsFile(config)
        case MqttSinkSettings():
            from daemon.sinks.mqtt import MqttTopics  # which needs an extra

            return MqttTopics(config, stream)
        case PushSinkSettings():
            return Push(config)


def hung_s(config: SinkSettings, *, live: bool) -> float:
    """How many seconds a write may take before its sink counts as failed. On a live stream it is
    longer than a push's own time-out, whose error says more; but a file's stream waits for its
    sinks, and must not wait so long."""
    if live and isinstance(config, PushSinkSettings):
        return max(HUNG_S, config.timeout_s + _GRACE_S)
    return HUNG_S


def holds_s(config: SinkSettings) -> float:
    """How many seconds of pictures a sink may buffer before it finds out that the disk is full."""
    return config.fragment_s if isinstance(config, Mp4SinkSettings) else 0.0


def group_by_encoding(
    configs: Iterable[SinkSettings],
) -> list[dict[int, EncodedSinkSettings]]:
    """The sinks that encode, by position, grouped by those that can share one encoder.

    >>> MP4, events, HLS, and MP4 with another crf: [{0: MP4, 2: HLS}, {3: MP4}]
    """
    groups: dict[object, dict[int, EncodedSinkSettings]] = {}
    for at, config in enumerate(configs):
        if isinstance(config, EncodedSinkSettings):
            groups.setdefault(config.coding, {})[at] = config
    return list(groups.values())


def sink_labels(configs: Iterable[SinkSettings]) -> list[str]:
    """The label of each sink of one stream: its kind, numbered from the second of a kind on.

    >>> two MP4 files and events: ["mp4", "mp4-2", "events"]
    """
    seen: Counter[str] = Counter()
    labels = []
    for config in configs:
        seen[config.kind] += 1
        number = seen[config.kind]
        labels.append(config.kind if number == 1 else f"{config.kind}-{number}")
    return labels
