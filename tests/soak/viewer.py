"""Those who watch all the while: an HLS player and a browser with the MJPEG, as plain HTTP."""

from __future__ import annotations

import io
import re
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import av
import httpx

POLL_S = 1.0
_SEGMENT = re.compile(r"^(\d+)\.m4s$")
_HEADER = re.compile(r'^#EXT-X-MAP:URI="(.+)"$')


@dataclass
class Seen:
    """What one viewer got. `longest_wait_s` is between two of its pictures or segments, `faults`
    what a player would have stumbled over."""

    name: str
    pictures: int = 0
    longest_wait_s: float = 0.0
    faults: list[str] = field(default_factory=list)
    _last_s: float | None = None

    def got(self, pictures: int, now_s: float) -> None:
        if self._last_s is not None:
            self.longest_wait_s = max(self.longest_wait_s, now_s - self._last_s)
        self._last_s = now_s
        self.pictures += pictures


class Viewer(ABC):
    """Watches within a `with` block, in a thread. `seen` is complete at its end."""

    def __init__(self, url: str, name: str) -> None:
        self.seen = Seen(name)
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        # Patient on a read, since how long a viewer waited is what is measured.
        with httpx.Client(timeout=httpx.Timeout(30.0, read=60.0)) as client:
            try:
                self._watch(client)
            except (httpx.HTTPError, av.FFmpegError) as error:
                if not self._stop.is_set():
                    self.seen.faults.append(f"{type(error).__name__}: {error}")

    @abstractmethod
    def _watch(self, client: httpx.Client) -> None:
        """Until the stop event is set; what goes wrong otherwise may be raised."""

    def __enter__(self) -> Viewer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(90.0)


class HlsViewer(Viewer):
    """Asks for the playlist each second, takes each segment once, in order, and decodes it."""

    def _watch(self, client: httpx.Client) -> None:
        last = 0
        while not self._stop.wait(POLL_S):
            answer = client.get(f"{self._url}/index.m3u8")
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and not last:
                continue  # Nothing is encoded before somebody asks.
            answer.raise_for_status()
            header = ""
            for line in answer.text.splitlines():
                header = found[1] if (found := _HEADER.match(line)) else header
                if (segment := _SEGMENT.match(line)) is None or int(segment[1]) <= last:
                    continue
                if last and int(segment[1]) != last + 1:
                    self.seen.faults.append(f"{last} was followed by {segment[1]}")
                last = int(segment[1])
                media = self._file(client, header) + self._file(client, line)
                with av.open(io.BytesIO(media)) as container:
                    self.seen.got(sum(1 for _ in container.decode(video=0)), time.monotonic())

    def _file(self, client: httpx.Client, name: str) -> bytes:
        return client.get(f"{self._url}/{name}").raise_for_status().content


class MjpegViewer(Viewer):
    """Holds one connection, and counts the pictures that come by it."""

    def _watch(self, client: httpx.Client) -> None:
        with client.stream("GET", self._url) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_raw():
                # The end of a JPEG, which its data cannot hold elsewhere.
                if pictures := chunk.count(b"\xff\xd9"):
                    self.seen.got(pictures, time.monotonic())
                if self._stop.is_set():
                    return
        self.seen.faults.append("the connection ended")
