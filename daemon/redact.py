"""Keep passwords out of whatever is logged, shown or labelled: the one place for it."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from urllib.parse import quote

from daemon.url import split_url

MASK = "***"
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET_QUERY = re.compile(
    r"(?i)([?&;](?:pass(?:word|wd)?|pwd|pw|token|auth|secret|api_?key|key)=)[^&;#\s'\"]*"
)
# Where a URL in a sentence ends when no quote says so. A raw password may hold each of these,
# so the text up to the last `@` of the line is looked at first.
_CLOSING = {"'": "'", '"': '"', "`": "`", "<": ">", "(": ")", "[": "]"}


def redact_url(url: str) -> str:
    """`url` with its password (also one in the query) replaced by ***; other text unchanged."""
    try:
        shown = split_url(url).redacted()
    except ValueError:
        shown = _mask_to_last_at(url)
    return _SECRET_QUERY.sub(rf"\1{MASK}", shown)


def redact_text(text: str) -> str:
    """`text` with the password of every URL in it masked.

    A password may hold blanks, quotes and slashes, so where a line shows no clear end of the
    URL, everything up to the last `@` before the next URL goes: too much rather than too little.
    """
    starts = [match.start() for match in _URL_IN_TEXT.finditer(text)]
    if not starts:
        return text
    pieces = [text[: starts[0]]]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        line, newline, rest = text[start:end].partition("\n")
        opening = text[start - 1] if start else ""
        quoted = line.rfind(_CLOSING.get(opening, "\n"))
        if quoted > line.rfind("@"):
            line = redact_url(line[:quoted]) + line[quoted:]
        else:
            line = redact_url(line)
        pieces.append(line + newline + rest)
    return "".join(pieces)


def _mask_to_last_at(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return url
    return f"{scheme}://{MASK}@{rest.rpartition('@')[2]}"


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
