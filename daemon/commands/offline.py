"""`affectd video`, `affectd image` and `affectd models pull`: work that ends by itself."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from av.video.reformatter import ColorRange, Colorspace
from prometheus_client import CollectorRegistry
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from daemon import models
from daemon.capture import mailbox_for
from daemon.config.file import load
from daemon.config.settings import EventsSink, Mp4Sink, Settings, SinkSettings, StreamSettings
from daemon.errors import ConfigError, Reason, SinkError, SourceError
from daemon.frame import Frame
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board
from daemon.pipeline import Pipeline
from daemon.service import logs
from daemon.sinks.feed import JpegFeed
from daemon.sinks.mjpeg import JpegEncoder
from daemon.sinks.recording import make_folder
from daemon.sources.open import open_source
from daemon.sources.video import VideoSource
from daemon.stream import Stream
from daemon.track import Tracker
from detectors import store

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
JPEG_QUALITY = 92
POLL_S = 0.1
FINISH_S = 600.0  # what a sink may take to write the last frames of a file, however large


@dataclass(frozen=True, slots=True)
class _Bench:
    """What one stream needs around it when there is no daemon."""

    settings: Settings
    models: models.Models
    metrics: Metrics
    board: Board
    health: Health


@contextmanager
def _bench(config: Path | None, stream: StreamSettings, console: Console) -> Iterator[_Bench]:
    """Load models for one stream; everything but the streams comes from `config`."""
    if config is None:
        settings, secrets = Settings(stream=(stream,)), frozenset[str]()
    else:
        loaded = load(config, os.environ)
        settings = loaded.settings.model_copy(update={"stream": (stream,)})
        secrets = loaded.secrets
    logs.set_up("error", secrets)  # what a warning would say is raised here
    metrics, health = Metrics(CollectorRegistry()), Health(time.monotonic)
    found = models.load(settings, metrics, health, console.print)
    try:
        yield _Bench(settings, found, metrics, Board(time.time), health)
    finally:
        if found.batcher is not None:
            found.batcher.stop()


def annotate_video(
    source: str,
    target: Path,
    events: Path | None,
    config: Path | None,
    force: bool,
    console: Console,
) -> None:
    """Read a file to its end and write it annotated; its readings too if `events` is given.

    Raises ConfigError for arguments that cannot be meant, SourceError or SinkError for the first
    thing that goes wrong; what was written until then stays whole. KeyboardInterrupt passes, after
    the files were finished.
    """
    sinks: list[SinkSettings] = [Mp4Sink(kind="mp4", path=target)]
    if events is not None:
        sinks.append(EventsSink(kind="events", path=events))
    try:
        stream = StreamSettings(
            name="video", url=SecretStr(source), policy="file", sink=tuple(sinks)
        )
    except ValidationError as error:
        fault = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"IN: {fault}") from error
    _make_way(source, target, events, force)
    # Before models are loaded and before anything is replaced.
    open_source(stream, stop=threading.Event()).close()
    stop = threading.Event()
    with _bench(config, stream, console) as bench:
        for path in (target, events):
            if path is not None and path.exists():
                _replace(path)
        pipeline = Pipeline(
            stream,
            bench.settings,
            bench.models,
            metrics=bench.metrics,
            board=bench.board,
            health=bench.health,
            stop=stop,
            jpegs=JpegFeed(),
            once=True,
        )
        columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        try:
            with _progress(console, *columns) as bar:
                task = bar.add_task("", total=_frames_in(source))
                pipeline.start()
                while pipeline.running:
                    bar.update(task, completed=bench.board.streams()[0].frames)
                    stop.wait(POLL_S)
            for part in pipeline.sink_threads:
                part.close(FINISH_S)
        except KeyboardInterrupt:
            stop.set()
            console.print(f"Interrupted; {target} holds the frames until here")
            raise
        finally:
            pipeline.close()
    if pipeline.error is not None:
        raise pipeline.error
    frames = bench.board.streams()[0].frames
    console.print(f"{frames} frames written to {target}")
    if pipeline.capture.cut is not None:
        raise SourceError(Reason.DECODE_ERROR, pipeline.capture.cut)


def _make_way(source: str, target: Path, events: Path | None, force: bool) -> None:
    """Raise ConfigError for a file that would be lost."""
    if events is not None and events.absolute() == target.absolute():
        raise ConfigError(f"{events}: is OUT already; accepted for --events is another file")
    for path in (target, events):
        if path is None or not path.exists():
            continue
        if not path.is_file():
            raise ConfigError(f"{path}: exists and is no file; accepted is a new file")
        if Path(source).exists() and path.samefile(source):
            raise ConfigError(f"{path}: is IN itself; accepted is another file")
        if not force:
            raise ConfigError(f"{path}: exists; accepted is a new file, or --force to replace it")


def _replace(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise SinkError(
            Reason.NOT_WRITABLE, f"{path} cannot be replaced ({error.strerror})"
        ) from error


def _progress(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that leaves nothing behind, and on no terminal does not appear at all."""
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _frames_in(source: str) -> int | None:
    """How many frames a file promises, or its length does; None where neither is known."""
    try:
        with av.open(source) as container:
            video = container.streams.video[0]
            length_s = (container.duration or 0) / av.time_base
            return video.frames or round(length_s * float(video.average_rate or 0)) or None
    except (av.FFmpegError, IndexError, ValueError):
        return None  # the capture says what is wrong with it


def annotate_images(
    sources: Sequence[Path],
    folder: Path,
    as_json: bool,
    config: Path | None,
    out: Console,
    err: Console,
) -> int:
    """Annotate images and folders of images into `folder`; returns how many could not be read.

    Each fault is one line on `err`, and the others go on. Raises ConfigError or SourceError for
    arguments that cannot be meant, SinkError when `folder` cannot be written.
    """
    images = _images(sources, folder)
    try:
        make_folder(folder)
    except OSError as error:
        raise _not_writable(folder, error) from error
    stream = StreamSettings(name="image", url=SecretStr("images"), policy="file")
    failed = 0
    with _bench(config, stream, err) as bench:
        bench.board.add(stream.name, ())
        steps = Stream(
            stream.name,
            bench.settings,
            mailbox_for(stream, bench.metrics),
            bench.models.detector.make,
            bench.models.batcher,
            (),
            keep_all=True,
            once=True,
            metrics=bench.metrics,
            board=bench.board,
            stop=threading.Event(),
        )
        detector = bench.models.detector.make()
        try:
            for path, target in images:
                line: dict[str, object] = {"file": str(path)}
                try:
                    frame = _read_image(path)
                    steps.forget()
                    output = steps.step(frame, detector, Tracker(max_missing_s=0, half_life_s=0))
                    _write_image(frame, target)
                    line["readings"] = [reading.to_event() for reading in output.readings]
                    text = f"{path}: {_summary([r.label for r in output.readings])} → {target}"
                except SourceError as error:
                    failed += 1
                    line["error"] = str(error)
                    text = ""
                    err.print(f"affectd: {error}", style="red")
                if as_json:
                    out.print(json.dumps(line))
                elif text:
                    out.print(text)
        finally:
            detector.close()
    return failed


def _images(sources: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Each image with the file that its annotated copy goes to; no two go to the same."""
    images: dict[Path, Path] = {}
    for source in sources:
        if source.is_dir():
            found = sorted(p for p in source.rglob("*") if p.suffix.lower() in IMAGES)
            if not found:
                raise SourceError(
                    Reason.NOT_FOUND, f"{source}: no image in it; accepted: {', '.join(IMAGES)}"
                )
            pairs = [(path, path.relative_to(source)) for path in found]
        else:
            pairs = [(source, Path(source.name))]
        for path, relative in pairs:
            is_jpeg = relative.suffix.lower() in (".jpg", ".jpeg")
            name = relative if is_jpeg else relative.with_name(f"{relative.name}.jpg")
            target = folder / name
            for number in itertools.count(2):
                if images.setdefault(target, path) == path:
                    break
                target = (folder / name).with_stem(f"{name.stem}-{number}")
            if target.exists() and path.exists() and target.samefile(path):
                raise ConfigError(f"{path}: lies in --out itself; accepted is another folder")
    return [(path, target) for target, path in images.items()]


def _read_image(path: Path) -> Frame:
    source = VideoSource("image", str(path), live=False, stop=threading.Event())
    try:
        return next(source.frames())
    finally:
        source.close()


def _write_image(frame: Frame, target: Path) -> None:
    image = frame.image.reformat(
        format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG
    )
    encoded = JpegEncoder(image.width, image.height, JPEG_QUALITY).encode(image)
    try:
        make_folder(target.parent)
        target.write_bytes(encoded)
    except OSError as error:
        raise _not_writable(target, error) from error


def _not_writable(path: Path, error: OSError) -> SinkError:
    return SinkError(
        Reason.NOT_WRITABLE,
        f"{path} cannot be written ({error.strerror}); "
        "accepted for --out is a folder that affectd may write to",
    )


def _summary(labels: Sequence[str]) -> str:
    return ", ".join(labels) if labels else "no face"


def pull_models(names: Sequence[str], folder: str, console: Console) -> None:
    """Pull the named models, or all, with a progress bar. Raises ConfigError or PullError."""
    for name in names:
        if name not in store.MODELS:
            raise ConfigError(f"{name!r} is no model; accepted: {', '.join(store.MODELS)}")
    target = store.models_dir(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with _progress(console, *columns) as bar:
        for name in names or list(store.MODELS):
            task = bar.add_task(name, total=None)

            def progress(done: int, total: int, task: object = task) -> None:
                bar.update(task, completed=done, total=total)  # type: ignore[arg-type]

            path = store.pull(name, target, progress=progress)
            console.print(f"{name}: {path}")
