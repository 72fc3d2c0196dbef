"""What a run of `affectd video` was made of and what came of it, as one JSON object."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from classifiers.atomic import check_writable, write_atomic
from classifiers.expression.weight_files import locate, record_of
from daemon.commands.offline import Offline
from daemon.config.settings import Settings
from daemon.errors import SourceError
from daemon.models import Models
from daemon.reading import utc
from daemon.redact import display_url, redact_text
from daemon.sinks.base import Output, Takes
from daemon.sinks.disk import make_folder, sink_errors
from daemon.sources.base import Source
from daemon.url import local_path
from daemon.version import versions

SCHEMA = 1
# These only change timing; readings of a file do not depend on them.
_NO_MATTER = {"max_batch", "max_wait_ms", "queue_crops", "max_age_ms"}

Object = dict[str, Any]


class FrameCount:
    """Counts what a stream hands out. Belongs to the stream's thread until that has ended."""

    takes: Takes = "readings"

    def __init__(self) -> None:
        self.frames = self.looked = self.with_faces = 0
        self.size_px: tuple[int, int] | None = None
        self._last_s = self._step_s = 0.0

    def duration_s(self, fps: float | None) -> float | None:
        """Media time to the end of the last picture, which is taken to last as the one before. A
        single one lasts as long as `fps` says, None where it is not known."""
        if self.frames == 1:
            return 1.0 / fps if fps else None
        return self._last_s + self._step_s

    def put(self, output: Output) -> None:
        frame = output.frame
        if self.size_px is None:
            self.size_px = frame.image.width, frame.image.height
        self.frames += 1
        self.looked += output.looked
        self.with_faces += output.looked and bool(output.faces)
        self._last_s, self._step_s = frame.pts_s, frame.pts_s - self._last_s


def describe_source(source: Source, url: str) -> Object:
    """What is known of a source that nobody has read yet; reads its first picture and closes it."""
    with suppress(SourceError):  # The run will meet it too, and tell.
        next(source.frames(), None)
    source.close()
    path = local_path(url)
    return {
        "file": display_url(url),
        "sha256": None if path is None else _sha256(Path(path)),
        "container": source.container,
        "codec": source.codec,
        "fps": source.fps,
        "first_picture_s": _rounded(source.first_picture_s),
        "audio_start_s": _rounded(source.audio_start_s),
    }


@contextmanager
def recorded(
    path: Path, command: str, source: Object, around: Offline, count: FrameCount
) -> Iterator[None]:
    """Write the record of what is run within to `path`, at its end, whatever ends it.

    source: as `describe_source` has it. Raises SinkError, before anything is run where that is
    known by then.
    """
    with sink_errors(path):
        make_folder(path.parent)
        check_writable(path)
    began_s = time.time()
    why_not: str | None = "interrupted"
    try:
        yield
        why_not = None
    except Exception as error:
        why_not = str(error)
        raise
    finally:
        record: Object = {
            "schema": SCHEMA,
            "complete": why_not is None,
            "why_not": why_not,
            "command": redact_text(command),
            "began_at": utc(began_s),
            "versions": versions(),
            "input": {**source, "size_px": count.size_px},
            "frames": {
                "read": count.frames,
                "looked": count.looked,
                "with_faces": count.with_faces,
                "damaged": around.damaged,
                "duration_s": _rounded(count.duration_s(source["fps"])),
            },
            "settings": _resolved(around.settings, around.models),
        }
        with sink_errors(path):
            write_atomic(path, (json.dumps(record, indent=2) + "\n").encode())


def _resolved(settings: Settings, models: Models) -> Object:
    """The settings that readings depend on, with what stood for `auto` and for what was not set."""
    detector, expression = models.detector, settings.expression
    known: Object = {
        "detector": {
            **settings.detector.model_dump(),
            "backend": detector.description,
            "model_sha256": detector.sha256,
        },
        "tracking": settings.tracking.model_dump(),
        "expression": {"enabled": False},
    }
    if models.batcher is not None:
        classifier, floor = models.batcher.classifier, expression.unknown_below
        known["expression"] = {
            **expression.model_dump(exclude=_NO_MATTER),
            "weights": classifier.name,
            "weights_sha256": record_of(locate(expression.weights)).sha256,
            "device": classifier.device,
            "engine": classifier.engine,
            "unknown_below": classifier.unknown_below if floor is None else floor,
        }
    return known


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None  # The run will meet it too, and tell.


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)
