"""What sinks publish on affectd's own page, for the web server to read."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.config.settings import StreamSettings
from daemon.sinks.feed import JpegFeed
from daemon.sinks.playlist import Playlist


@dataclass(frozen=True)
class Shown:
    """A feed for each stream with an mjpeg sink and a playlist for each with an hls sink, by the
    stream's name. They outlast a reload: readers stay, and the numbers of segments go on."""

    jpegs: dict[str, JpegFeed] = field(default_factory=dict)
    playlists: dict[str, Playlist] = field(default_factory=dict)

    def begin(self, stream: StreamSettings) -> None:
        """Call this before the sinks of a stream are made: drops what the new sinks do not go on
        with."""
        kinds = {sink.kind for sink in stream.sink}
        if "mjpeg" not in kinds:
            self._drop_jpegs(stream.name)
        if "hls" not in kinds:
            self.playlists.pop(stream.name, None)
        if stream.privacy != "none" or stream.aggregate_only:
            # Earlier pictures may show what must not be seen from now on.
            for kept in (self.jpegs.get(stream.name), self.playlists.get(stream.name)):
                if kept is not None:
                    kept.clear()

    def drop(self, name: str) -> None:
        """A stream is gone."""
        self._drop_jpegs(name)
        self.playlists.pop(name, None)  # Its readers ask again, and get a 404.

    def _drop_jpegs(self, name: str) -> None:
        if (feed := self.jpegs.pop(name, None)) is not None:
            feed.close()
