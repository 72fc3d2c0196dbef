"""The segments of one mp4 sink on disk: how they are named, and which of them are deleted."""

from __future__ import annotations

import bisect
import logging
import math
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon.config.sink_settings import Mp4SinkSettings

log = logging.getLogger("affectd.sink")

PRUNE_EVERY_S = 10.0
LIST_EVERY_S = 3600.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    """Orders by age, oldest first."""

    began: str
    number: int
    name: str  # No Path: with tens of thousands of segments, Paths would take most of the memory.
    size: int
    ended_s: float


class SegmentFiles:
    """`lobby.mp4` becomes `lobby-20261120T120000Z.mp4`: the time, in UTC, at which a segment began.

    Only regular files with such a name in the sink's own folder are ever deleted, and never the
    one being written: first those that ended more than `keep_days` ago, then the oldest while all
    together exceed `keep_gb`.

    The folder may hold tens of thousands of segments on a network disk. So it is listed at first
    and then every `LIST_EVERY_S`; in between, `add` notes each new one. Of segments that had not
    changed for that long at the last listing, only the names are read again.
    """

    def __init__(self, config: Mp4SinkSettings) -> None:
        self._base = config.path
        self._keep_s = config.keep_days * _DAY_S
        self._keep_bytes = config.keep_gb * 1e9
        self._prunes = bool(self._keep_s or self._keep_bytes)
        stem, suffix = re.escape(self._base.stem), re.escape(self._base.suffix)
        self._name = re.compile(rf"{stem}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?{suffix}")
        self._pruned_s = self._listed_s = -math.inf
        self._kept: list[_Segment] = []  # Oldest first, as far as is known.
        self._complained = False

    def path(self, began_s: float) -> Path:
        """The file for a segment whose first picture was captured at `began_s` (Unix time)."""
        began = datetime.fromtimestamp(began_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self._base.with_stem(f"{self._base.stem}-{began}")

    def add(self, path: Path) -> None:
        """Note a finished segment. One whose size cannot be read is left to the next listing."""
        with suppress(OSError):
            if self._prunes and (segment := self._segment(path)) is not None:
                bisect.insort(self._kept, segment)

    def prune_now_and_then(self, now_s: float, current: Path | None) -> None:
        """As `prune`, every `PRUNE_EVERY_S`."""
        if abs(now_s - self._pruned_s) >= PRUNE_EVERY_S:
            self.prune(now_s, current)

    def prune(self, now_s: float, current: Path | None) -> None:
        """Delete segments that are too old at `now_s` or too many; `current` is being written.

        A segment that cannot be deleted is logged once and stays; newer ones are deleted in its
        place, so that the disk does not fill.
        """
        self._pruned_s = now_s
        if not self._prunes:
            return
        try:
            if abs(now_s - self._listed_s) >= LIST_EVERY_S:
                self._kept = self._found(current)
                self._listed_s = now_s
            written = None if current is None else self._segment(current)
        except OSError as error:
            self._complain(error)
            return
        total = sum(segment.size for segment in self._kept) + (written.size if written else 0)
        kept = []
        for segment in self._kept:
            is_old = 0 < self._keep_s < now_s - segment.ended_s
            is_much = 0 < self._keep_bytes < total
            if (is_old or is_much) and self._delete(segment.name):
                total -= segment.size
            else:
                kept.append(segment)
        self._kept = kept

    def _delete(self, name: str) -> bool:
        """Delete a segment; returns whether it is gone."""
        try:
            self._base.with_name(name).unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)
            return False
        return True

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("mp4 sink: old segments of %s stay: %s", self._base, error)

    def _found(self, current: Path | None) -> list[_Segment]:
        """All segments of this sink but `current`, oldest first. Raises OSError."""
        if not self._base.parent.is_dir():
            return []
        known = {
            segment.name: segment
            for segment in self._kept
            if segment.ended_s < self._listed_s - LIST_EVERY_S
        }
        paths = (path for path in self._base.parent.iterdir() if path != current)
        return sorted(filter(None, (known.get(path.name) or self._segment(path) for path in paths)))

    def _segment(self, path: Path) -> _Segment | None:
        """What `path` is as a segment; None if it is none. Raises OSError."""
        match = self._name.fullmatch(path.name)
        if match is None:
            return None
        try:
            state = path.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(state.st_mode):
            return None
        return _Segment(match[1], int(match[2] or 1), path.name, state.st_size, state.st_mtime)
