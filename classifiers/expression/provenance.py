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
    named = ((file, one) for file in _files(weights) for one in _named(file))
    other = next(((file, one) for file, one in named if one != data_sha256), None)
    if other is None:
        return ""
    file, known = other
    return (
        f"WARNING: {file} was trained on data whose fingerprint begins with {known[:7]}, "
        f"that of --data begins with {data_sha256[:7]}. If both are copies of the same "
        "faces, it has learnt most of this holdout, and what is found on it flatters"
    )


def joined(learnt_from: Iterable[str | Path], data_sha256: str) -> str:
    """What a record says of a net that is trained on this data and learns from these weights.

    Raises CheckpointError for weights without a record.
    """
    known = [one for weights in learnt_from for file in _files(weights) for one in _named(file)]
    return "+".join([*dict.fromkeys(one for one in known if one != data_sha256), data_sha256])


def record(file: Path) -> checkpoint.Record | joint.Joint:
    """That of a net, or of a joint. Raises CheckpointError where it cannot be read."""
    return joint.read(file) if file.suffix == ".json" else checkpoint.read_record(file)


def own(data_sha256: str) -> str:
    """Of what a record says, the data that its figures are of."""
    return data_sha256.rpartition("+")[2]


def _files(weights: str | Path) -> list[Path]:
    """The nets that these weights are."""
    path = locate(weights)
    if path.suffix != ".json":
        return [path]
    return [locate_member(m.net, path.parent, f"{path}: ") for m in joint.read(path).members]


def _named(file: Path) -> list[str]:
    return [one for one in record(file).data_sha256.split("+") if one]
