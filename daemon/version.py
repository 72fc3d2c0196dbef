"""The versions of affectd and of the packages that it depends on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version


def affectd_version() -> str:
    """The installed version; `unknown` when affectd runs from a folder that is not installed."""
    try:
        return version("affectd")
    except PackageNotFoundError:
        return "unknown"


def versions(*more: str) -> dict[str, str]:
    """Versions by name: of affectd, Python, the packages that faults and figures depend on, and
    `more`. Packages that are not installed are left out."""
    found = {"affectd": affectd_version(), "python": platform.python_version()}
    for name in ("torch", "openvino", "av", "mediapipe", "opencv-contrib-python", "numpy", *more):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
