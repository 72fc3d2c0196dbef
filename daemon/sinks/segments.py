"""The segments of one mp4 sink on disk: how they are named, and which of them are deleted."""

from __future__ import annotations

import logging
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from daemon.config.sink_settings import Mp4Sink

log = logging.getLogger("affectd.sink")

PRUNE_EVERY_S = 10.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    """Orders by age, oldest first."""

    began: str
    number: int
    path: Path
    size: int
    ended_s: float


class Segments:
    """`lobby.mp4` becomes `lobby-20261120T120000Z.mp4`: the time, in UTC, at which a segment began.

    Only regular files with such a name in the sink's own folder are ever deleted, and never the
    one being written: first those that ended more than `keep_days` ago, then the oldest while all
    together exceed `keep_gb`.
    """

    def __init__(self, config: Mp4Sink) -> None:
        self._base = config.path
        self._keep_s = config.keep_days * _DAY_S
        self._keep_bytes = config.keep_gb * 1e9
        stem, suffix = re.escape(self._base.stem), re.escape(self._base.suffix)
        self._name = re.compile(rf"{stem}-(\d{{8}}T\d{{6}}Z)(?:-(\d+))?{suffix}")
        self._pruned_s = 0.0
        self._complained = False

    def path(self, began_s: float) -> Path:
        """The file for a segment whose first picture was captured at `began_s` (Unix time)."""
        began = datetime.fromtimestamp(began_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self._base.with_stem(f"{self._base.stem}-{began}")

    def prune_now_and_then(self, now_s: float, current: Path | None) -> None:
        """As `prune`, every `PRUNE_EVERY_S`."""
        if abs(now_s - self._pruned_s) >= PRUNE_EVERY_S:
            self.prune(now_s, current)

    def prune(self, now_s: float, current: Path | None) -> None:
        """Delete what is too old at `now_s` or too much; `current` is being written.

        What cannot be deleted is said once and stays; newer ones go all the same, so that the
        disk does not fill.
        """
        self._pruned_s = now_s
        if not self._keep_s and not self._keep_bytes:
            return
        try:
            found = self._found()
        except OSError as error:
            self._complain(error)
            return
        total = sum(segment.size for segment in found)
        for segment in found:
            is_old = 0 < self._keep_s < now_s - segment.ended_s
            is_much = 0 < self._keep_bytes < total
            if segment.path != current and (is_old or is_much):
                try:
                    segment.path.unlink(missing_ok=True)
                    total -= segment.size
                except OSError as error:
                    self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            log.warning("mp4 sink: old segments of %s stay: %s", self._base, error)

    def _found(self) -> list[_Segment]:
        """All segments of this sink, oldest first. Raises OSError."""
        found = []
        if not self._base.parent.is_dir():
            return []
        for path in self._base.parent.iterdir():
            if match := self._name.fullmatch(path.name):
                try:
                    state = path.lstat()
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(state.st_mode):
                    number = int(match[2] or 1)
                    found.append(_Segment(match[1], number, path, state.st_size, state.st_mtime))
        return sorted(found)
