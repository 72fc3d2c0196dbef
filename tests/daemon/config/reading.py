"""A configuration as it is read from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from daemon.config.file import Loaded, load
from daemon.errors import ConfigError

STREAM = '[[stream]]\nname = "lobby"\nurl = "clip.mp4"\n'


def read(folder: Path, text: str, env: Mapping[str, str] | None = None) -> Loaded:
    path = folder / "affectd.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, env or {})


def faults(folder: Path, text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """The lines that `text` is refused with, without the path of the file."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, env)
    prefix = f"{folder / 'affectd.toml'}: "
    lines = str(caught.value).splitlines()
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]
