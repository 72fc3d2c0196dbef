"""A stream's pictures pushed to a server: by RTSP, RTMP, or SRT where libav has it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import IO

import av

from daemon.config import settings
from daemon.errors import Reason, SinkError
from daemon.redact import redact_url
from daemon.sinks import publisher
from daemon.sinks.base import Output, Takes
from daemon.sinks.encoder import Encoder
from daemon.sinks.fragments import MediaClock
from daemon.sinks.reference import TIME_BASE
from daemon.sources.network import tls_options
from daemon.url import split_url

KEY_S = 1.0  # a reader that joins waits at most so long for its first picture
_LEAVE_S = 3.0
_FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "srt": "mpegts"}
_CLOSED = "the server closed the connection"
_MEANING = {
    "HTTPUnauthorizedError": (Reason.AUTH_FAILED, "the user or the password is wrong (401)"),
    "HTTPForbiddenError": (Reason.AUTH_FAILED, "publishing is forbidden (403)"),
    "HTTPNotFoundError": (Reason.NOT_FOUND, "the server knows no such path (404)"),
    "HTTPClientError": (Reason.CONNECT_REFUSED, "the server refused to take it (4xx)"),
    "HTTPBadRequestError": (Reason.CONNECT_REFUSED, "the server refused to take it (400)"),
    "HTTPServerError": (Reason.CONNECT_REFUSED, "the server failed (5xx)"),
    "ConnectionRefusedError": (Reason.CONNECT_REFUSED, "the connection was refused"),
    "ProtocolNotFoundError": (Reason.UNSUPPORTED, "PyAV was built without this protocol"),
    "TimeoutError": (Reason.TIMEOUT, "no answer in time"),
    "BrokenPipeError": (Reason.END_OF_STREAM, _CLOSED),
    "EOFError": (Reason.END_OF_STREAM, _CLOSED),
    "ConnectionResetError": (Reason.END_OF_STREAM, _CLOSED),
}

PushSettings = settings.RtspSink | settings.RtmpSink | settings.SrtSink


class Push:
    """Publishes pictures to the server that `config` names, with a key picture every `KEY_S`.

    Its time starts at the first picture and keeps every distance between two. A new size or pixel
    format publishes anew, since most readers cannot follow one. `live` as in Encoder; `told` hears
    which encoder is in use.
    """

    takes: Takes = "pictures"

    def __init__(
        self, config: PushSettings, *, live: bool, told: Callable[[str], None] = lambda name: None
    ) -> None:
        self.kind: str = config.kind
        self._config = config
        self._live = live
        self._told = told
        self._clock = MediaClock()
        self._key_pts: int | None = None
        self._encoder: Encoder | None = None
        self._publication: _Publication | None = None

    def write(self, output: Output) -> bool:
        image = output.frame.image
        if self._encoder is not None and not self._encoder.fits(image):
            self.close()
        try:
            if self._encoder is None:
                self._encoder = Encoder(image, self._config, live=self._live)
                self._clock, self._key_pts = MediaClock(), None
                self._told(self._encoder.name)
            self._publish(self._encode(self._encoder, output), image)
        except av.FFmpegError as error:
            self._drop()
            why = error.strerror or type(error).__name__
            raise SinkError(Reason.ENCODE_ERROR, f"{self.kind} sink: {why}") from error
        except SinkError:
            self._drop()
            raise
        return True

    def close(self) -> None:
        encoder, publication = self._encoder, self._publication
        self._encoder = self._publication = None
        if publication is None:
            return
        with suppress(av.FFmpegError):  # of what is left at the end nobody misses a picture
            publication.write(encoder.finish() if encoder else ())
        publication.close()

    def _encode(self, encoder: Encoder, output: Output) -> list[av.Packet]:
        pts = self._clock.ticks(output.frame)
        key = self._key_pts is None or pts - self._key_pts >= KEY_S / TIME_BASE
        if key:
            self._key_pts = pts
        return encoder.encode(output.frame.image, pts, key=key)

    def _publish(self, packets: Sequence[av.Packet], image: av.VideoFrame) -> None:
        if not packets:
            return
        if self._publication is None:
            assert self._encoder is not None
            header = self._encoder.header
            self._publication = _Publication(self._config, header, image.width, image.height)
            self._publication.write(packets)
            self._publication.wait_until_accepted()
        else:
            self._publication.write(packets)

    def _drop(self) -> None:
        publication, self._publication = self._publication, None
        self._encoder = None
        if publication is not None:
            publication.kill()


class _Publication:
    """One publisher process, and the server as it is shown to people. Raises SinkError."""

    def __init__(self, config: PushSettings, header: bytes, width: int, height: int) -> None:
        self._kind, self._timeout_s = config.kind, config.timeout_s
        self._header = header
        self._accepted = False
        self._shown, url = _addresses(config)
        # Isolated from the working directory, and without an argument that `ps` could show.
        self._process = subprocess.Popen(
            [sys.executable, "-P", publisher.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        task = publisher.Task(
            url=url,
            format=_FORMATS[config.kind],
            options=_options(config),
            width=width,
            height=height,
            timeout_s=config.timeout_s,
        )
        self._put(json.dumps(task).encode())

    def write(self, packets: Sequence[av.Packet]) -> None:
        """Send packets. Waits while the process is busy, which its alarm clock bounds."""
        for packet in packets:
            head = publisher.PACKET.pack(packet.pts, packet.dts, packet.is_keyframe)
            # With its header a key picture is all that a reader needs to begin.
            self._put(head + (self._header if packet.is_keyframe else b"") + bytes(packet))

    def wait_until_accepted(self) -> None:
        line = self._out.readline()
        if line != b"{}\n":
            raise self._fault(line)
        self._accepted = True

    def close(self) -> None:
        """End the publication, so that the server need not wait for more."""
        try:
            self._in.close()
            self._process.wait(_LEAVE_S)
        except (OSError, subprocess.TimeoutExpired):
            pass
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._in.close()
        self._out.close()

    def _put(self, data: bytes) -> None:
        try:
            self._in.write(publisher.LENGTH.pack(len(data)) + data)
            self._in.flush()
        except OSError:
            raise self._fault(self._out.readline()) from None

    def _fault(self, line: bytes) -> SinkError:
        """What ended the process, which said `line`."""
        told = json.loads(line) if line.strip() else {}
        if line.strip() and not told:  # It had been accepted just before.
            return self._fault(self._out.readline())
        code = self._process.wait()
        if code == -signal.SIGALRM:
            what = "took nothing for" if self._accepted else "no answer within"
            reason, text = Reason.TIMEOUT, f"{what} {self._timeout_s:g} s"
        elif told:
            reason, text = _MEANING.get(
                told["error"],
                (Reason.END_OF_STREAM, "the connection was lost")
                if self._accepted
                else (Reason.CONNECT_REFUSED, f"it cannot be published to ({told['why']})"),
            )
        else:
            reason, text = Reason.INTERNAL, f"the publisher ended with code {code}"
        return SinkError(reason, f"{self._kind} sink: {self._shown}: {text}")


@cache
def has_srt() -> bool:
    """Whether this PyAV was built with the protocol."""
    container = av.open("srt://127.0.0.1:9?timeout=1&connect_timeout=1", "w", format="mpegts")
    container.add_mux_stream("mpeg2video", width=16, height=16)
    try:
        container.start_encoding()
    except av.error.ProtocolNotFoundError:
        return False
    except av.FFmpegError:
        pass
    return True


def _addresses(config: PushSettings) -> tuple[str, str]:
    """How the server is shown to people, and what libav opens."""
    url = config.url.get_secret_value()
    shown = redact_url(url)
    if config.kind == "rtmp":  # The last part of its path is what lets one publish.
        shown = f"{shown.rpartition('/')[0]}/***"
    try:
        return shown, split_url(url).encoded()
    except ValueError:
        text = f"{config.kind} sink: {shown} names no host"
        raise SinkError(Reason.UNSUPPORTED, text) from None


def _options(config: PushSettings) -> dict[str, str]:
    if isinstance(config, settings.RtmpSink):
        return {"flvflags": "no_duration_filesize"}
    if isinstance(config, settings.SrtSink):
        return {}
    options = {"rtsp_transport": config.transport, "timeout": str(round(1e6 * config.timeout_s))}
    if config.url.get_secret_value().lower().startswith("rtsps:"):
        options |= tls_options(config.tls_verify)
    return options
