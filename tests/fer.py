"""One split of FER2013, as most tests need it."""

from __future__ import annotations

from pathlib import Path

from classifiers.expression import Split, data


def load_split(source: Path, split: Split, strict: bool = False) -> data.Faces:
    """Read one split alone; where several are needed, `data.read` goes through the source once."""
    return data.read(source, strict, {data.USAGE_OF[split]}).split(split)
