"""References to secrets inside the strings of a configuration.

    ${NAME}              the environment variable NAME
    ${file:/run/cam}     the text of that file, without its last newline
    ${credential:cam}    the systemd credential of that name ($CREDENTIALS_DIRECTORY/cam)
    $${                  a plain ${

Within the user-and-password part of a URL, and as a value in its query (`?token=${NAME}`), what is
put in is percent-encoded, so that a secret may hold any character; elsewhere it stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from daemon.config.regular_file import read_regular

_REF = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USERINFO = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)@")
_QUERY_VALUE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^?]*\?(?:.*[&;])?[^&;=]+=")


class RefError(Exception):
    """A reference that cannot be resolved; the message names it, never a value."""


class FileRefError(RefError):
    """The file of a reference cannot be read."""


@dataclass(frozen=True, slots=True)
class Expanded:
    """A string with its references replaced, and what they were replaced by.

    `values` are the values as they were found; `hidden` those of them that came from a file or
    a credential, which are secrets wherever they stand.
    """

    text: str
    values: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """Replace every reference in `text`. Raises RefError."""
    # References are masked at equal length: a slash in ${file:/run/cam} must end no authority.
    masked = _REF.sub(lambda match: "x" * len(match[0]), text)
    userinfo = _USERINFO.match(masked)
    inside = range(*userinfo.span(1)) if userinfo else range(0)
    values: set[str] = set()
    hidden: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if match[1] is None:
            raise RefError("${ is never closed by }; a plain ${ is written $${")
        value = _look_up(match[1], env)
        if not value:  # An empty token would let everybody in.
            raise RefError(f"{match[0]} is empty")
        values.add(value)
        if ":" in match[1]:
            hidden.add(value)
        start = match.start()
        encoded = start in inside or _QUERY_VALUE.fullmatch(masked, 0, start)
        return quote(value, safe="") if encoded else value

    result = _REF.sub(replace, text)
    return Expanded(result, frozenset(values), frozenset(hidden))


def _look_up(ref: str, env: Mapping[str, str]) -> str:
    origin, colon, rest = ref.partition(":")
    if not colon and _VARIABLE.fullmatch(ref):
        if ref not in env:
            raise RefError(f"the environment variable {ref} is not set")
        if any("\ud800" <= char <= "\udfff" for char in env[ref]):
            raise RefError(f"the environment variable {ref} is not UTF-8 text")
        return env[ref]
    if origin == "file" and rest:
        return _read(Path(rest), ref)
    if origin == "credential" and rest and "/" not in rest:
        folder = env.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise RefError(
                f"${{{ref}}}: the environment variable CREDENTIALS_DIRECTORY is not set; "
                "systemd sets it for a unit with LoadCredential="
            )
        return _read(Path(folder, rest), ref)
    raise RefError(
        f"found ${{{ref}}}, accepted: ${{NAME}}, ${{file:PATH}}, ${{credential:NAME}}; "
        "a plain ${ is written $${"
    )


def _read(path: Path, ref: str) -> str:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefError(f"${{{ref}}}: {path} is not UTF-8 text") from None
    except OSError as error:
        raise FileRefError(f"${{{ref}}}: {path}: {error.strerror}") from None
    return text.removesuffix("\n").removesuffix("\r")
