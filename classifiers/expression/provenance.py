"""Whether a net was trained on the very data at hand.

The hash of an image's pixels decides whether it is of the holdout. Of the same pictures in other
pixels, as in Kaggle's CSV and a folder of JPEGs, others are, and a net that was trained on the one
has learnt nearly all the holdout of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from classifiers.expression.weight_files import locate, nets_of, record_of


def warning(weights: str | Path, data_sha256: str) -> str:
    """A warning of weights, or of a net of a joint, that were trained on other data; else empty.

    weights: what `expression.weights` accepts. Raises CheckpointError for weights without a record.
    """
    other = next(((file, one) for file, one in _named(weights) if one != data_sha256), None)
    if other is None:
        return ""
    file, known = other
    return (
        f"WARNING: {file} was trained on data whose fingerprint begins with {known[:7]}, "
        f"that of --data begins with {data_sha256[:7]}. If both are copies of the same "
        "faces, it has learnt most of this holdout, and what is found on it flatters"
    )


def joined(learnt_from: Iterable[str | Path], data_sha256: str) -> str:
    """The `data_sha256` of the record of a net that is trained on this data, by these weights too.

    Raises CheckpointError for weights without a record.
    """
    known = [one for weights in learnt_from for _, one in _named(weights)]
    return "+".join([*dict.fromkeys(one for one in known if one != data_sha256), data_sha256])


def own(data_sha256: str) -> str:
    """Of a record's `data_sha256`, the fingerprint of the data that its figures are of."""
    return data_sha256.rpartition("+")[2]


def _named(weights: str | Path) -> Iterator[tuple[Path, str]]:
    """Each net behind these weights, with each fingerprint that its record names."""
    for file in nets_of(locate(weights)):
        yield from ((file, one) for one in record_of(file).data_sha256.split("+") if one)
