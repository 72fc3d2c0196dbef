"""A running web server on a free port, fed by real threads as streams would feed it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import httpx
import numpy as np
from prometheus_client import CollectorRegistry

from daemon.config.settings import COLOURS, DaemonSettings
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, Row
from daemon.reading import FaceView, Quality, Reading
from daemon.sinks.feed import Feed, JpegFeed
from daemon.sinks.shown import Shown
from daemon.web.app import MAX_READERS, make_site
from daemon.web.server import READER_TIMEOUT_S, WebServer

LABELS = [label for label in COLOURS if label != "unknown"]
HAPPY = {label: 0.88 if label == "happy" else 0.02 for label in LABELS}
BOX_PX = (60, 40, 80, 80)
FRAME_PX = (320, 180)


def picture(number: int, noise: int = 0) -> bytes:
    """A JPEG whose grey level is `number` modulo 200; `noise` (0..55) makes it large."""
    random = np.random.default_rng(number).integers(0, noise + 1, (180, 320), np.uint8)
    image = np.full((180, 320), number % 200, np.uint8) + random
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def reading(stream: str, seq: int) -> Reading:
    quality = Quality(80, 0.1, None, 0.9)
    return Reading(
        stream=stream,
        seq=seq,
        media_time_s=seq / 25,
        captured_s=1.7e9,
        track=1,
        tracked_since_s=1.7e9,
        box_px=BOX_PX,
        frame_px=FRAME_PX,
        label="happy",
        probabilities=HAPPY,
        quality=quality,
        crops=10,
        weights="test",
        engine="torch float32",
        detector="haar",
        age_ms=9.0,
    )


def happy_face(track: int = 1) -> FaceView:
    return FaceView(track, BOX_PX, "happy", HAPPY, 0.05)


class House:
    """Everything that the web server reads, and the server."""

    def __init__(
        self,
        streams: Sequence[str],
        settings: DaemonSettings | None = None,
        port: int = 0,
        max_readers: int = MAX_READERS,
        reader_timeout_s: float = READER_TIMEOUT_S,
    ) -> None:
        settings = settings or DaemonSettings()
        self.board = Board(time.time)
        self.health = Health(time.monotonic)
        self.metrics = Metrics(CollectorRegistry())
        self.readings: Feed[Reading] = Feed(256)
        self.shown = Shown()
        self.feeds, self.playlists = self.shown.jpegs, self.shown.playlists
        self.rows: dict[str, Row] = {}
        for name in streams:
            self.feeds[name] = JpegFeed()
            self.rows[name] = self.board.add(name, ["mjpeg", "events"])
            self.metrics.add_stream(name, ["mjpeg", "events"])
        self.site = make_site(
            self.board,
            self.metrics,
            self.health,
            self.shown,
            self.readings,
            settings,
            "1.2.3",
            max_readers=max_readers,
        )
        self.web = WebServer(self.site, settings.host, port, reader_timeout_s)
        self.published_bytes = 0
        self._stopping = threading.Event()
        self._publishers: list[threading.Thread] = []

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.web.url, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]

    def publish(self, stream: str, interval_s: float = 0.02, noise: int = 0) -> None:
        """Go live with a picture, a face and a reading every `interval_s`, from a thread."""
        thread = threading.Thread(
            target=self._publish, args=(stream, interval_s, noise), name=f"publish {stream}"
        )
        self._publishers.append(thread)
        thread.start()

    def _publish(self, stream: str, interval_s: float, noise: int) -> None:
        jpegs = [picture(number, noise) for number in range(20)]
        seq = 0
        self.rows[stream].set_state("live")
        while not self._stopping.wait(interval_s):
            self.feeds[stream].publish(jpegs[seq % len(jpegs)])
            self.published_bytes += len(jpegs[seq % len(jpegs)])
            self.readings.publish(reading(stream, seq))
            self.metrics.frames.labels(stream).inc()
            seq += 1
            self.rows[stream].saw(1 / interval_s, [happy_face()])

    def stop_publishing(self) -> None:
        self._stopping.set()
        for thread in self._publishers:
            thread.join(60)
        self._publishers.clear()
        self._stopping.clear()


@contextmanager
def serving(
    *streams: str,
    settings: DaemonSettings | None = None,
    port: int = 0,
    max_readers: int = MAX_READERS,
    reader_timeout_s: float = READER_TIMEOUT_S,
) -> Iterator[House]:
    house = House(streams, settings, port, max_readers, reader_timeout_s)
    house.web.start()
    try:
        yield house
    finally:
        house.stop_publishing()
        assert house.web.stop(60)


def stalled_reader(house: House, path: str) -> socket.socket:
    """A connection that asks for `path` and then takes almost nothing."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", house.web.port))
    reader.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert reader.recv(12) == b"HTTP/1.1 200"
    return reader
