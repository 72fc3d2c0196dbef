"""A stream's newest seconds as HLS (RFC 8216), from a sink's thread to the web server's readers."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from daemon.reading import utc

LISTED = 12  # A late picture completes up to ten at once, of which no reader may miss one.
KEPT = LISTED + 6  # A reader may still fetch a segment that the playlist lists no more.
STALE_S = 30.0
WANTED_S = 20.0
NUMBERS_A_S = 4  # Segments begin less often, even though each return from a slate begins one.
MOST_NUMBER = 2**31 - 1  # Some players count no further. The numbers start from 0 again in 2038.


@dataclass(frozen=True, slots=True)
class _Segment:
    number: int
    run: int
    is_first: bool
    duration_s: float
    began_s: float
    media: bytes


class Playlist:
    """Segments in memory: the last `KEPT`, of which the playlist lists `LISTED`; older ones are
    dropped. Nothing is written to disk, to wear it out, fill it, or be left over after a restart.

    A run is a stretch of segments with one header; between two runs stands a discontinuity. Numbers
    of segments and runs start at the Unix time times `NUMBERS_A_S`, so that they go on rising when
    affectd starts again, and no reader or cache takes a new segment for an old one.

    Thread-safe: a sink's thread adds segments, the web server's reads them.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._number = self._run = int(clock() * NUMBERS_A_S) & MOST_NUMBER
        self._header: bytes | None = None  # of a run that has no segment yet
        self._target_s = 1
        self._segments: deque[_Segment] = deque(maxlen=KEPT)
        self._headers: dict[int, bytes] = {}
        self._added_s = -math.inf
        self._asked_s = -math.inf

    def keep_if_wanted(self) -> bool:
        """Whether somebody asked for the playlist lately; if not, nothing need be encoded, and all
        segments are dropped."""
        with self._lock:
            wanted = self._monotonic() - self._asked_s < WANTED_S
            if not wanted:
                self._segments.clear()
            return wanted

    @property
    def target_s(self) -> int:
        """The longest that a segment can be, in seconds; 1 before the first run."""
        return self._target_s

    def begin(self, header: bytes, target_s: int) -> None:
        """Begin a run: segments from now on have this header, and do not continue those before; no
        segment of it is longer than `target_s`, when rounded to whole seconds."""
        with self._lock:
            self._target_s = target_s
            self._header = header

    def add(self, media: bytes, duration_s: float, began_s: float) -> None:
        """Append a segment that begins with a keyframe captured at `began_s` (Unix time)."""
        with self._lock:
            is_first = self._header is not None
            if self._header is not None:  # Only now: a run without a segment is never listed.
                self._run += 1
                used = {segment.run for segment in self._segments}
                self._headers = {run: old for run, old in self._headers.items() if run in used}
                self._headers[self._run] = self._header
                self._header = None
            self._number += 1
            self._segments.append(
                _Segment(self._number, self._run, is_first, duration_s, began_s, media)
            )
            self._added_s = self._monotonic()

    def clear(self) -> None:
        """Drop all segments."""
        with self._lock:
            self._segments.clear()

    def text(self, query: str = "") -> str | None:
        """The playlist, or None while there is nothing new. `query` is added to each address."""
        with self._lock:
            now_s = self._monotonic()
            # While nobody asked, no segments were made: whoever asks now must not see old ones.
            if now_s - self._added_s > STALE_S or now_s - self._asked_s >= WANTED_S:
                self._segments.clear()
            self._asked_s = now_s
            listed = list(self._segments)[-LISTED:]
        if not listed:
            return None
        first = listed[0]
        # Segments from before a reload may be longer than `_target_s`.
        longest_s = max(int(segment.duration_s + 0.5) for segment in listed)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:7",
            f"#EXT-X-TARGETDURATION:{max(self._target_s, longest_s)}",
            f"#EXT-X-MEDIA-SEQUENCE:{first.number}",
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{first.run - first.is_first}",
            "#EXT-X-INDEPENDENT-SEGMENTS",
        ]
        for segment in listed:
            if segment.is_first:
                lines.append("#EXT-X-DISCONTINUITY")
            if segment is first or segment.is_first:
                lines.append(f'#EXT-X-MAP:URI="init-{segment.run}.mp4{query}"')
            lines += [
                f"#EXT-X-PROGRAM-DATE-TIME:{utc(segment.began_s)}",
                f"#EXTINF:{segment.duration_s:.5f},",
                f"{segment.number}.m4s{query}",
            ]
        return "\n".join([*lines, ""])

    def file(self, name: str) -> bytes | None:
        """A header or a segment by its name in the playlist; None if it is not kept any more."""
        with self._lock:
            for segment in self._segments:
                if name == f"{segment.number}.m4s":
                    return segment.media
                if name == f"init-{segment.run}.mp4":
                    return self._headers[segment.run]
        return None
