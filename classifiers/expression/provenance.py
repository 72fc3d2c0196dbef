"""Whether a net was trained on the very data at hand.

The holdout goes by the pixels' hash. Of the same pictures in other pixels, as Kaggle's CSV and a
folder of JPEGs are, it is another part: nearly all of it is what the net learnt from.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from classifiers import checkpoint
from classifiers.expression import joint
from classifiers.expression.classifier import locate, locate_member


def warning(weights: str | Path, data_sha256: str) -> str:
    """What to say of weights, or of a net of a joint, that come from other data; empty if none do.

    weights: what `expression.weights` accepts. Raises CheckpointError for weights without a record.
    """
    path = locate(weights)
    files = [path]
    if path.suffix == ".json":
        files = [locate_member(m.net, path.parent, f"{path}: ") for m in joint.read(path).members]
    other = of_other_data(files, data_sha256)
    if other is None:
        return ""
    file, known = other
    return (
        f"WARNING: {file} was trained on data whose fingerprint begins with {known[:7]}, "
        f"that of --data begins with {data_sha256[:7]}. If both are copies of the same "
        "faces, it has learnt most of this holdout, and what is found on it flatters"
    )


def of_other_data(files: Iterable[Path], data_sha256: str) -> tuple[Path, str] | None:
    """The first of these nets and joints whose record names other data, and what it names.

    A record that names no data is taken at its word. Raises CheckpointError for weights without
    a record.
    """
    for file in files:
        record = joint.read(file) if file.suffix == ".json" else checkpoint.read_record(file)
        if record.data_sha256 not in ("", data_sha256):
            return file, record.data_sha256
    return None
