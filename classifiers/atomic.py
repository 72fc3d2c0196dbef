"""Atomic writes: a file is written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from classifiers.errors import ClassifierError


def write_atomic(path: Path, content: bytes) -> None:
    """Replace a file in one go, by the rules of `atomic_path`.

    Its permissions are those that the umask gives to a new file. Raises OSError.
    """
    with atomic_path(path) as part:
        part.write_bytes(content)


def write_json(path: Path, record: Any) -> None:
    """`write_atomic` of a dataclass as JSON. Raises OSError."""
    write_atomic(path, (json.dumps(asdict(record), indent=2) + "\n").encode())


@contextmanager
def write_errors_as(path: Path, kind: type[ClassifierError]) -> Iterator[None]:
    """Write `path` within. An OSError becomes an error of `kind` that names it."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place if all goes well, and is removed if not: what
    stood there stays until all of it is written. Of a link the target is replaced.

    Raises OSError, also where `path` is no file but a device, say, which would be lost.
    """
    real, part = _places(path)
    try:
        yield part
        part.replace(real)
    finally:
        with suppress(OSError):
            part.unlink()


def check_writable(path: Path) -> None:
    """Raise the OSError that `write_atomic` would, as far as that can be found out before."""
    _, part = _places(path)
    part.touch()
    part.unlink()


def _places(path: Path) -> tuple[Path, Path]:
    """Where the file lies that `path` leads to, and where it is written until it is whole."""
    real = Path(os.path.realpath(path))
    if real.exists() and not real.is_file():
        raise OSError(errno.EINVAL, "it is there and is no file", str(path))
    short = os.fsdecode(os.fsencode(real.name)[:200])  # a name has 255 bytes at most
    return real, real.with_name(f".{short}.part")
