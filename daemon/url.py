"""Where the user, the password and the host of a camera's URL are, whatever the password holds.

`rtsp://user:password@host:554/path`: by the standard, the first of `/ ? #` ends the host's part,
so a password with such a character has to be percent-encoded (the configuration does so with
every secret it puts there). People write them raw all the same. The rule, in this order:

1. No `@` before the first of `/ ? #`, and what stands there is a host without a port, or plainly
   a host: an address, a dotted name or `localhost`. There is no user. (`rtsp://10.0.0.7/ch@1`)
2. The standard's own reading, where its host is plainly one or has a port.
   (`rtsp://u:p@10.0.0.7/ch@1`)
3. Else the last `@` that such a host follows. (`rtsp://u:p@ss/w#rd@10.0.0.7/main`)
4. Else the standard's reading. (`rtsp://cam:554/ch@1`, `rtsp://u:p@cam/ch@1`)
5. Where that makes no sense, the last `@`. (`rtsp://u:pa/ss@cam/main`)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

PORTS = {
    **{"http": 80, "https": 443, "rtsp": 554, "rtsps": 322},
    **{"rtmp": 1935, "rtmps": 443, "mqtt": 1883, "mqtts": 8883},
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\s/?#@:\[\]]+)"
_HOST_PORT = re.compile(rf"(?P<host>{_HOST})?(?::(?P<port>\d{{1,5}}))?(?=[/?#]|$)")
_PLAIN_HOST = re.compile(r"\[.*\]|localhost|.*\..*", re.IGNORECASE)
# What RFC 3986 lets stand in a user or password, beside %XX.
_USERINFO_SAFE = "!$&'()*+,;=-._~"
_TAIL_SAFE = "!#$%&'()*+,/:;=?@[]~"


@dataclass(frozen=True, slots=True)
class SplitUrl:
    """The parts of a URL as written. `user` and `password` are None where there are none."""

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    host: str
    port: int | None
    tail: str

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port to connect to; port 0 where neither URL nor scheme has one."""
        return self.host.strip("[]"), self.port or PORTS.get(self.scheme, 0)

    def encoded(self) -> str:
        """The URL with all special characters percent-encoded; what is encoded already stays."""
        userinfo = ""
        if self.user is not None:
            userinfo = _encode(self.user)
            if self.password is not None:
                userinfo += ":" + _encode(self.password)
            userinfo += "@"
        tail = quote(self.tail, safe=_TAIL_SAFE)
        return f"{self.scheme}://{userinfo}{self._address()}{tail}"

    def _address(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"


def is_url(text: str) -> bool:
    """Whether `text` begins with a scheme."""
    return _SCHEME.match(text) is not None


def local_path(url: str) -> str | None:
    """The file that `file://PATH` or a mere path means; None for every other URL."""
    if url.lower().startswith("file://"):
        return unquote(url[len("file://") :])
    return None if is_url(url) else url


def scheme_of(url: str) -> str:
    """The scheme in lower case; v4l2 for a device file, empty for any other path."""
    if is_url(url):
        return url.partition("://")[0].lower()
    return "" if webcam_path(url) is None else "v4l2"


def webcam_path(url: str) -> str | None:
    """The device file that `v4l2://PATH` or a mere path such as /dev/video0 means; None for every
    other URL."""
    if url.lower().startswith("v4l2://"):
        return url[len("v4l2://") :]
    return url if re.match(r"/dev/(video\d|v4l/)", url) else None


def split_url(url: str) -> SplitUrl:
    """Split `url` by the rule above. Raises ValueError where it has no scheme or no host."""
    start = _SCHEME.match(url)
    if start is None:
        raise ValueError("no scheme")
    scheme, rest = start[0][:-3].lower(), url[start.end() :]
    at = _userinfo_end(rest)
    address = _HOST_PORT.match(rest, at + 1)
    if address is None or address["host"] is None:
        raise ValueError("no host")
    user, colon, password = rest[:at].partition(":") if at >= 0 else ("", "", "")
    return SplitUrl(
        scheme=scheme,
        user=user if at >= 0 else None,
        password=password if colon else None,
        host=address["host"],
        port=int(address["port"]) if address["port"] else None,
        tail=rest[address.end() :],
    )


def _userinfo_end(rest: str) -> int:
    """Index of the `@` that ends user and password in what follows `scheme://`; -1 if none."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    standard = authority.rfind("@")
    if standard < 0 and _names_host(authority):
        return -1
    if standard >= 0 and _is_plain(rest, standard):
        return standard
    ats = [at for at in range(len(rest)) if rest[at] == "@"]
    for at in reversed(ats):
        if _is_plain(rest, at):
            return at
    if standard >= 0 or not ats or _HOST_PORT.fullmatch(authority):
        return standard
    return ats[-1]


def _names_host(authority: str) -> bool:
    """Whether an authority without `@` can only be a host: alone, or with a port but plain."""
    return _HOST_PORT.fullmatch(authority) is not None and (
        ":" not in authority or _PLAIN_HOST.match(authority) is not None
    )


def _is_plain(rest: str, at: int) -> bool:
    """Whether the text after the `@` can hardly be anything but a host."""
    address = _HOST_PORT.match(rest, at + 1)
    if address is None or not address["host"]:
        return False
    return address["port"] is not None or _PLAIN_HOST.fullmatch(address["host"]) is not None


def decoded(part: str) -> str:
    """A user, password or path without percent-encoding; one with a `%` that begins no %XX is taken
    as not encoded."""
    if "%" in part and not re.search(r"%(?![0-9A-Fa-f]{2})", part):
        return unquote(part, errors="surrogateescape")
    return part


def _encode(part: str) -> str:
    return quote(decoded(part), safe=_USERINFO_SAFE, errors="surrogateescape")


# A host that is unlikely to be the name of a folder.
_NAMED_HOST = r"(?:\d+(?:\.\d+){3}|\[[0-9a-f:.%]+\]|localhost|(?:[a-z0-9-]+\.)+[a-z]{2,})"
_ADDRESS = re.compile(
    r".*://|[a-z][a-z0-9+.-]+[:;]/|(?:rtsps?|https?|rtmps?|srt)//"
    rf"|{_NAMED_HOST}:\d{{1,5}}(?:/|$)|[^/]*@{_NAMED_HOST}(?::\d{{1,5}})?/"
    rf"|[^/:@]+:[^/]*@(?:[^/]+/|{_NAMED_HOST}(?::\d{{1,5}})?$)",
    re.IGNORECASE,
)


def is_address(path: str) -> bool:
    """Whether `path` can only be meant as a URL, correct or mistyped: `rtsp://…`, `rtsp;//…`,
    `10.0.0.7:554/…`, `user:password@nvr.lan`. One that begins with / or ./ is none, unless it
    holds a whole `://`."""
    return _ADDRESS.match(path) is not None
