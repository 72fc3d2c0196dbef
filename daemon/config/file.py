"""Read a TOML file into Settings, or say in one line each what is wrong with it.

Indices count from 0: `stream[0]` is the first `[[stream]]` of the file. Relative paths are left as
they stand and so are relative to the working directory (under systemd: /var/lib/affectd).
References to secrets are described in secret_refs.py.
"""

from __future__ import annotations

import datetime
import json
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from daemon.config.explain import Key, at, dotted, explain, is_secret
from daemon.config.regular_file import read_regular
from daemon.config.secret_refs import Expanded, FileRefError, RefError, expand
from daemon.config.settings import Settings, StreamSettings
from daemon.errors import ConfigError, UnusableError
from daemon.redact import LEAST_PIECE, Redactor, secrets_in_url, stream_key
from daemon.url import split_url

_LONG_NUMBER = "holds a whole number of thousands of digits, which no key accepts"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that validates, and the secrets that were substituted into it.

    `secrets` are the values that no log line may show: all passwords and tokens, whatever else is
    substituted in a `url` but for its host and short pieces, and all that came from a file or a
    credential.
    """

    settings: Settings
    secrets: frozenset[str] = field(repr=False)


def load(path: Path, env: Mapping[str, str], stream: StreamSettings | None = None) -> Loaded:
    """Read `path`, with `env` as the environment of its references.

    With `stream`, for commands that run no daemon, it is the only stream: [[stream]] and [daemon]
    of the file are ignored, so that they and the secrets that they name may be missing.

    Raises ConfigError with one line for each thing that is wrong, none of which shows a secret;
    UnusableError where each of these is a secret's file that cannot be read.
    """
    raw = _read_toml(path)
    if stream is not None:
        raw = {key: value for key, value in raw.items() if key not in ("daemon", "stream")}
    faults: dict[Key, str | RefError] = {}
    expanded: dict[Key, tuple[str, Expanded]] = {}
    data = {key: _expand(value, (key,), env, expanded, faults) for key, value in raw.items()}
    settings = None
    if stream is not None:
        data |= {"stream": [{"name": stream.name, "url": "demo://"}]}
    try:
        # From JSON, a strict schema accepts a list as a tuple and a string as a path.
        settings = Settings.model_validate_json(json.dumps(data))
    except ValidationError as error:
        for details in error.errors(include_url=False):
            key, line = explain(details, raw)
            if details["type"] == "too_short" and at(key, raw):
                continue  # Each table of the list has a fault, and a line of its own.
            for template, result in expanded.values():
                if result.values:  # Our validators quote the value: show its references.
                    line = line.replace(repr(result.text), repr(template))
            if key not in faults or details["type"] == "extra_forbidden":
                faults[key] = line
    except ValueError:  # from json.dumps, for a long number in hexadecimal
        raise ConfigError(f"{path}: {_LONG_NUMBER}") from None
    if faults or settings is None:
        lines = (f"{path}: {dotted(key)}{line}" for key, line in faults.items())
        redactor = Redactor()
        # URLs of all keys: one in place of a path would be shown with its password.
        texts = (result.text for _, result in expanded.values())
        redactor.register(*_secrets(expanded), *(s for text in texts for s in secrets_in_url(text)))
        wrong = redactor.redact("\n".join(lines))
        if all(isinstance(fault, FileRefError) for fault in faults.values()):
            raise UnusableError(wrong)
        raise ConfigError(wrong)
    if stream is not None:
        settings = settings.model_copy(update={"stream": (stream,)})
    return Loaded(settings, _secrets(expanded))


def load_around(stream: StreamSettings, path: Path | None, env: Mapping[str, str]) -> Loaded:
    """`load` for one stream; without a `path`, all else is at its defaults."""
    if path is None:
        return Loaded(Settings(stream=(stream,)), frozenset())
    return load(path, env, stream)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; accepted is a TOML file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8; accepted is a TOML file") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).removesuffix(")").partition(" (at ")
        raise ConfigError(f"{path}: {place}: not TOML: {what}") from None
    except ValueError:
        raise ConfigError(f"{path}: {_LONG_NUMBER}") from None
    except RecursionError:
        raise ConfigError(f"{path}: not TOML: nested too deeply") from None


def _expand(
    value: object,
    key: Key,
    env: Mapping[str, str],
    expanded: dict[Key, tuple[str, Expanded]],
    faults: dict[Key, str | RefError],
) -> object:
    """`value` with its references replaced; adds to `expanded`, or to `faults` where it cannot."""
    if isinstance(value, dict):
        return {k: _expand(v, (*key, k), env, expanded, faults) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, (*key, i), env, expanded, faults) for i, v in enumerate(value)]
    if isinstance(value, str):
        try:
            result = expand(value, env)
        except RefError as error:
            faults[key] = error
            return value
        expanded[key] = (value, result)
        return result.text
    if isinstance(value, datetime.date | datetime.time):
        faults[key] = "found a date or time, which no key accepts"
        return str(value)
    return value


def _secrets(expanded: Mapping[Key, tuple[str, Expanded]]) -> frozenset[str]:
    # What a source plays is no secret, and lines have to show the streams' names.
    secrets = {stream_key(one.text) for key, (_, one) in expanded.items() if "sink" in key}
    secrets -= {one.text for key, (_, one) in expanded.items() if key[::2] == ("stream", "name")}
    for key, (_, result) in expanded.items():
        secrets |= result.hidden
        if is_secret(key):
            secrets |= _telling(result)
            secrets |= {result.text} if key[-1] == "token" else secrets_in_url(result.text)
    return frozenset(secrets - {""})


def _telling(result: Expanded) -> set[str]:
    """The values put into a string that may hold secrets, but for the host of a URL, which messages
    have to name, and short pieces such as a channel's number, which many lines contain."""
    known = {""}
    with suppress(ValueError):
        url = split_url(result.text)
        known = {url.host, f"{url.host}:{url.port}"}
    return {value for value in result.values if len(value) >= LEAST_PIECE and value not in known}
