"""The order of a run, its progress bar, and what is said of how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import av
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from daemon.commands.offline import Offline, is_there, offline
from daemon.commands.progress import progress_bar
from daemon.commands.video.files import VideoFiles, old_files_aside
from daemon.commands.video.frames import FrameList
from daemon.commands.video.record import FrameCount, describe_source, recorded
from daemon.config.settings import Privacy, StreamSettings
from daemon.config.sink_settings import EventsSinkSettings, Mp4SinkSettings, SinkSettings
from daemon.errors import ConfigError, Reason, SourceError
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline
from daemon.redact import display_url, redact_url
from daemon.sinks.base import Outlet
from daemon.sinks.disk import numbered
from daemon.sources.demo.source import parse
from daemon.sources.open import is_pipe, open_source
from daemon.url import local_path, scheme_of

POLL_S = 0.1


def annotate_video(
    source: str,
    files: VideoFiles,
    config: Path | None,
    force: bool,
    console: Console,
    *,
    privacy: Privacy = "none",
    command: str = "",
) -> None:
    """Read a file to its end, and write what `files` asks for of it. `command` is what the user
    typed, for the record.

    Raises ConfigError for arguments that cannot be meant, SourceError or SinkError for the first
    thing that goes wrong; what was written until then stays whole. KeyboardInterrupt and SystemExit
    pass, after the files were finished.
    """
    _check_source(source)
    files = files.make_way(source, config, force)
    stream = _stream(source, files, privacy)
    # Before models are loaded and before anything is replaced.
    open_source(stream, stop=threading.Event()).close()
    stop = threading.Event()
    first = files.all[0]
    others = [] if files.out is None else numbered(first)

    def parts_made() -> str:
        paths = [first] if files.out is None else [first, *numbered(first)]
        return ", ".join(str(path) for path in paths if path not in others and is_there(path))

    asked = None if files.events is None else "--events"
    more: list[Outlet] = []
    with (
        offline(config, stream, console, readings=asked) as around,
        old_files_aside(files) as settle,
        ExitStack() as ending,
    ):
        if files.record is not None:
            more.append(count := FrameCount())
            about = describe_source(open_source(stream, stop=stop), source)
            ending.enter_context(recorded(files.record, command, about, around, count))
        if files.frames is not None:
            more.append(ending.enter_context(closing(FrameList(files.frames))))
        pipeline = Pipeline(
            stream,
            around.settings,
            around,
            stop=stop,
            offline=True,
            more_outlets=more,
        )
        try:
            _run(pipeline, stop, _frames_in(source), around.board, console, settle)
        except (KeyboardInterrupt, SystemExit):
            made = parts_made()
            what = "frames" if files.out else "readings" if files.events else "list of frames"
            until = f"{made} holds the {what} until here" if made else "nothing was written"
            console.print(f"Interrupted; {until}")
            raise
        if pipeline.error is not None:
            raise pipeline.error
        _tell(source, files, parts_made(), around, console)
        if pipeline.capture.cut is not None:
            raise SourceError(Reason.DECODE_ERROR, pipeline.capture.cut)


def _stream(source: str, files: VideoFiles, privacy: Privacy) -> StreamSettings:
    """Raises ConfigError for a source that can be none."""
    sinks: list[SinkSettings] = []
    if files.out is not None:
        sinks.append(Mp4SinkSettings(kind="mp4", path=files.out))
    if files.events is not None:
        sinks.append(EventsSinkSettings(kind="events", path=files.events))
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


def _tell(source: str, files: VideoFiles, parts: str, around: Offline, console: Console) -> None:
    """Say what was made, and what was lost. Raises SourceError where nothing came about."""
    (stream,) = around.board.streams()
    if not parts:
        raise SourceError(
            Reason.END_OF_STREAM, f"{display_url(source)}: ended before its first picture"
        )
    what = "" if files.out else "readings of " if files.events else "list of "
    in_parts = parts != str(files.all[0])
    why = ": IN's pictures change their size or kind, or pause for hours" if in_parts else ""
    console.print(f"{what}{stream.frames} frames written to {parts}{why}")
    if lost := around.damaged:
        console.print(
            f"affectd: warning: {redact_url(source)}: {lost} damaged packets gave no frame"
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
    if is_pipe(local_path(source)):
        # What one reader takes of it, the next misses.
        raise ConfigError("IN: is a pipe; accepted is a file, which is opened more than once")
    if scheme_of(source) == "demo" and parse(source).seconds is None:
        raise ConfigError("IN: demo:// without an end; accepted is demo://NAME?seconds=10")


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
