"""What URLs and hosts in affectd.toml must be."""

from __future__ import annotations

from ipaddress import ip_address

from pydantic import SecretStr

from daemon.url import scheme_of, split_url


def with_scheme(url: SecretStr, *accepted: str) -> SecretStr:
    scheme, separator, _ = url.get_secret_value().partition("://")
    if not (separator and scheme.lower() in accepted):
        schemes = " or ".join(f"{scheme}://" for scheme in accepted)
        raise ValueError(f"accepted is a URL that begins with {schemes}")
    check_host(url.get_secret_value(), scheme)
    return url


def check_host(url: str, scheme: str) -> None:
    """Raise ValueError where no machine can be meant."""
    try:
        port = split_url(url).port
    except ValueError:
        raise ValueError(f"names no host; accepted is {scheme}://HOST/PATH") from None
    if port is not None and not 0 < port < 65536:
        raise ValueError("names a port that cannot be; accepted are 1 to 65535")


def is_loopback(host: str) -> bool:
    """Whether `host`, a number or a name, can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_transport(url: SecretStr, transport: str) -> None:
    """Raise ValueError where TLS would have to go over UDP."""
    if transport == "udp" and scheme_of(url.get_secret_value()) == "rtsps":
        raise ValueError('transport = "udp" does not go with rtsps://; accepted is "tcp"')
