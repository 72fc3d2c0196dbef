"""A stream's pictures pushed to a server: by RTSP, RTMP, or SRT where libav has it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from typing import IO

import av

from daemon.config.sink_settings import PushSinkSettings, RtmpSinkSettings, RtspSinkSettings
from daemon.errors import Reason, SinkError
from daemon.redact import redact_url
from daemon.remote import network_fault, tls_options
from daemon.sinks import publisher
from daemon.sinks.base import Packet, Takes
from daemon.url import scheme_of, split_url

_LEAVE_S = 3.0
_RTMP_LASTS_S = 20 * 86400.0  # RTMP's timestamps have 31 bits of milliseconds: 24.8 days
_FORMATS = {"rtsp": "rtsp", "rtmp": "flv", "srt": "mpegts"}
_CLOSED = "the server closed the connection"
_MEANING: tuple[tuple[type[Exception], Reason, str], ...] = (
    (av.error.HTTPUnauthorizedError, Reason.AUTH_FAILED, "the user or the password is wrong (401)"),
    (av.error.HTTPForbiddenError, Reason.AUTH_FAILED, "publishing is forbidden (403)"),
    (av.error.HTTPNotFoundError, Reason.NOT_FOUND, "the server knows no such path (404)"),
    (av.error.HTTPClientError, Reason.CONNECT_REFUSED, "the server refused to take it (4xx)"),
    (av.error.HTTPServerError, Reason.CONNECT_REFUSED, "the server failed (5xx)"),
    (av.error.ConnectionRefusedError, Reason.CONNECT_REFUSED, "the connection was refused"),
    (av.error.ProtocolNotFoundError, Reason.UNSUPPORTED, "PyAV was built without this protocol"),
    (av.error.TimeoutError, Reason.TIMEOUT, "no answer in time"),
    (av.error.BrokenPipeError, Reason.END_OF_STREAM, _CLOSED),
    (av.error.EOFError, Reason.END_OF_STREAM, _CLOSED),
    (av.error.ConnectionResetError, Reason.END_OF_STREAM, _CLOSED),
)


class Push:
    """Publishes pictures to the server that `config` names.

    Timestamps start at the first picture and keep the distances between pictures. With a new
    encoder (for a new size or pixel format) the publication is ended and a new one begun, since
    most readers cannot follow such a change.
    """

    takes: Takes = "packets"
    wanted = True

    def __init__(self, config: PushSinkSettings) -> None:
        self._config = config
        self._publication: _Publication | None = None

    def write(self, packet: Packet) -> bool:
        if self._publication is not None and not self._publication.continues(packet):
            self.close()
        try:
            if self._publication is None:
                self._publication = _Publication(self._config, packet)
                self._publication.begin()
            else:
                self._publication.write(packet)
        except SinkError:
            publication, self._publication = self._publication, None
            if publication is not None:
                publication.kill()
            raise
        return True

    def close(self) -> None:
        publication, self._publication = self._publication, None
        if publication is not None:
            publication.close()


class _Publication:
    """One publisher process, and the server's URL without its password. Raises SinkError."""

    def __init__(self, config: PushSinkSettings, first: Packet) -> None:
        self._config = config
        self._first = first
        self._accepted = False
        self._shown, self._url = _addresses(config)
        # -P: no module of this folder hides another. The URL is no argument, as `ps` shows those.
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

    def begin(self) -> None:
        """Send the first picture, and wait until the server has accepted it."""
        codec = self._first.encoder.template.codec_context
        task = publisher.PublishTask(
            url=self._url,
            format=_FORMATS[self._config.kind],
            options=_options(self._config),
            width=codec.width,
            height=codec.height,
            timeout_s=self._config.timeout_s,
        )
        self._put(json.dumps(task).encode())
        self.write(self._first)
        line = self._out.readline()
        if line != b"{}\n":
            raise self._fault(line)
        self._accepted = True

    def continues(self, packet: Packet) -> bool:
        lasted_s = (packet.pts - self._first.pts) * publisher.TIME_BASE
        is_over = self._config.kind == "rtmp" and packet.is_keyframe and lasted_s > _RTMP_LASTS_S
        return packet.encoder is self._first.encoder and not is_over

    def write(self, packet: Packet) -> None:
        """Send a packet. Waits while the process is busy, which its timer limits."""
        start = self._first.pts
        head = publisher.PACKET.pack(packet.pts - start, packet.dts - start, packet.is_keyframe)
        # With its header a keyframe is all that a reader needs to begin.
        self._put(head + (packet.encoder.header if packet.is_keyframe else b"") + packet.data)

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
        """The error that ended the process, whose last output was `line`."""
        told = json.loads(line) if line.strip() else {}
        if line.strip() and not told:  # `{}`: the server had accepted just before; read on.
            return self._fault(self._out.readline())
        code = self._process.wait()
        if code == -signal.SIGALRM:
            what = "took nothing for" if self._accepted else "no answer within"
            reason, text = Reason.TIMEOUT, f"{what} {self._config.timeout_s:g} s"
        elif told:
            reason, text = _meaning(**told, url=self._url, accepted=self._accepted)
        else:
            reason, text = Reason.INTERNAL, f"the publisher ended with code {code}"
        return SinkError(reason, f"{self._config.kind} sink: {self._shown}: {text}")


def _meaning(error: str, why: str, *, url: str, accepted: bool) -> tuple[Reason, str]:
    """Reason and text for libav's error that ended a publication; `error` is its class, `why` its
    message."""
    kind = getattr(av.error, error, av.FFmpegError)
    for known, reason, text in _MEANING:
        if issubclass(kind, known):
            return reason, text
    if accepted:
        return Reason.END_OF_STREAM, "the connection was lost"
    if kind is av.error.OSError and not url.startswith("srt:"):  # SRT's port is not TCP
        return network_fault(url, why)
    if kind is av.error.UnknownError:  # what libav raises for RTMP's answer "error"
        why = "the server refused to take it"
    return Reason.CONNECT_REFUSED, why


@cache
def has_srt() -> bool:
    """Whether this PyAV was built with SRT."""
    container = av.open("srt://127.0.0.1:9?timeout=1&connect_timeout=1", "w", format="mpegts")
    container.add_mux_stream("mpeg2video", width=16, height=16)
    try:
        container.start_encoding()
    except av.error.ProtocolNotFoundError:
        return False
    except av.FFmpegError:
        pass
    return True


def _addresses(config: PushSinkSettings) -> tuple[str, str]:
    """How the server is shown to people, and what libav opens."""
    url = config.url.get_secret_value()
    shown = redact_url(url)
    try:
        return shown, split_url(url).encoded()
    except ValueError:
        text = f"{config.kind} sink: {shown} names no host"
        raise SinkError(Reason.UNSUPPORTED, text) from None


def _options(config: PushSinkSettings) -> dict[str, str]:
    match config:
        case RtspSinkSettings():
            timeout_us = str(round(1e6 * config.timeout_s))
            options = {"rtsp_transport": config.transport, "timeout": timeout_us}
        case RtmpSinkSettings():
            options = {"flvflags": "no_duration_filesize"}
        case _:
            return {}
    if scheme_of(config.url.get_secret_value()) in ("rtsps", "rtmps"):
        options |= tls_options(config.tls_verify)
    return options
