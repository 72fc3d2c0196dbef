"""What libav's errors mean to a user: a Reason and a sentence, never a password."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping

import av

from daemon.errors import Reason, SourceError, plain
from daemon.remote import PROBE_S, network_fault
from daemon.url import is_url, split_url

_LOOKS = 4
_PUT_AWAY_S = 0.25
_NO_VIDEO_FILE = "is no video that libav can read, or its beginning or its index is cut off"
_MEANING: tuple[tuple[type[Exception], Reason, str], ...] = (
    (av.error.ConnectionRefusedError, Reason.CONNECT_REFUSED, "the connection was refused"),
    (av.error.HTTPUnauthorizedError, Reason.AUTH_FAILED, "the user or the password is wrong (401)"),
    (av.error.HTTPForbiddenError, Reason.AUTH_FAILED, "access is forbidden (403)"),
    (av.error.PermissionError, Reason.AUTH_FAILED, "permission is denied"),
    (av.error.HTTPNotFoundError, Reason.NOT_FOUND, "the server knows no such path (404)"),
    (av.error.FileNotFoundError, Reason.NOT_FOUND, "there is no such file"),
    (av.error.IsADirectoryError, Reason.UNSUPPORTED, "is a folder; accepted is a video file"),
    (av.error.HTTPServerError, Reason.CONNECT_REFUSED, "the server failed (5xx)"),
    (av.error.HTTPClientError, Reason.CONNECT_REFUSED, "the server refused the request (4xx)"),
    (av.error.ProtocolNotFoundError, Reason.UNSUPPORTED, "libav cannot read this kind of URL"),
    (av.error.DecoderNotFoundError, Reason.UNSUPPORTED, "libav cannot decode this video"),
    (av.error.EOFError, Reason.END_OF_STREAM, "the other side closed the connection"),
    (av.error.ConnectionResetError, Reason.END_OF_STREAM, "the connection was lost"),
    (av.error.ConnectionAbortedError, Reason.END_OF_STREAM, "the connection was lost"),
    (av.error.BrokenPipeError, Reason.END_OF_STREAM, "the connection was lost"),
)
# What libav raises for an RTSP connection that ends in mid-answer, and for malformed answers.
_BROKEN_OFF = (av.error.InvalidDataError, av.error.PermissionError)
# Errnos that a failing CUDA or VAAPI device raises too, and the reasons that `open_fault` derives.
_SAID_OF_A_CARD: Mapping[int | None, tuple[Reason, ...]] = {
    errno.EPERM: (Reason.AUTH_FAILED, Reason.END_OF_STREAM),
    errno.EIO: (Reason.CONNECT_REFUSED, Reason.TLS),
}
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def open_fault(
    shown: str,
    target: str,
    options: Mapping[str, str],
    error: Exception,
    waited_s: float,
    limit_s: float,
    wait: Callable[[float], bool],
) -> SourceError:
    """The fault behind `error`, which libav raised while opening `target` with `options`.

    `shown` names the source without its password. `waited_s` is how long opening took, `limit_s`
    the time-out: RTSP reports a silent server as bad data, after exactly that time. `wait` is the
    stop event's `wait`: where it returns True, the source is not opened again to find out more.
    """
    if isinstance(error, av.error.TimeoutError | av.error.ExitError) or (
        is_url(target) and is_timed_out(waited_s, limit_s)
    ):
        return SourceError(Reason.TIMEOUT, f"{shown}: no answer within {limit_s:g} s")
    if isinstance(error, av.error.HTTPOtherClientError) and _has_no_video(
        target, options, limit_s, wait
    ):
        return SourceError(Reason.NO_VIDEO, f"{shown}: has no video track")
    if target.startswith("rtsp:") and isinstance(error, _BROKEN_OFF):
        if _hangs_up(target):
            return SourceError(
                Reason.CONNECT_REFUSED, f"{shown}: the other side accepts and hangs up"
            )
        if not _breaks_off(target, limit_s):
            return SourceError(Reason.END_OF_STREAM, f"{shown}: the connection was lost")
    known = _known(shown, error)
    if known is not None:
        return known
    if isinstance(error, av.error.InvalidDataError):
        what = "what the server sends is no video" if is_url(target) else _NO_VIDEO_FILE
        return SourceError(Reason.UNSUPPORTED, f"{shown}: {what}")
    if target.startswith("rtsp:") and getattr(error, "errno", None) == errno.EPROTONOSUPPORT:
        asked, other = ("UDP", "tcp") if options.get("rtsp_transport") == "udp" else ("TCP", "udp")
        return SourceError(
            Reason.UNSUPPORTED,
            f'{shown}: the server does not send over {asked}; accepted is transport = "{other}"',
        )
    if is_url(target) and isinstance(error, OSError):
        why = "the server refuses to play it" if target.startswith("rtmp") else plain(error)
        reason, what = network_fault(target, why)
        return SourceError(reason, f"{shown}: {what}")
    return SourceError(Reason.UNSUPPORTED, f"{shown}: {plain(error)}")


def may_be_card(error: Exception, fault: SourceError) -> bool:
    """Whether `error` may come from the graphics card, which libav opens together with the source,
    and not from the source. `fault` is what `open_fault` made of `error`."""
    said = _SAID_OF_A_CARD.get(getattr(error, "errno", None), ())
    return fault.reason is Reason.UNSUPPORTED or fault.reason in said


def read_fault(shown: str, error: Exception, limit_s: float) -> SourceError:
    """The fault behind `error`, which libav raised while reading an open source."""
    if isinstance(error, av.error.TimeoutError | av.error.ExitError):
        return silence(shown, limit_s)
    known = _known(shown, error)
    if known is not None:
        return known
    if isinstance(error, OSError):
        return SourceError(Reason.END_OF_STREAM, f"{shown}: the connection was lost")
    return SourceError(Reason.DECODE_ERROR, f"{shown}: {plain(error)}")


def is_timed_out(waited_s: float, limit_s: float) -> bool:
    """Whether libav's own time-out ended a wait; not compared exactly, as its clock is not ours."""
    return waited_s >= 0.95 * limit_s


def silence(shown: str, limit_s: float) -> SourceError:
    """The fault of an open source from which nothing came for `limit_s`."""
    return SourceError(Reason.STALLED, f"{shown}: nothing came for {limit_s:g} s")


def _known(shown: str, error: Exception) -> SourceError | None:
    for kind, reason, sentence in _MEANING:
        if isinstance(error, kind):
            return SourceError(reason, f"{shown}: {sentence}")
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return SourceError(Reason.CONNECT_REFUSED, f"{shown}: the host cannot be reached")
    return None


def _has_no_video(
    target: str, options: Mapping[str, str], limit_s: float, wait: Callable[[float], bool]
) -> bool:
    """Whether an RTSP server has no video track. Asked for video alone, such a server refuses to
    play; so ask it again for all that it has."""
    asked = {**options, "rtsp_transport": "tcp"}
    asked.pop("allowed_media_types", None)
    for _ in range(_LOOKS):
        try:
            with av.open(target, timeout=limit_s, options=asked) as container:
                return not container.streams.video
        except av.error.HTTPServerError:
            if wait(_PUT_AWAY_S):  # The server is still closing the refused session.
                return False
        except av.error.FFmpegError:
            return False
    return False


def _breaks_off(target: str, limit_s: float) -> bool:
    """Whether opening fails in the same way again; if the server died in mid-answer it does not."""
    try:
        with av.open(target, timeout=limit_s, options={"rtsp_transport": "tcp"}):
            return False
    except _BROKEN_OFF:
        return True
    except av.error.FFmpegError:
        return False


def _hangs_up(target: str) -> bool:
    """Whether an RTSP server closes the connection without any answer, as a proxy or a forwarded
    port does whose camera is off. libav raises the same errors for no answer and for bad ones."""
    try:
        with socket.create_connection(split_url(target).endpoint, timeout=PROBE_S) as probe:
            probe.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            return not probe.recv(1)
    except ConnectionError:
        return True
    except OSError:
        return False
