"""`affectd check --connect`: every source opened once, for one picture."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from queue import SimpleQueue

from rich.console import Console

from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.service import signals
from daemon.sources.open import is_pipe, open_source
from daemon.url import local_path


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source says of itself, and the size of a picture that was decoded and turned as its
    stream is to be."""

    codec: str | None
    width_px: int
    height_px: int
    fps: float | None

    def __str__(self) -> str:
        kind = f"{self.codec} " if self.codec else ""
        rate = f", {self.fps:.4g} fps" if self.fps else ""
        return f"{kind}{self.width_px}x{self.height_px}{rate}"


def connect(
    streams: Sequence[StreamSettings], redact: Callable[[str], str], console: Console
) -> dict[str, Seen]:
    """Open the sources of all streams at once, as the daemon would, and print a line of each as
    soon as it gave a picture or failed; returns what was seen, by stream.

    Ctrl-C and signals that raise SystemExit end the process: libav waits for its time-outs.
    """
    answers: SimpleQueue[tuple[str, Seen | str]] = SimpleQueue()  # at most one a stream
    stop = threading.Event()

    def ask(stream: StreamSettings) -> None:
        answers.put((stream.name, _look(stream, stop)))

    threads = [
        threading.Thread(target=ask, args=(stream,), name=f"connect {stream.name}", daemon=True)
        for stream in streams
    ]
    seen = {}
    try:
        for thread in threads:
            thread.start()
        for _ in streams:
            name, answer = answers.get()
            if isinstance(answer, Seen):
                seen[name] = answer
                console.print(f"{name}: {answer}")
            else:
                console.print(redact(f"{name}: unreachable {answer}"))
        return seen
    except (KeyboardInterrupt, SystemExit) as end:
        # Python's own end may crash where threads are within libav.
        os._exit(getattr(end, "code", signals.INTERRUPTED))
    finally:
        stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join()


def _look(stream: StreamSettings, stop: threading.Event) -> Seen | str:
    """What the stream's source shows, or why it shows nothing, in the words of the log."""
    try:
        return _first_picture(stream, stop)
    except SourceError as error:
        return f"({error.reason}): {error}"
    except Exception as error:  # noqa: BLE001 - told by the thread that waits for it
        return f"({Reason.INTERNAL}): {type(error).__name__}: {error}"


def _first_picture(stream: StreamSettings, stop: threading.Event) -> Seen:
    path = local_path(stream.url.get_secret_value())
    if is_pipe(path):
        raise SourceError(
            Reason.UNSUPPORTED, f"{path}: is a pipe; what is read of it here would be missing later"
        )
    with closing(open_source(stream, stop=stop)) as source:
        frame = next(source.frames(), None)
        if frame is None:
            raise SourceError(Reason.END_OF_STREAM, "the source ended")
        return Seen(source.codec, frame.image.width, frame.image.height, source.fps)
