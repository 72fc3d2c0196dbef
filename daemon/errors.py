"""Every error that affectd names, and the closed list of reasons why a stream is down.

AffectdError
├── ConfigError            the configuration does not validate (exit code 2)
│   └── UnusableError      it names what this machine does not have, or not yet
├── EnvironmentClashError  another distribution owns one of our import names, or cv2
├── EventsError            a file of readings cannot be turned into a table
└── DownError              a stream or a sink is down; carries a Reason
    ├── SourceError        a source cannot be opened or read
    └── SinkError          a sink cannot be opened or written

Detectors and classifiers have trees of their own (`detectors/errors.py`,
`classifiers/errors.py`), since they do not import the daemon.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a stream or a sink is down: label values of metrics, so the list is closed."""

    CONNECT_REFUSED = "connect_refused"
    AUTH_FAILED = "auth_failed"
    NOT_FOUND = "not_found"
    TLS = "tls"
    TIMEOUT = "timeout"
    STALLED = "stalled"
    FROZEN = "frozen"
    NO_VIDEO = "no_video"
    UNSUPPORTED = "unsupported"
    DECODE_ERROR = "decode_error"
    END_OF_STREAM = "end_of_stream"
    NOT_WRITABLE = "not_writable"
    DISK_FULL = "disk_full"
    ENCODE_ERROR = "encode_error"
    INTERNAL = "internal"


# With these the source is there but gives no new pictures.
STALLS = (Reason.STALLED, Reason.FROZEN)

# With these a command ends with exit code 2: its user has to name something else.
WRONG = (
    Reason.NOT_FOUND,
    Reason.AUTH_FAILED,
    Reason.NO_VIDEO,
    Reason.UNSUPPORTED,
    Reason.NOT_WRITABLE,
)

# Why streams and each kind of sink can fail: their counters exist from the start, at zero.
STREAM_REASONS = (
    Reason.CONNECT_REFUSED,
    Reason.AUTH_FAILED,
    Reason.NOT_FOUND,
    Reason.TLS,
    Reason.TIMEOUT,
    Reason.STALLED,
    Reason.FROZEN,
    Reason.NO_VIDEO,
    Reason.UNSUPPORTED,
    Reason.DECODE_ERROR,
    Reason.END_OF_STREAM,
    Reason.INTERNAL,
)
_ANY_SINK = (Reason.TIMEOUT, Reason.INTERNAL)
_FILE = (Reason.NOT_WRITABLE, Reason.DISK_FULL, *_ANY_SINK)
_PICTURES = (Reason.ENCODE_ERROR, *_ANY_SINK)
_PUSH = (
    Reason.CONNECT_REFUSED,
    Reason.AUTH_FAILED,
    Reason.NOT_FOUND,
    Reason.TLS,
    Reason.UNSUPPORTED,
    Reason.END_OF_STREAM,
    *_PICTURES,
)
SINK_REASONS = {
    "events": _FILE,
    "mqtt": (
        Reason.CONNECT_REFUSED,
        Reason.AUTH_FAILED,
        Reason.NOT_FOUND,
        Reason.TLS,
        Reason.END_OF_STREAM,
        *_ANY_SINK,
    ),
    "mp4": (Reason.ENCODE_ERROR, *_FILE),
    "mjpeg": _PICTURES,
    "hls": _PICTURES,
    "rtsp": _PUSH,
    "rtmp": _PUSH,
    "srt": _PUSH,
}


class AffectdError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(AffectdError):
    """The configuration does not validate; the message names file, key and what is accepted."""


class UnusableError(ConfigError):
    """The configuration names what this machine does not have. `affectd run` ends with exit code 1
    for it, so that systemd tries again: drivers and disks may come late."""


class EnvironmentClashError(AffectdError):
    """The Python environment holds a distribution that clashes with affectd."""


class EventsError(AffectdError):
    """A file of readings cannot be turned into a table; the message names file and line."""


class DownError(AffectdError):
    """Why a stream or a sink is down. The message holds no password."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceError(DownError):
    """A source cannot be opened or read."""


class SinkError(DownError):
    """A sink cannot be opened or written."""


def plain(error: Exception) -> str:
    """The message of the system or of libav, without the URL that libav appends; else the type."""
    return getattr(error, "strerror", None) or type(error).__name__
