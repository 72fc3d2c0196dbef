"""config/affectd.toml holds every key of the schema with its default, and no other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, get_args

import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from daemon.config.file import load
from daemon.config.settings import Settings

CONFIG = Path(__file__).parents[2] / "config"
REFERENCE = CONFIG / "affectd.toml"
# Shown with an example, since TOML cannot write their default, which is "not set", or says nothing.
UNSET = {"expression.unknown_below", "expression.prior"}


def uncommented() -> dict[str, Any]:
    """The reference with the # taken away from every line that is a key or a table."""
    text = re.sub(r"^#(?=[a-z\[])", "", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tomllib.loads(text)


def tables(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for inner in get_args(annotation) for table in tables(inner)]


def default(info: FieldInfo) -> Any:
    value = info.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return list(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def schema(table: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that is a value, as `stream.sink(mp4).crf`."""
    for name, info in table.model_fields.items():
        inner = tables(info.annotation)
        if not inner:
            yield f"{prefix}{name}", info
        for one in inner:
            tag = ""
            if len(inner) > 1:
                tag = f"({get_args(one.model_fields['kind'].annotation)[0]})"
            yield from schema(one, f"{prefix}{name}{tag}.")


def written(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The same for what a file holds; a table that the schema calls a value is one here."""
    for name, value in table.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                tag = f"({item['kind']})" if "kind" in item else ""
                yield from written(item, f"{prefix}{name}{tag}.")
        elif isinstance(value, dict) and name not in ("colours", "prior"):
            yield from written(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_reference_holds_every_key_and_no_other() -> None:
    known, there = dict(schema(Settings)), [key for key, _ in written(uncommented())]
    assert sorted(there) == sorted(known)


@pytest.mark.parametrize(("key", "value"), list(written(uncommented())))
def test_what_the_reference_shows_is_the_default(key: str, value: object) -> None:
    info = dict(schema(Settings))[key]
    if info.is_required():
        assert isinstance(value, str)
    elif key in UNSET:
        assert default(info) in (None, {})
    else:
        assert (type(value), value) == (type(default(info)), default(info))


def test_every_default_is_commented_out() -> None:
    required = {key for key, info in schema(Settings) if info.is_required()}
    plain = written(tomllib.loads(REFERENCE.read_text(encoding="utf-8")))
    assert {key for key, _ in plain} <= required


def test_the_reference_is_valid_as_it_is_and_uncommented(tmp_path: Path) -> None:
    assert load(REFERENCE, {}).settings.stream[0].name == "webcam"
    text = re.sub(r"^#(?=[a-z\[])", "", REFERENCE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = re.sub(r"\$\{(PUSH|MQTT)_PASSWORD\}", "secret", text)
    whole = tmp_path / "affectd.toml"
    whole.write_text(text, encoding="utf-8")
    kinds = [sink.kind for sink in load(whole, {}).settings.stream[0].sink]
    assert sorted(kinds) == ["events", "hls", "mjpeg", "mp4", "mqtt", "rtmp", "rtsp", "srt"]


def test_the_demo_is_valid_and_writes_beside_its_starter() -> None:
    settings = load(CONFIG / "demo.toml", {}).settings
    assert [stream.name for stream in settings.stream] == ["lobby", "desk"]
    sinks = [sink for stream in settings.stream for sink in stream.sink]
    assert {sink.kind for sink in sinks} == {"mjpeg", "mp4", "events"}
    for sink in sinks:
        path: PurePath = getattr(sink, "path", PurePath("affectd-demo/x"))
        assert path.parent == PurePath("affectd-demo")
