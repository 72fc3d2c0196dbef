"""A joint on disk: one JSON file that names its nets and each net's weight.

The nets keep their own files and records. Each gives its mean over the views, calibrated by its
own temperature for that many; the weighted sum of these is calibrated once more by the joint's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from classifiers.atomic import write_errors_as, write_json
from classifiers.checkpoint import (
    OBJECT,
    TEXT,
    Kind,
    need_kinds,
    need_number,
    need_scores,
    need_temperatures,
    read_json,
)
from classifiers.errors import CheckpointError
from classifiers.expression.tta import STATIC_TTA, need_modes

SUM_TOLERANCE = 1e-4  # weights stand with six digits
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("name", "split", "data_set", "data_sha256", "commit"), TEXT),
    **dict.fromkeys(("temperature", "recipe", "scores"), OBJECT),
}
MEMBER_KINDS: dict[str, Kind] = dict.fromkeys(("net", "sha256"), TEXT)


@dataclass(frozen=True)
class Member:
    """One net of a joint: shipped weights by name, or a path seen from the joint's folder."""

    net: str
    sha256: str
    weight: float


@dataclass(frozen=True)
class Joint:
    """What is needed to use several nets as one, and to find their weights again.

    The weights and `unknown_below` were found on `split` of the data set, with the views of
    `recipe`, and there too the `temperature` of each mode. `scores` are those of a net's record.
    """

    name: str
    members: tuple[Member, ...]
    temperature: dict[str, float]
    unknown_below: float
    split: str
    data_set: str
    data_sha256: str
    recipe: dict[str, Any]
    commit: str
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """SHA-256 of its temperatures and its members' tensors and weights, wherever they lie.

        What a member's record says, its own temperatures and crop among it, is not in it.
        """
        parts = [
            [*map(self.temperature.get, STATIC_TTA)],
            *((m.sha256, m.weight) for m in self.members),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def save(path: Path, joint: Joint) -> None:
    """Write a joint; its nets must lie where it says they do. Raises CheckpointError."""
    with write_errors_as(path, CheckpointError):
        write_json(path, joint)


def read(path: Path) -> Joint:
    """Read and check a joint, but not its nets.

    Raises CheckpointError naming the file and what is accepted.
    """
    try:
        found = read_json(path, "joint")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such joint") from None
    _has_keys(path, "not a joint of nets", found, Joint)
    need_kinds(path, found, KINDS)
    members = found["members"]
    if not isinstance(members, list) or not members:
        raise CheckpointError(f"{path}: members is {members!r}; accepted is a list of nets")
    for index, member in enumerate(members):
        where = f"members[{index}]"
        _has_keys(path, f"{where} is no member", member, Member)
        need_number(path, f"{where}.weight", member["weight"], 0.0, 1.0)
        need_kinds(path, member, MEMBER_KINDS, f"{where}.")
    total = sum(member["weight"] for member in members)
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise CheckpointError(f"{path}: the members' weights sum to {total:.6g}; accepted is 1")
    need_number(path, "unknown_below", found["unknown_below"], 0.0, 1.0)
    need_scores(path, found["scores"])
    need_temperatures(path, found["temperature"])
    need_modes(path, found["temperature"])
    return Joint(**{**found, "members": tuple(Member(**member) for member in members)})


def _has_keys(path: Path, what: str, found: Any, kind: Any) -> None:
    wanted = {f.name for f in fields(kind)}
    if not isinstance(found, dict) or set(found) != wanted:
        wrong = sorted(wanted ^ set(found)) if isinstance(found, dict) else "not an object"
        raise CheckpointError(f"{path}: {what}; missing or unknown: {wrong}")
