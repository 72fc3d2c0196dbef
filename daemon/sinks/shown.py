"""What the web server reads of the sinks that publish on affectd's own page."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.config.settings import StreamSettings
from daemon.sinks.feed import JpegFeed
from daemon.sinks.playlist import Playlist


@dataclass(frozen=True)
class Shown:
    """A feed for each stream with an mjpeg sink and a playlist for each with an hls sink, by the
    stream's name. They outlast a reload: readers stay, numbers go on."""

    jpegs: dict[str, JpegFeed] = field(default_factory=dict)
    playlists: dict[str, Playlist] = field(default_factory=dict)

    def begin(self, stream: StreamSettings) -> None:
        """Before the sinks of a stream are made: let go of what they do not go on with."""
        kinds = {sink.kind for sink in stream.sink}
        if "mjpeg" not in kinds:
            self._drop_jpegs(stream.name)
        if "hls" not in kinds:
            self.playlists.pop(stream.name, None)
        if stream.privacy != "none" or stream.aggregate_only:
            # Pictures of before may show more than is to be seen from now on.
            for kept in (self.jpegs.get(stream.name), self.playlists.get(stream.name)):
                if kept is not None:
                    kept.clear()

    def drop(self, name: str) -> None:
        """A stream is gone."""
        self._drop_jpegs(name)
        self.playlists.pop(name, None)  # Who reads it asks again, and hears that there is none.

    def _drop_jpegs(self, name: str) -> None:
        if (feed := self.jpegs.pop(name, None)) is not None:
            feed.close()
