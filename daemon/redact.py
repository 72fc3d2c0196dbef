"""Keep passwords out of whatever is logged, shown or labelled: the one place for it."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from functools import cache
from urllib.parse import unquote

from daemon.url import local_path, split_url

MASK = "***"
LEAST_PIECE = 4
_LEAST_KEY = 8
LONGEST_LINE = 8192
# What is surely a host even if an `@` follows later; all else may be user:password.
_SURELY_HOST = re.compile(r"(\[[^]]*\]|\d+\.\d+\.\d+\.\d+|localhost)(:\d+)?|[^:@]*")
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://")
# A second URL in a line must begin with a known scheme: a password may contain `x://`.
_NEXT_URL = re.compile(
    r"(?<![\w+./@:-])(?:rtsps?|https?|rtmps?|srt|udp|tcp|file)://", re.IGNORECASE
)
# In the query, or, with some cameras, in the path: /user=a_password=b_channel=1.
_SECRET_QUERY = re.compile(
    r"(?i)((?:[?&;/_]|%26)[\w.-]{0,40}?"
    r"(?:pass?(?:word|wd|phrase|code)?|pswd?|pwd|pw|token|auth|secret|key|sig(?:nature)?|credentials?|streamid)"
    r"=)(?!\*{3})[^&;#\s'\"]*"
)
# rtmp://host/app/KEY: who has the key can publish. A path of one part may be the key too.
_STREAM_KEY = re.compile(
    r"(?i)(rtmps?://[^\s/]+/([^\s/'\"<>]*/)?)[^\s'\"<>]+?(?=[:,;.)\]]?(?:[\s'\"<>]|$))"
)
# rtsp//user:password@host, user:password@host, //user:password@host
_MISTYPED = re.compile(
    rf"\s*(?:[A-Za-z][A-Za-z0-9+.-]*)?[:;]?[/\\]*[^:@/\\]*:(.{{{LEAST_PIECE},}})@", re.DOTALL
)
# A request header in a library's message; its value may be the password in Base64.
_HEADER = re.compile(r"(?i)((?:authorization|cookie)['\"]?\s*[:=]\s*)[^\r\n]*")
_CLOSING = {"'": "'", '"': '"', "`": "`", "<": ">", "(": ")", "[": "]"}


def display_url(url: str) -> str:
    """A source as people may see it: the path of a file, any other URL without its secrets."""
    path = local_path(url)
    return redact_url(url) if path is None else path


def redact_url(url: str) -> str:
    """`url` with its password replaced by ***, and its query from the first secret on, since a
    secret may contain the query's separators; a stream key too. Other text is unchanged.

    Where it is unclear what belongs to the password, it is taken to reach up to the last `@`.
    """
    start, cut = _query_secret(url), ""
    if start is not None:
        url, cut = url[:start], MASK
    shown = _without_password(url)
    before, at, _ = url.rpartition("@")
    if shown != url and _STREAM_KEY.match(before + at):  # The @ may be part of the key.
        return shown[: shown.rindex("@") + 1] + MASK
    if not cut and (secret := _SECRET_QUERY.search(shown)):
        shown = shown[: secret.end(1)] + MASK
    key = _STREAM_KEY.match(shown)
    return shown[: key.end(1)] + MASK if key else shown + cut


def _query_secret(url: str) -> int | None:
    """Index in `url` at which the first secret of its query begins, None if it has none. Looks only
    behind the host: a password may look like a query, and a query may contain an `@`."""
    try:
        tail = split_url(url).tail
    except ValueError:
        return None
    secret = _SECRET_QUERY.search(tail)
    return None if secret is None else len(url) - len(tail) + secret.end(1)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not separator or "@" not in rest or _SURELY_HOST.fullmatch(authority):
        return url
    userinfo, _, address = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    # A user alone may be a token.
    return f"{scheme}://{user}:{MASK}@{address}" if colon else f"{scheme}://{MASK}@{address}"


def secrets_in_url(url: str) -> set[str]:
    """The secrets of a URL, decoded: its password, or a user without one; those in its query.

    A secret in a query may contain the query's separators unencoded, so everything up to the end of
    the URL is one; what stands before the first separator is another, from `LEAST_PIECE` characters
    on.
    """
    try:
        split = split_url(url)
    except ValueError:
        # It is taken for a path, which the error about a missing file shows.
        mistyped = _MISTYPED.match(url)
        return {unquote(mistyped[1], errors="surrogateescape")} if mistyped else set()
    found = [split.password if split.password is not None else split.user]
    for match in _SECRET_QUERY.finditer(split.tail):
        value = match[0][len(match[1]) :]
        found += [split.tail[match.end(1) :], value if len(value) >= LEAST_PIECE else None]
    return {unquote(written, errors="surrogateescape") for written in found if written}


def stream_key(url: str) -> str:
    """The key with which `url` publishes, decoded; empty where it is rather a name, such as `cam`,
    which many lines have to show: a short one, or one that no application precedes."""
    key = _STREAM_KEY.match(url)
    text = unquote(url[key.end(1) :], errors="surrogateescape") if key and key[2] else ""
    return text if len(text) >= _LEAST_KEY else ""


def redact_text(text: str) -> str:
    """`text` with the password of every URL in it masked.

    A password may hold blanks, quotes and slashes, so where a line shows no clear end of the
    URL, everything up to the last `@` before the next URL goes: too much rather than too little.
    """
    shown = "\n".join(_redact_line(line) for line in text.split("\n"))
    shown = _STREAM_KEY.sub(rf"\1{MASK}", _SECRET_QUERY.sub(rf"\1{MASK}", shown))
    return _HEADER.sub(rf"\1{MASK}", shown)


def _redact_line(line: str) -> str:
    first = _ANY_URL.search(line)
    if first is None:
        return line
    later = [match.start() for match in _NEXT_URL.finditer(line, first.end())]
    starts = [first.start(), *later]
    pieces = [line[: first.start()]]
    for start, end in zip(starts, [*later, len(line)], strict=True):
        closing = _CLOSING.get(line[start - 1 : start], "\n")
        quoted = line.rfind(closing, start, end)
        # A quote before the last @ may be a part of the password.
        end_of_url = quoted if quoted > line.rfind("@", start, end) else end
        pieces += [_without_password(line[start:end_of_url]), line[end_of_url:end]]
    return "".join(pieces)


class Redactor(logging.Filter):
    """A filter for log handlers: masks the passwords of URLs and every registered secret.

    Messages, arguments, traces and stack texts pass through it. Thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def register(self, *secrets: str) -> None:
        """Mask `secrets` from now on, in whatever way they are written: raw, percent-encoded in
        whole or in part, escaped as in JSON, HTML or Python. Empty ones are ignored."""
        with self._lock:
            self._secrets.update(filter(None, secrets))
            # The longest first: one secret may be a part of another.
            known = sorted(self._secrets, key=lambda secret: (-len(secret), secret))
            if known:
                self._pattern = re.compile("|".join(map(_however_written, known)))

    def redact(self, text: str) -> str:
        """`text` without any password that we know or can see."""
        return redact_text("\n".join(map(self._without_secrets, text.split("\n"))))

    def _without_secrets(self, line: str) -> str:
        """One line without known secrets, cut at `LONGEST_LINE`: searching more would take long."""
        pattern = self._pattern
        if len(line) <= LONGEST_LINE:
            return pattern.sub(MASK, line) if pattern else line
        # Half a secret at the cut would not be recognised; encoded twice it is 5 times as long.
        margin = 6 * max(map(len, self._secrets), default=1)
        head = line[: LONGEST_LINE + margin]
        return (pattern.sub(MASK, head) if pattern else head)[:-margin] + "…"

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record in place; never refuses one."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args}"
        record.msg, record.args = self.redact(message), None
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            record.exc_text, record.exc_info = self.redact(trace), None
        elif record.exc_text:
            record.exc_text = self.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self.redact(record.stack_info)
        return True


def _however_written(secret: str) -> str:
    return "".join(map(_any_form, secret))


@cache
def _any_form(char: str) -> str:
    """A pattern for one character, also where something has encoded or escaped it."""
    forms = []
    # %25 is a % that was encoded again.
    codings = ("utf-8", "latin-1") if ord(char) < 256 else ("utf-8",)
    for coding in dict.fromkeys(char.encode(one, "surrogateescape") for one in codings):
        forms.append("".join(f"%(?:25)*(?i:{byte:02x})" for byte in coding))
        if ord(char) > 126:
            forms.append("".join(rf"\\+x{byte:02x}" for byte in coding))
    if char == " ":
        forms.append(r"\+")
    elif char in "\"'\\/":
        forms.append(r"\\+" + re.escape(char))
    elif ord(char) > 126:
        forms.append(rf"\\+(?i:u{ord(char):04x})")
    if char in "&<>\"'":
        forms.append(rf"&(?:amp|lt|gt|quot|#x{ord(char):x}|#{ord(char)});")
    # The plain character last: a plain % may be the start of a longer form.
    return f"(?:{'|'.join((*forms, re.escape(char)))})"
