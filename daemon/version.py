"""Which affectd this is, and what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def affectd_version() -> str:
    """The installed version; `unknown` when affectd runs from a folder that is not installed."""
    try:
        return version("affectd")
    except PackageNotFoundError:
        return "unknown"


def versions() -> dict[str, str]:
    """affectd, Python and the packages whose versions matter in a report of a fault."""
    packages = ("torch", "av", "mediapipe", "opencv-contrib-python", "numpy")
    return {
        "affectd": affectd_version(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }
