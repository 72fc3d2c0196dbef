"""Keep passwords out of whatever is logged, shown or labelled: the one place for it."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from urllib.parse import quote

MASK = "***"
# Only these are surely no `user:password`, where an `@` comes later.
_SURELY_HOST = re.compile(r"(\[[^]]*\]|\d+\.\d+\.\d+\.\d+|localhost)(:\d+)?|[^:@]*")
_ANY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# A second URL in a line begins with a scheme that we know: a password may hold `x://` as well.
_NEXT_URL = re.compile(
    r"(?<![\w+./@:-])(?:rtsps?|https?|rtmps?|srt|udp|tcp|file)://", re.IGNORECASE
)
_SECRET_QUERY = re.compile(
    r"(?i)([?&;](?:pass(?:word|wd)?|pwd|pw|token|auth|secret|api_?key|key)=)[^&;#\s'\"]*"
)
_CLOSING = {"'": "'", '"': '"', "`": "`", "<": ">", "(": ")", "[": "]"}


def redact_url(url: str) -> str:
    """`url` with its password (also one in the query) replaced by ***; other text unchanged.

    Where it is in doubt what belongs to the password, it goes up to the last `@`.
    """
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if separator and "@" in rest and not _SURELY_HOST.fullmatch(authority):
        userinfo, _, address = rest.rpartition("@")
        user, colon, _ = userinfo.partition(":")
        # A user alone may be a token.
        shown = f"{scheme}://{user}:{MASK}@{address}" if colon else f"{scheme}://{MASK}@{address}"
    else:
        shown = url
    return _SECRET_QUERY.sub(rf"\1{MASK}", shown)


def redact_text(text: str) -> str:
    """`text` with the password of every URL in it masked.

    A password may hold blanks, quotes and slashes, so where a line shows no clear end of the
    URL, everything up to the last `@` before the next URL goes: too much rather than too little.
    """
    return "\n".join(_redact_line(line) for line in text.split("\n"))


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
        pieces += [redact_url(line[start:end_of_url]), line[end_of_url:end]]
    return "".join(pieces)


class Redactor(logging.Filter):
    """A filter for log handlers: masks the passwords of URLs and every registered secret.

    Messages, arguments, traces and stack texts pass through it. Thread-safe.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()

    def register(self, secret: str) -> None:
        """Mask `secret` from now on, raw and percent-encoded. An empty one is ignored."""
        if not secret:
            return
        forms = {secret, quote(secret, safe=""), quote(secret)}
        with self._lock:
            known = forms.union(self._secrets)
            # The longest first: one secret may be a part of another.
            self._secrets = tuple(sorted(known, key=lambda form: (-len(form), form)))

    def redact(self, text: str) -> str:
        """`text` without any password that we know or can see."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return redact_text(text)

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
