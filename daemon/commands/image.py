"""`affectd image`: images and folders of images, annotated one by one."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from av.video.reformatter import VideoReformatter
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from classifiers.atomic import write_atomic
from daemon.commands.offline import is_there, offline
from daemon.commands.progress import progress_bar
from daemon.config.settings import Privacy, StreamSettings
from daemon.errors import ConfigError, Reason, SourceError
from daemon.frame import Frame
from daemon.sinks.disk import make_folder, sink_errors
from daemon.sinks.mjpeg import JpegEncoder, jpeg_form
from daemon.sources.open import is_pipe
from daemon.sources.video import VideoSource
from daemon.steps import Steps

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
JPEG_QUALITY = 92


def annotate_images(
    sources: Sequence[Path],
    folder: Path | None,
    as_json: bool,
    config: Path | None,
    force: bool,
    out: Console,
    err: Console,
    *,
    privacy: Privacy = "none",
) -> int:
    """Annotate images and folders of images into `folder`, or print their readings alone; returns
    how many could not be read.

    Each fault is one line on `err`, where a progress bar runs, and the others go on. Raises
    ConfigError or SourceError for arguments that cannot be meant, SinkError when `folder` cannot
    be written.
    """
    if folder is None and not as_json:
        raise ConfigError("--out: is missing; accepted is a folder, or --json for readings alone")
    unread: list[OSError] = []
    passed_over: list[Path] = []
    images = _images(sources, folder, unread, passed_over)
    for error in unread:
        err.print(f"affectd: {error.filename} cannot be read: {error.strerror}", style="red")
    if passed_over:
        kinds = sorted({path.suffix.lower() or "without an ending" for path in passed_over})
        files = "1 file" if len(passed_over) == 1 else f"{len(passed_over)} files"
        err.print(f"{files} passed over: {', '.join(kinds)}")
    if folder is not None:
        _make_way(images, force)
        with sink_errors(folder):
            make_folder(folder)
    stream = StreamSettings(name="image", url=SecretStr("images"), policy="file", privacy=privacy)
    failed = len(unread)
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if out.file.isatty() and err.is_terminal:  # FORCE_COLOR makes any file a terminal to rich.
        out = err  # Lines on the terminal of the bar have to come above it.
    with (
        offline(config, stream, err, readings="--json" if as_json else None) as around,
        progress_bar(err, *columns) as bar,
    ):
        task = bar.add_task("", total=len(images))
        row = around.board.add(stream.name, ())
        detector = around.models.detector.make()
        try:
            for path, target in images:
                line: dict[str, object] = {"file": str(path)}
                try:
                    frame = _read_image(path)
                    steps = Steps(
                        stream.model_copy(update={"url": SecretStr(str(path))}),
                        around.settings,
                        detector,
                        around.models.batcher,
                        offline=True,
                        shown=folder is not None,
                        metrics=around.metrics,
                        row=row,
                        stop=threading.Event(),
                    )
                    output = steps.take(frame)
                    if folder is not None:
                        _write_image(frame, target)
                    line["readings"] = [reading.to_event() for reading in output.readings]
                    labels = ", ".join(reading.label for reading in output.readings) or "no face"
                    reads = around.settings.expression.enabled
                    text = f"{path}: {labels} → {target}" if reads else f"{path} → {target}"
                except SourceError as error:
                    failed += 1
                    line["error"] = str(error)
                    text = ""
                    err.print(f"affectd: {error}", style="red")
                if as_json:
                    out.print(json.dumps(line))
                elif text:
                    out.print(text)
                bar.advance(task)
        finally:
            detector.close()
    return failed


def _images(
    sources: Sequence[Path], folder: Path | None, unread: list[OSError], passed_over: list[Path]
) -> list[tuple[Path, Path]]:
    """Each image with the file that its annotated copy goes to; no two go to the same. `unread`
    gains the folders that cannot be read, `passed_over` files in folders that are no image."""
    images: dict[Path, Path] = {}
    for source in sources:
        if is_there(source) and source.is_dir():
            before = len(unread)
            found = _images_in(source, folder, unread, passed_over)
            if not found and len(unread) == before:
                raise SourceError(
                    Reason.NOT_FOUND, f"{source}: no image in it; accepted: {', '.join(IMAGES)}"
                )
            pairs = [(path, path.relative_to(source)) for path in found]
        else:
            pairs = [(source, Path(source.name))]
        for path, relative in pairs:
            is_jpeg = relative.suffix.lower() in (".jpg", ".jpeg")
            name = relative if is_jpeg else relative.with_name(f"{relative.name}.jpg")
            target = copy = Path(folder or "", name)
            for number in itertools.count(2):
                if images.setdefault(target, path) == path:
                    break
                target = copy.with_stem(f"{name.stem}-{number}")
    return [(path, target) for target, path in images.items()]


def _images_in(
    source: Path, folder: Path | None, unread: list[OSError], passed_over: list[Path]
) -> list[Path]:
    """The images of a folder, without what is hidden (folders of thumbnails, a Mac's `._a.jpg`
    beside each file), and without what an earlier run wrote to `folder` within it."""
    out = None if folder is None or _real(source) not in _real(folder).parents else _real(folder)
    found: list[Path] = []
    for where, folders, names in os.walk(source, onerror=unread.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if out is not None and _real(Path(where)).is_relative_to(out):
            continue
        files = [Path(where, name) for name in names if not name.startswith(".")]
        passed_over += [path for path in files if path.suffix.lower() not in IMAGES]
        found += [*files, *(Path(where, name) for name in folders)]
    return sorted(path for path in found if path.suffix.lower() in IMAGES)


def _make_way(images: Sequence[tuple[Path, Path]], force: bool) -> None:
    """Raise ConfigError for a file that would be lost."""
    read = {_real(path): path for path, _ in images}
    for _, target in images:
        if path := read.get(_real(target)):
            raise ConfigError(f"{path}: lies in --out itself; accepted is another folder")
        if not is_there(target) and not target.is_symlink():
            continue
        if is_there(target) and not target.is_file():
            raise ConfigError(f"{target}: exists and is no file; accepted is another folder")
        if not force:
            raise ConfigError(
                f"{target}: exists; accepted is another folder, or --force to replace it"
            )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `resolve` raises for a link to itself


def _read_image(path: Path) -> Frame:
    if is_pipe(path):  # Opening one waits until somebody writes to it.
        raise SourceError(Reason.UNSUPPORTED, f"{path}: is a pipe; accepted is a file")
    source = VideoSource("image", str(path), live=False, stop=threading.Event())
    try:
        frames = source.frames()
        frame = next(frames)
        if not _is_jpeg(path) and next(frames, None) is not None:
            raise SourceError(
                Reason.UNSUPPORTED,
                f"{path}: holds more than one picture; accepted by `affectd video`",
            )
        return frame
    finally:
        source.close()


def _is_jpeg(path: Path) -> bool:
    """Whether it is a JPEG: behind the picture that it shows, one of a phone may hold others (MPO,
    a gain map)."""
    with path.open("rb") as file:
        return file.read(2) == b"\xff\xd8"


def _write_image(frame: Frame, target: Path) -> None:
    width, height = frame.image.width, frame.image.height
    image = jpeg_form(VideoReformatter(), frame.image, width, height)
    encoded = JpegEncoder(width, height, JPEG_QUALITY).encode(image)
    with sink_errors(target):
        make_folder(target.parent)
        if target.is_symlink():
            target.unlink()  # What it leads to may be somebody's picture.
        write_atomic(target, encoded)  # Anew, not over: a hard link may share it.
