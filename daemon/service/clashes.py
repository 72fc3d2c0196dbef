"""Finds clashes in the Python environment: distributions that own the same import name.

affectd's import names are plain words, and `daemon` also names a package of others on the public
index; two OpenCV wheels install the same `cv2` folder, file over file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions

OURS = ("daemon", "detectors", "classifiers")
_CV2_OWNER = "opencv-contrib-python"
_OWNED = re.compile(rf"^({'|'.join((*OURS, 'cv2'))})(?:/|\.py,)", re.MULTILINE)


def clashes(path: Sequence[str] | None = None) -> list[str]:
    """One line for each clash among the distributions on `path` (default: sys.path), or none."""
    owners: defaultdict[str, set[str]] = defaultdict(set)
    for distribution in distributions() if path is None else distributions(path=list(path)):
        if "Name" not in distribution.metadata:
            continue  # Half removed, and unknown to pip.
        for name in _imports(distribution):
            owners[name].add(_normal(distribution.metadata["Name"]))
    lines = []
    for name in OURS:
        for owner in sorted(owners[name] - {"affectd"}):
            lines.append(
                f"the distribution {owner} also owns the import name {name!r}; "
                f"accepted is affectd alone: pip uninstall {owner}, then install affectd again"
            )
    if len(owners["cv2"]) > 1:
        others = sorted(owners["cv2"] - {_CV2_OWNER})
        lines.append(
            f"{len(owners['cv2'])} distributions own the import name 'cv2': "
            f"{', '.join(sorted(owners['cv2']))}; accepted is {_CV2_OWNER} alone: "
            f"pip uninstall {' '.join(others)}, then pip install --force-reinstall {_CV2_OWNER}"
        )
    return lines


def _imports(distribution: Distribution) -> set[str]:
    """Which of `OURS` and cv2 `distribution` installs."""
    record = distribution.read_text("RECORD")
    if record is not None:
        return set(_OWNED.findall(record))
    listed = (distribution.read_text("top_level.txt") or "").split()
    return {name for name in listed if name in (*OURS, "cv2")}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
