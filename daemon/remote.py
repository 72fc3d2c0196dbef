"""What network sources and push sinks share: TLS options, and the cause of failures that libav does
not tell apart."""

from __future__ import annotations

import socket
import ssl

from daemon.errors import Reason, plain
from daemon.url import split_url

PROBE_S = 2.0
_TLS = ("https", "rtsps", "rtmps")
_TLS_FAILED = (
    "TLS failed; the certificate is not trusted (tls_verify = false takes any) or no TLS is spoken"
)


def tls_options(verify: bool) -> dict[str, str]:
    """libav's options for certificates: without any it trusts every one."""
    if not verify:
        return {"tls_verify": "0"}
    trusted = ssl.get_default_verify_paths()
    return {"tls_verify": "1"} | ({"ca_file": trusted.cafile} if trusted.cafile else {})


def network_fault(url: str, why: str) -> tuple[Reason, str]:
    """Find the cause of libav's EIO, whose message is `why`; returns it with a message. libav does
    not tell an unknown host from a failed TLS handshake, so this connects to the server of `url`.
    """
    parts = split_url(url)
    try:
        socket.create_connection(parts.endpoint, timeout=PROBE_S).close()
    except socket.gaierror:
        return Reason.NOT_FOUND, f"the host name {parts.host} is not known"
    except TimeoutError:
        return Reason.TIMEOUT, f"{parts.host} does not answer"
    except OSError as refused:
        return Reason.CONNECT_REFUSED, plain(refused)
    if parts.scheme in _TLS:
        return Reason.TLS, _TLS_FAILED
    return Reason.CONNECT_REFUSED, why
