"""A stream's sinks as a pipeline puts them together, with pictures that a test gives."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from prometheus_client import CollectorRegistry

from daemon.config.sink_settings import SinkSettings
from daemon.monitoring.metrics import Metrics
from daemon.sinks.base import Output, Packet, Sink
from daemon.sinks.encode.shared import SharedEncoder
from daemon.sinks.make import group_by_encoding, make_sink, sink_labels
from daemon.sinks.playlist import Playlist
from daemon.sinks.shown import Shown
from daemon.sinks.writer import Writer
from tests.daemon.streams import value


class Sharing:
    """The sinks of `configs`, and `more` that share the first one's encoder. `hung_s` by label;
    the others have time, so that a busy machine does not pass for a disk that hangs."""

    def __init__(
        self,
        configs: Sequence[SinkSettings],
        more: Sequence[Sink[Packet]] = (),
        *,
        live: bool = True,
        retry: bool = True,
        hung_s: Mapping[str, float] | None = None,
    ) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.stop = threading.Event()
        self.playlist, shown = Playlist(), Shown()
        shown.playlists["lobby"] = self.playlist
        self.encoder_names: list[str] = []
        labels = sink_labels(configs)
        sinks = [make_sink(c, "lobby", shown) for c in configs]
        labels += ["gated" for _ in more]
        self.writers: list[Writer[Any]] = [
            Writer(
                sink,
                "lobby",
                label,
                keep_all=not live,
                metrics=self.metrics,
                stop=self.stop,
                retry=retry,
                first_delay_s=0.1,
                hung_s=(hung_s or {}).get(label, 60.0),
            )
            for sink, label in zip([*sinks, *more], labels, strict=True)
        ]
        self.encoders: list[SharedEncoder] = []
        for group in group_by_encoding(configs):
            writers = [self.writers[at] for at in group]
            if not self.encoders:
                writers += self.writers[len(configs) :]
            self.encoders.append(
                SharedEncoder(
                    list(group.values()),
                    writers,
                    "lobby",
                    live=live,
                    metrics=self.metrics,
                    stop=self.stop,
                    on_encoder=self.encoder_names.append,
                )
            )

    def put(self, output: Output) -> None:
        for encoder in self.encoders:
            encoder.put(output)

    def value(self, name: str, **labels: str) -> float:
        return value(self.metrics.registry, f"affectd_{name}", stream="lobby", **labels)

    def is_up(self, sink: str) -> bool:
        return self.value("sink_up", sink=sink) == 1.0

    def encoded(self) -> float:
        """How many pictures went through an encoder."""
        return self.value("stage_seconds_count", stage="encode")

    def lost(self, sink: str) -> float:
        return sum(
            self.value("frames_dropped_total", stage=f"sink_{sink}", reason=reason)
            for reason in ("slow", "down", "stopping")
        )

    @property
    def parts(self) -> list[SharedEncoder | Writer[Any]]:
        return [*self.encoders, *self.writers]


@contextmanager
def sharing(*args: Any, **options: Any) -> Iterator[Sharing]:
    made = Sharing(*args, **options)
    for part in made.parts:
        part.start()
    try:
        yield made
    finally:
        for part in made.parts:
            assert part.close(60.0)


@contextmanager
def fed(made: Sharing, output: Callable[[int], Output], *, every_s: float = 0.04) -> Iterator[None]:
    """Gives `output(0)`, `output(1)`, … until the block ends."""
    over = threading.Event()

    def feed() -> None:
        seq = 0
        while not over.wait(every_s):
            made.put(output(seq))
            seq += 1

    thread = threading.Thread(target=feed, name="feed")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def pixels(image: av.VideoFrame) -> bytes:
    return bytes(image.to_ndarray().tobytes())


def decoded(file: Path | bytes) -> list[bytes]:
    """The pixels of each picture, which differ where two encoders made them."""
    source = io.BytesIO(file) if isinstance(file, bytes) else str(file)
    with av.open(source) as container:
        return [pixels(image) for image in container.decode(video=0)]
