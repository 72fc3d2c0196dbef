"""One encoder for all sinks of a stream with the same settings: each picture is encoded once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

import av

from daemon.config.sink_settings import EncodedSinkSettings, HlsSinkSettings
from daemon.errors import Reason, SinkError
from daemon.mailbox import Mailbox
from daemon.monitoring.metrics import Metrics
from daemon.sinks.backlog import QUEUE_FRAMES
from daemon.sinks.base import Output, Packet, Takes, encode_error
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.writer import HUNG_S, Writer
from daemon.worker import Worker

log = logging.getLogger("affectd.sink")

_POLL_S = 0.5


class SharedEncoder(Worker):
    """Encodes a stream's pictures on a thread of its own, and puts the packets to `writers`, whose
    `configs` agree.

    `QUEUE_FRAMES` pictures may wait. Beyond that, live mode drops the oldest, which counts as a
    drop of every writer; otherwise `put` waits for room here, and this thread for room in the
    writers' queues. Nothing is encoded while no writer wants it: all sinks are down or unwatched.

    A fault of the encoder becomes each writer's fault: they report it, and nothing is encoded until
    they try again. On a live stream, an encoder that has not returned for `HUNG_S` is such a fault
    (its driver hangs); a file's stream stands still then, which its health loop reports.
    `on_encoder` is called with the name of each new encoder.
    """

    takes: Takes = "pictures"

    def __init__(
        self,
        configs: Sequence[EncodedSinkSettings],
        writers: Sequence[Writer[Packet]],
        stream: str,
        *,
        live: bool,
        metrics: Metrics,
        stop: threading.Event,
        on_encoder: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._title = f"encoder {stream} {' '.join(writer.label for writer in writers)}"
        super().__init__(self._title)
        self._writers = writers
        self._stop = stop
        self._on_encoder = on_encoder
        self._stream_encoder = StreamEncoder(
            configs[0],
            live=live,
            repeats=any(isinstance(config, HlsSinkSettings) for config in configs),
        )
        self._name: str | None = None
        self._pictures = Mailbox[Output](keep_all=not live, on_drop=self._missed, room=QUEUE_FRAMES)
        self._live = live
        self._busy_s: float | None = None  # Since when the encoder has been at work.
        self._encoding_s = metrics.stage_seconds.labels(stream, "encode")

    def put(self, output: Output) -> None:
        """Queue one picture, as Writer.put does; raises the writers' errors if their `retry` is
        off."""
        self._look_for_hang()
        if not self._pictures.put(output, self._stop):
            for writer in self._writers:
                writer.missed("stopping")
        for writer in self._writers:
            writer.check()

    def end(self) -> None:
        """Ask the thread to encode what is queued, and end; the writers go on."""
        self._pictures.close()

    def close(self, timeout_s: float) -> bool:
        """As `end`, and wait for it. False if time ran out."""
        self.end()
        if not self.join(timeout_s):
            log.warning("%s did not end in %g s", self._title, timeout_s)
            return False
        return True

    def run(self) -> None:
        while not self._pictures.ended:
            output = self._pictures.get(_POLL_S)
            if output is None:
                continue
            if any(writer.wants for writer in self._writers):
                self._hand_on(output)
            else:
                self._hand_on(None)
                self._missed()
        self._hand_on(None)

    def _hand_on(self, output: Output | None) -> None:
        """Encode a picture, or finish if there is none, and give the packets to the writers."""
        self._busy_s = time.monotonic()
        try:
            packets = self._stream_encoder.finish() if output is None else self._encode(output)
        except Exception as error:  # noqa: BLE001  # The writers report it, wait, and try again.
            self._missed()
            for writer in self._writers:
                writer.fail(
                    encode_error(f"{writer.label} sink", error)
                    if isinstance(error, av.FFmpegError)
                    else error
                )
            return
        finally:
            self._busy_s = None
        for packet in packets:
            for writer in self._writers:
                writer.offer(packet)

    def _encode(self, output: Output) -> list[Packet]:
        began_s = time.perf_counter()
        packets = self._stream_encoder.encode(output)
        if not output.slate:
            self._encoding_s.observe(time.perf_counter() - began_s)
        encoder = self._stream_encoder.encoder
        if encoder is not None and encoder.name != self._name:
            self._name = encoder.name
            self._on_encoder(encoder.name)
        return packets

    def _look_for_hang(self) -> None:
        since_s = self._busy_s
        if self._live and since_s is not None and time.monotonic() - since_s > HUNG_S:
            for writer in self._writers:
                what = f"its encoder has not come back for {HUNG_S:g} s: a driver that fails?"
                writer.fail(SinkError(Reason.TIMEOUT, f"{writer.label} sink: {what}"))

    def _missed(self) -> None:
        for writer in self._writers:
            writer.missed()
