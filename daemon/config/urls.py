"""What URLs and hosts in affectd.toml must be."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from daemon.config.paths import names_file
from daemon.url import is_address, local_path, scheme_of, split_url, webcam_path

NETWORK = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https")
SOURCES = (*NETWORK, "v4l2", "demo", "file")


def with_scheme(url: SecretStr, *accepted: str) -> SecretStr:
    scheme, separator, _ = url.get_secret_value().partition("://")
    if not (separator and scheme.lower() in accepted):
        schemes = " or ".join(f"{scheme}://" for scheme in accepted)
        raise ValueError(f"accepted is a URL that begins with {schemes}")
    check_host(url.get_secret_value(), scheme)
    return url


def check_source(url: str) -> None:
    """Raise ValueError for what can be neither a file, a device nor a URL. The message does not
    show it, since it may hold a password."""
    bare = url.strip()
    if not bare:
        raise ValueError("is empty; accepted are a file, /dev/videoN or a URL")
    if not url.startswith(bare) or (url != bare and scheme_of(bare)):
        raise ValueError(
            "begins or ends with a blank; accepted is the same without, or ./NAME for a file"
        )
    scheme = scheme_of(url)
    if scheme and scheme not in SOURCES:
        raise ValueError(f"scheme {scheme}:// is unknown; accepted: {', '.join(SOURCES)}")
    if network := re.match(r"(rtsps?|rtmps?|https?)(?::|;?//|;/)", url, re.IGNORECASE):
        check_host(url, network[1])
    elif scheme == "v4l2":
        device = webcam_path(url) or ""
        if not (device.startswith("/") and names_file(device)):
            raise ValueError("names no device; accepted is v4l2:///dev/videoN")
    elif scheme == "" and is_address(url):
        raise ValueError(
            "is a URL without its scheme and //; accepted are SCHEME://HOST/PATH, file:///PATH, "
            "v4l2:///dev/videoN and, for a file of that name, ./NAME"
        )
    elif webcam := re.fullmatch(r"(?:dev/)?(video\d+)", url):
        raise ValueError(f"did you mean /dev/{webcam[1]}? Accepted for a file is ./{webcam[0]}")
    elif scheme in ("", "file") and not names_file(local_path(url) or ""):
        raise ValueError(
            "names no file; accepted is its path, without ~, from / or from the working directory"
        )


def check_host(url: str, scheme: str) -> None:
    """Raise ValueError where `url` names no host, or an impossible port."""
    try:
        port = split_url(url).port
    except ValueError:
        raise ValueError(f"names no host; accepted is {scheme}://HOST/PATH") from None
    if port is not None and not 0 < port < 65536:
        raise ValueError("names a port that cannot be; accepted are 1 to 65535")


def _host_and_port(value: str) -> str:
    """An address to listen at. Raises ValueError for anything else."""
    match = re.fullmatch(r"(?:\[(.+)\]|[A-Za-z0-9._-]+):([0-9]{1,5})", value)
    if match is None or int(match[2]) > 65535 or (match[1] and not _is_ipv6(match[1])):
        raise ValueError(
            f"found {value!r}, accepted is HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
        )
    return value


def _host(value: str) -> str:
    """A host as in a Host header, but IPv6 without brackets. Raises ValueError for others."""
    bare = value.removeprefix("[").removesuffix("]")
    if _is_ipv6(bare):
        return str(IPv6Address(bare))
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value):
        raise ValueError(
            f"found {value!r}, accepted is a host's name or address without scheme and port, such "
            "as nvr.lan or fd00::5"
        )
    return value


def _origin(value: str) -> str:
    """An origin as browsers send it: in lower case, without the scheme's default port."""
    match = re.fullmatch(
        r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", value, re.IGNORECASE
    )
    if match is None:
        raise ValueError(f"found {value!r}, accepted is an origin such as http://kiosk.lan:8080")
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    usual = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" + (f":{port}" if port and port != usual else "")


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


HostAndPort = Annotated[str, AfterValidator(_host_and_port)]
Host = Annotated[str, AfterValidator(_host)]
Origin = Annotated[str, AfterValidator(_origin)]


def is_loopback(host: str) -> bool:
    """Whether `host`, an IP address or a name, can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_transport(url: SecretStr, transport: str) -> None:
    """Raise ValueError where TLS would have to go over UDP."""
    if transport == "udp" and scheme_of(url.get_secret_value()) == "rtsps":
        raise ValueError('transport = "udp" does not go with rtsps://; accepted is "tcp"')
