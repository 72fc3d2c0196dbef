"""What is wrong with a configuration, in words: pydantic's errors as lines for users."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic_core import ErrorDetails

from classifiers.expression import LABELS
from daemon.config.settings import COLOURS, Settings, StreamSettings

Key = tuple[str | int, ...]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

_KINDS = {
    "string_type": "a string",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "model_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list of strings",
}
_LIMITS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}
_PATTERNS = {
    "^[a-z0-9_-]+$": "accepted are the characters a-z, 0-9, _ and -",
    "^#[0-9a-fA-F]{6}$": "accepted is a colour such as #D55E00",
}
_OF_LABELS = {"[expression.prior]": LABELS, "[overlay.colours]": COLOURS}


def explain(details: ErrorDetails, raw: object) -> tuple[Key, str]:
    """The key that an error of pydantic is about, and what is wrong with it."""
    kind, context = details["type"], details.get("ctx", {})
    key, table = _resolve(details["loc"])
    if kind.startswith("union_tag"):
        key = (*key, "kind")
    found = _found(key, raw)
    match kind:
        case "extra_forbidden":
            return key, _unknown_key(str(key[-1]), table)
        case "missing":
            return key, f"missing, accepted is {_accepted(table, str(key[-1]))}"
        case "union_tag_not_found":
            return key, f"missing, accepted: {_tags(key)}"
        case "union_tag_invalid":
            return key, f"found {found}, accepted: {_tags(key)}"
        case "literal_error":
            return key, f"found {found}, accepted: {_unquoted(context['expected'])}"
        case "json_invalid":
            return key, "tables or lists are nested too deeply"
        case "value_error":
            return key, str(context["error"])
        case "too_short":
            return key, f"found an empty list, accepted is {_accepted(table, str(key[-1]))}"
        case "string_pattern_mismatch":
            pattern = context["pattern"]
            return key, f"found {found}, {_PATTERNS.get(pattern, f'accepted is {pattern}')}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return key, f"found {found}, accepted is {words} {context[name]:g}"
    accepted = _KINDS.get(kind)
    if accepted is None:
        return key, f"found {found}: {details['msg']}"
    if kind == "tuple_type" and next(_tables(table.model_fields[str(key[-1])].annotation), None):
        accepted = f"a list of tables, each headed [[{'.'.join(map(str, _names(key)))}]]"
    return key, f"found {found}, accepted is {accepted}"


def _resolve(loc: Sequence[str | int]) -> tuple[Key, type[BaseModel]]:
    """The key at pydantic's `loc`, which also holds the kind of each sink, and its table."""
    tables: list[type[BaseModel]] = [Settings]
    owner: type[BaseModel] = Settings
    key: list[str | int] = []
    for part in loc:
        if isinstance(part, str) and len(tables) > 1:
            tables = [table for table in tables if _tag(table) == part]
            owner = tables[0]
            continue
        key.append(part)
        if isinstance(part, int) or not tables:
            continue
        owner = tables[0]
        known = owner.model_fields.get(part)
        tables = list(_tables(known.annotation)) if known else []
    return tuple(key), owner


def _tables(annotation: object) -> Iterator[type[BaseModel]]:
    """The tables that an annotation such as tuple[A | B, ...] is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables(inner)


def _tag(table: type[BaseModel]) -> str:
    return str(get_args(table.model_fields["kind"].annotation)[0])


def _tags(key: Key) -> str:
    """The kinds that the list of tables around `key` accepts."""
    return ", ".join(map(_tag, _tables_at(_names(key[:-1]))))


def _tables_at(names: Sequence[str]) -> list[type[BaseModel]]:
    """The tables that may stand at a key; none where a value does, or where the key is unknown."""
    tables: list[type[BaseModel]] = [Settings]
    for name in names:
        tables = [inner for known in _annotations(tables, name) for inner in _tables(known)]
    return tables


def _annotations(tables: Sequence[type[BaseModel]], name: str) -> list[object]:
    return [table.model_fields[name].annotation for table in tables if name in table.model_fields]


def _names(key: Key) -> list[str]:
    return [part for part in key if isinstance(part, str)]


def _unknown_key(name: str, table: type[BaseModel]) -> str:
    is_sink = table in _tables_at(("stream", "sink"))
    if name in ("enabled", "enable", "disabled") and (is_sink or table is StreamSettings):
        what = "sink" if is_sink else "stream"
        return f"unknown key; a {what} that is not to run is commented out"
    near = get_close_matches(name.lower(), table.model_fields, 1, cutoff=0.65)
    hints = [f"did you mean {key}?" for key in near]
    if homes := " and ".join(_homes(name)):
        return "; or ".join([f"unknown key here; accepted in {homes}", *hints])
    return f"unknown key; {hints[0] if hints else 'accepted: ' + ', '.join(table.model_fields)}"


def _homes(name: str) -> Iterator[str]:
    """The headers of the tables that have a key `name`."""
    for top in Settings.model_fields:
        for table in _tables_at((top,)):
            if name in table.model_fields:
                yield "[[stream]]" if table is StreamSettings else f"[{top}]"
    for header, keys in _OF_LABELS.items():
        if name in keys:
            yield header
    sinks = _tables_at(("stream", "sink"))
    if kinds := ", ".join(_tag(table) for table in sinks if name in table.model_fields):
        yield f"[[stream.sink]] of kind {kinds}"


def _accepted(table: type[BaseModel], name: str) -> str:
    if next(_tables(table.model_fields[name].annotation), None):
        return f"at least one table headed [[{name}]]"
    return "a string"


def _unquoted(expected: str) -> str:
    return re.sub(r" or ", ", ", expected).replace("'", "")


def is_secret(key: Key) -> bool:
    """Whether what stands at `key` may be a secret, by the schema."""
    *around, name = _names(key) or [""]  # the whole file has no key
    return _annotations(_tables_at(around), name)[:1] == [SecretStr]


def at(key: Key, raw: Any) -> Any:
    """What stands at `key` in the file as it was written; None where nothing does."""
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return None
    return raw


def _found(key: Key, raw: object) -> str:
    """What stands at `key`, or only its type where it may be a secret."""
    value = at(key, raw)
    hidden = is_secret(key) and (isinstance(value, str) or key[-1] == "token")
    if hidden or not isinstance(value, str | bool | int | float):
        return _kind(value)
    text = json.dumps(value, ensure_ascii=False)
    if "://" in text:
        return "a URL"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: object) -> str:
    names: dict[type, str] = {
        bool: "true or false",
        str: "a string",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date or time")


def dotted(key: Key) -> str:
    """`stream[2].url: `, or nothing for the whole file."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if _BARE_KEY.fullmatch(part) else f".{json.dumps(part)}"
    return f"{text.removeprefix('.')}: " if text else ""
