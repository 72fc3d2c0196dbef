"""What paths in affectd.toml must be."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from daemon.url import is_address


def names_file(path: str) -> bool:
    """Whether `path` may name a file as it stands; not with a ~, which only a shell replaces."""
    name = PurePath(path).name
    return name not in ("", "..") and path[-1] != "/" and path[0] != "~" and "\0" not in path


def _from_home(path: str) -> str:
    """`path` with a leading ~ replaced. Raises ValueError for what cannot be a path."""
    if is_address(path):
        raise ValueError("is a URL; accepted is a path, with ./ before one like a URL")
    if "\0" in path:
        raise ValueError(f"found {path!r}, accepted is a path without NUL")
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise ValueError(f"found {path!r}, and nobody of that name has a home here") from None


def _of_a_file(path: object) -> object:
    """`path` unchanged. Raises ValueError if it names no file, or needs a shell to name one."""
    if isinstance(path, str) and is_address(path):
        # It may hold a password, so the message does not show it.
        raise ValueError("is a URL; accepted is a file's path, with ./ before one like a URL")
    if isinstance(path, str) and not names_file(path):
        raise ValueError(
            f"found {path!r}, accepted is the path of a file, without ~, "
            "from / or from the working directory"
        )
    return path


FilePath = Annotated[Path, BeforeValidator(_of_a_file)]
HomePath = Annotated[str, AfterValidator(_from_home)]
