"""The files that `affectd video` writes, and what becomes of those that were there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from daemon.commands.offline import is_there
from daemon.config.sink_settings import MP4_ENDINGS
from daemon.errors import ConfigError
from daemon.sinks.disk import sink_errors
from daemon.url import local_path


@dataclass(frozen=True, slots=True)
class VideoFiles:
    """Where OUT goes, and what the options of the same names ask for; None where nothing is to."""

    out: Path | None = None
    events: Path | None = None
    frames: Path | None = None
    record: Path | None = None

    @property
    def named(self) -> dict[str, Path]:
        """The paths asked for, by option. The record comes last: `old_files_aside` watches the
        first, which must appear with the first frame."""
        asked = zip(("OUT", "--events", "--frames", "--record"), astuple(self), strict=True)
        return {name: path for name, path in asked if path is not None}

    @property
    def all(self) -> list[Path]:
        """The same without their options."""
        return list(self.named.values())

    def make_way(self, source: str, config: Path | None, force: bool) -> VideoFiles:
        """The same with what links lead to, which stay links.

        Raises ConfigError where nothing is to be written, and for a file that would be lost or
        whose name would lie.
        """
        if self.out is self.events is self.frames is None:
            raise ConfigError(
                "OUT: is missing; accepted is the name of an MP4, or --events FILE for readings "
                "alone, or --frames FILE"
            )
        taken: dict[str, str] = {}
        for name, path in self.named.items():
            before = taken.setdefault(os.path.realpath(path), name)
            if before != name:
                raise ConfigError(
                    f"{path}: is {before} already; accepted for {name} is another file"
                )
        local = local_path(source)
        read = {
            "IN itself": None if local is None else Path(local),
            "that of --config": config,
        }
        for path in self.all:
            _need_room(path, read, force)
        if self.out is not None and _behind(self.out).suffix.lower() not in MP4_ENDINGS:
            raise ConfigError(
                f"{_behind(self.out)}: is written as MP4; "
                f"accepted is a name in {', '.join(MP4_ENDINGS)}"
            )
        return VideoFiles(*(path and _behind(path) for path in astuple(self)))


def _need_room(path: Path, read: Mapping[str, Path | None], force: bool) -> None:
    """Raise ConfigError for a file that would be lost. `read` are the files that are read, by what
    they are."""
    if not (is_there(path) or os.path.lexists(_behind(path))):
        return
    if not path.is_file():
        raise ConfigError(f"{path}: exists and is no file; accepted is a new file")
    for what, other in read.items():
        if other is not None and is_there(other) and path.samefile(other):
            raise ConfigError(f"{path}: is {what}; accepted is another file")
    if not force:
        raise ConfigError(f"{path}: exists; accepted is a new file, or --force to replace it")


def _behind(path: Path) -> Path:
    """What a link leads to, there or not; a link if it leads to itself."""
    try:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError:
        return path  # Whoever opens it says more.


@contextmanager
def old_files_aside(files: VideoFiles) -> Iterator[Callable[[], None]]:
    """Put aside the files that were there, and give them back if the first does not come about.
    Exception: where there was no first before, the failed run's record takes the old one's place.
    What this yields removes them once the first is begun: the disk may have no room for both."""
    paths = files.all
    aside: dict[Path, Path] = {}

    def settle() -> None:
        while aside and is_there(paths[0]):
            with suppress(OSError):
                aside.popitem()[1].unlink()

    try:
        for path in paths:
            if is_there(path):
                aside[path] = _put_aside(path)
        yield settle
    finally:
        settle()
        for path, old in aside.items():
            with suppress(OSError):
                if path == files.record and is_there(path) and paths[0] not in aside:
                    old.unlink()
                else:
                    old.replace(path)


def _put_aside(path: Path) -> Path:
    with sink_errors(path):
        return path.rename(path.with_name(f".{path.name}.{os.getpid()}.old"))
