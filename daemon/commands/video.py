"""`affectd video`: a file annotated to its end, every frame with its own readings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import av
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from daemon.commands.offline import Offline, is_there, offline
from daemon.commands.progress import progress_bar
from daemon.config.settings import Privacy, StreamSettings
from daemon.config.sink_settings import (
    MP4_ENDINGS,
    EventsSinkSettings,
    Mp4SinkSettings,
    SinkSettings,
)
from daemon.errors import ConfigError, Reason, SourceError
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline
from daemon.redact import display_url, redact_url
from daemon.sinks.disk import numbered, sink_errors
from daemon.sinks.feed import JpegFeed
from daemon.sinks.playlist import Playlist
from daemon.sources.demo.source import parse
from daemon.sources.open import open_source
from daemon.url import local_path, scheme_of

POLL_S = 0.1


def annotate_video(
    source: str,
    target: Path | None,
    events: Path | None,
    config: Path | None,
    force: bool,
    console: Console,
    *,
    privacy: Privacy = "none",
) -> None:
    """Read a file to its end, and write it annotated to `target`, its readings to `events`, or one
    of the two.

    Raises ConfigError for arguments that cannot be meant, SourceError or SinkError for the first
    thing that goes wrong; what was written until then stays whole. KeyboardInterrupt and SystemExit
    pass, after the files were finished.
    """
    _check_source(source)
    _make_way(source, target, events, force)
    # A link stays one, and may lead to what is not there yet.
    target, events = target and _behind(target), events and _behind(events)
    stream = _stream(source, target, events, privacy)
    # Before models are loaded and before anything is replaced.
    open_source(stream, stop=threading.Event()).close()
    stop = threading.Event()
    others = [] if target is None else numbered(target)

    def parts_made() -> str:
        paths = [events] if target is None else [target, *numbered(target)]
        made = [path for path in paths if path is not None and path not in others]
        return ", ".join(str(path) for path in made if is_there(path))

    asked = None if events is None else "--events"
    with (
        offline(config, stream, console, readings=asked) as around,
        _old_files_aside([path for path in (target, events) if path is not None]) as settle,
    ):
        pipeline = Pipeline(
            stream,
            around.settings,
            around.models,
            metrics=around.metrics,
            board=around.board,
            health=around.health,
            stop=stop,
            jpegs=JpegFeed(),
            playlist=Playlist(),
            offline=True,
        )
        try:
            _run(pipeline, stop, _frames_in(source), around.board, console, settle)
        except (KeyboardInterrupt, SystemExit):
            made = parts_made()
            what = "readings" if target is None else "frames"
            until = f"{made} holds the {what} until here" if made else "nothing was written"
            console.print(f"Interrupted; {until}")
            raise
    if pipeline.error is not None:
        raise pipeline.error
    _tell(source, target, parts_made(), around, console)
    if pipeline.capture.cut is not None:
        raise SourceError(Reason.DECODE_ERROR, pipeline.capture.cut)


def _stream(
    source: str, target: Path | None, events: Path | None, privacy: Privacy
) -> StreamSettings:
    """Raises ConfigError for a source that can be none."""
    sinks: list[SinkSettings] = []
    if target is not None:
        sinks.append(Mp4SinkSettings(kind="mp4", path=target))
    if events is not None:
        sinks.append(EventsSinkSettings(kind="events", path=events))
    try:
        return StreamSettings(
            name="video",
            url=SecretStr(source),
            policy="file",
            privacy=privacy,
            sink=tuple(sinks),
        )
    except ValidationError as error:
        fault = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"IN: {fault}") from error


def _tell(source: str, target: Path | None, parts: str, around: Offline, console: Console) -> None:
    """Say what was made, and what was lost. Raises SourceError where nothing came about."""
    (stream,) = around.board.streams()
    if not stream.frames or not parts:  # With --force what stood there before is there again.
        raise SourceError(
            Reason.END_OF_STREAM, f"{display_url(source)}: ended before its first picture"
        )
    if target is None:
        console.print(f"readings of {stream.frames} frames written to {parts}")
    else:
        why = ": IN's pictures change their size or kind, or pause for hours"
        console.print(
            f"{stream.frames} frames written to {parts}{'' if parts == str(target) else why}"
        )
    lost = around.metrics.registry.get_sample_value(
        "affectd_frames_dropped_total",
        {"stream": stream.name, "stage": "decode", "reason": "damaged"},
    )
    if lost:
        console.print(
            f"affectd: warning: {redact_url(source)}: {lost:g} damaged packets gave no frame"
        )


def _run(
    pipeline: Pipeline,
    stop: threading.Event,
    total: int | None,
    board: Board,
    console: Console,
    tick: Callable[[], None],
) -> None:
    """Run it to its end, or to KeyboardInterrupt; its files are finished in any case."""
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with progress_bar(console, *columns) as bar:
            task = bar.add_task("", total=total)
            pipeline.start()
            while pipeline.running:
                bar.update(task, completed=board.streams()[0].frames)
                tick()
                stop.wait(POLL_S)
        pipeline.finish()
    finally:
        stop.set()
        pipeline.close()


def _check_source(source: str) -> None:
    """Raise ConfigError for what cannot be read to its end, SourceError for a wrong scene."""
    read = local_path(source)
    if read is not None and is_there(Path(read)) and Path(read).is_fifo():
        # What one reader takes of it, the next misses.
        raise ConfigError("IN: is a pipe; accepted is a file, which is opened more than once")
    if scheme_of(source) == "demo" and parse(source).seconds is None:
        raise ConfigError("IN: demo:// without an end; accepted is demo://NAME?seconds=10")


def _make_way(source: str, target: Path | None, events: Path | None, force: bool) -> None:
    """Raise ConfigError where nothing is to be written, and for a file that would be lost or whose
    name would lie."""
    if target is None and events is None:
        raise ConfigError(
            "OUT: is missing; accepted is the name of an MP4, or --events FILE for readings alone"
        )
    if (
        target is not None
        and events is not None
        and os.path.realpath(events) == os.path.realpath(target)
    ):
        raise ConfigError(f"{events}: is OUT already; accepted for --events is another file")
    read = local_path(source)
    for path in (target, events):
        if path is None or not (is_there(path) or os.path.lexists(_behind(path))):
            continue
        if not path.is_file():
            raise ConfigError(f"{path}: exists and is no file; accepted is a new file")
        if read is not None and is_there(Path(read)) and path.samefile(read):
            raise ConfigError(f"{path}: is IN itself; accepted is another file")
        if not force:
            raise ConfigError(f"{path}: exists; accepted is a new file, or --force to replace it")
    if target is not None and _behind(target).suffix.lower() not in MP4_ENDINGS:
        raise ConfigError(
            f"{_behind(target)}: is written as MP4; accepted is a name in {', '.join(MP4_ENDINGS)}"
        )


def _behind(path: Path) -> Path:
    """What a link leads to, there or not; a link if it leads to itself."""
    try:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError:
        return path  # Whoever opens it says more.


@contextmanager
def _old_files_aside(paths: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """Put aside the files that were there, and give them back if the first does not come about.
    What this yields removes them once it is begun: the disk may have no room for both."""
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
                old.replace(path)


def _put_aside(path: Path) -> Path:
    with sink_errors(path):
        return path.rename(path.with_name(f".{path.name}.{os.getpid()}.old"))


def _frames_in(source: str) -> int | None:
    """How many frames a file promises, or its length does; None where neither is known."""
    path = local_path(source)
    if path is None:
        return None
    try:
        with av.open(f"file:{path}") as container:
            video = container.streams.video[0]
            length_s = (container.duration or 0) / av.time_base
            return video.frames or round(length_s * float(video.average_rate or 0)) or None
    except (av.FFmpegError, IndexError, ValueError):
        return None  # the capture says what is wrong with it
