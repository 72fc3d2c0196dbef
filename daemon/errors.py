"""Every error that affectd names, and the closed list of reasons why a stream is down.

AffectdError
├── ConfigError            the configuration does not validate (exit code 2)
├── EnvironmentClashError  another distribution owns one of our import names, or cv2
├── EventsError            a file of readings cannot be turned into a table
├── SourceError            a source cannot be opened or read; carries a Reason
└── SinkError              a sink cannot be written; carries a Reason

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


# Of these the source is there, and gives no new pictures.
STALLS = (Reason.STALLED, Reason.FROZEN)


class AffectdError(Exception):
    """Base of all errors whose message is meant for the user."""


class ConfigError(AffectdError):
    """The configuration does not validate; the message names file, key and what is accepted."""


class EnvironmentClashError(AffectdError):
    """The Python environment holds a distribution that clashes with affectd."""


class EventsError(AffectdError):
    """A file of readings cannot be turned into a table; the message names file and line."""


class SourceError(AffectdError):
    """A source cannot be opened or read. The message holds no password."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SinkError(AffectdError):
    """A sink cannot be opened or written."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
