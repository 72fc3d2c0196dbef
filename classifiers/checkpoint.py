"""Weights on disk: a safetensors file beside a JSON record of what it is and how it came about."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import nn

from classifiers.atomic import write_atomic, write_errors_as, write_json
from classifiers.errors import CheckpointError

TEXTS = (
    *("name", "family", "architecture", "normalisation"),
    *("data_set", "data_sha256", "commit", "sha256", "computed"),
)
Kind = tuple[type, str]
TEXT: Kind = (str, "a text")
OBJECT: Kind = (dict, "an object")
KINDS: dict[str, Kind] = {
    **dict.fromkeys(TEXTS, TEXT),
    **dict.fromkeys(("options", "temperature", "recipe", "scores", "learnt_from"), OBJECT),
    **dict.fromkeys(("crop_px", "seed"), (int, "a whole number")),
    "labels": (list, "a list of texts"),
}
FIXED = {"input_px": 48, "normalisation": "per_crop"}
RANGES = {"crop_px": (32, 47), "unknown_below": (0.0, 1.0)}
"""What the keys of a record may hold."""
TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True)
class Record:
    """Everything that is needed to use weights rightly, and to make them again.

    `normalisation` is `per_crop`: every face is standardised by its own mean and deviation.
    `temperature` is that of each mode of `tta`.
    `data_sha256` are fingerprints joined by `+`: the last is the data set's, those before it are
    of other data, on which the nets that it learnt from were trained. `scores` maps a split and a
    mode to a figure between 0 and 1. `activations` are the least and largest input of layers, by
    name, on Training faces: what computing in int8 needs. `computed` says on which device and in
    which number format the net was trained. `learnt_from` holds the SHA-256 of the weights that it
    began with or was taught by (of a joint, its `sha256`), under what the recipe calls them.
    """

    name: str
    family: str
    architecture: str
    options: dict[str, Any]
    labels: list[str]
    input_px: int
    crop_px: int
    normalisation: str
    temperature: dict[str, float]
    unknown_below: float
    data_set: str
    data_sha256: str
    recipe: dict[str, Any]
    seed: int
    commit: str
    sha256: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    activations: dict[str, tuple[float, float]] = field(default_factory=dict)
    computed: str = ""
    learnt_from: dict[str, str] = field(default_factory=dict)


def record_path(weights: Path) -> Path:
    """The record that belongs to a weights file: the same name, ending in .json."""
    return weights.with_suffix(".json")


def save(
    weights: Path, net: nn.Module, record: Record, dtype: torch.dtype = torch.float32
) -> Record:
    """Write the net's parameters as `dtype` with the record beside them; returns that record.

    Raises CheckpointError if they cannot be written."""
    tensors = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in net.state_dict().items()
    }
    content = to_bytes(tensors)
    with write_errors_as(weights, CheckpointError):
        weights.parent.mkdir(parents=True, exist_ok=True)
        # Not by save_file, whose files nobody but their owner may read: another user trains than
        # the one that a service runs as.
        write_atomic(weights, content)
    known = replace(record, sha256=hashlib.sha256(content).hexdigest())
    write_record(weights, known)
    return known


def write_record(weights: Path, record: Record) -> None:
    """Replace the record of a weights file. Raises CheckpointError if that cannot be written."""
    path = record_path(weights)
    with write_errors_as(path, CheckpointError):
        write_json(path, record)


def read_record(weights: Path) -> Record:
    """Read and check the record of a weights file.

    Raises CheckpointError if it is missing or not one, naming the key and what is accepted.
    """
    path = record_path(weights)
    try:
        found = read_json(path, "record")
    except FileNotFoundError:
        raise CheckpointError(
            f"{weights}: its record {path.name} is missing; accepted is a .safetensors file "
            "with the .json record that training wrote beside it"
        ) from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: not a record of weights, but {type(found).__name__}")
    if wrong := sorted({f.name for f in fields(Record)} ^ {*found}):
        raise CheckpointError(f"{path}: not a record of weights; missing or unknown: {wrong}")
    _check(path, found)
    return Record(**{**found, "activations": _ranges(path, found["activations"])})


def read_json(path: Path, what: str) -> Any:
    """What a JSON file holds; `what` it should be stands in the CheckpointError for one that cannot
    be read. Raises FileNotFoundError where there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # also of thousands of digits
        raise CheckpointError(f"{path}: not a readable {what}: {error}") from error


def _check(path: Path, found: dict[str, Any]) -> None:
    need_kinds(path, found, KINDS)
    if not all(isinstance(label, str) for label in found["labels"]):
        raise CheckpointError(f"{path}: labels are {found['labels']}; accepted is a list of texts")
    for key, value in FIXED.items():
        if found[key] != value:
            raise CheckpointError(f"{path}: {key} is {found[key]!r}; accepted: {value}")
    for key, (least, most) in RANGES.items():
        need_number(path, key, found[key], least, most)
    for key, value in found["options"].items():
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"{path}: options.{key} is {value}; accepted is a finite number")
    need_temperatures(path, found["temperature"])
    need_scores(path, found["scores"])
    need_kinds(
        path, found["learnt_from"], dict.fromkeys(found["learnt_from"], TEXT), "learnt_from."
    )


def need_kinds(
    path: Path, found: dict[str, Any], kinds: Mapping[str, Kind], where: str = ""
) -> None:
    """Raise CheckpointError, naming file and key, where a value is of another kind."""
    for key, (kind, accepted) in kinds.items():
        if not isinstance(found[key], kind):
            raise CheckpointError(f"{path}: {where}{key} is {found[key]!r}; accepted is {accepted}")


def need_temperatures(path: Path, temperatures: dict[str, Any]) -> None:
    """Raise CheckpointError, naming file and key, for a temperature that is impossible."""
    for mode, value in temperatures.items():
        need_number(path, f"temperature.{mode}", value, *TEMPERATURES)


def need_scores(path: Path, scores: dict[str, Any]) -> None:
    """Raise CheckpointError, naming file and key, for a score that is no share."""
    for mode, share in scores.items():
        need_number(path, f"scores.{mode}", share, 0.0, 1.0)


def need_number(path: Path, key: str, value: Any, least: float, most: float) -> None:
    """Raise CheckpointError, naming file and key, for all but a number from least to most."""
    if type(value) not in (int, float) or not least <= value <= most:
        raise CheckpointError(f"{path}: {key} is {value!r}; accepted: {least:g} to {most:g}")


def _ranges(path: Path, found: Any) -> dict[str, tuple[float, float]]:
    """The activations as a record holds them: of each layer two numbers, the lesser first."""
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: activations is no object of layers and their ranges")
    for layer, pair in found.items():
        numbers = isinstance(pair, list) and all(type(v) in (int, float) for v in pair)
        if not numbers or len(pair) != 2 or not -1e6 < pair[0] < pair[1] < 1e6:
            raise CheckpointError(
                f"{path}: activations.{layer} is {pair!r}; accepted: two numbers, the lesser first"
            )
    return {layer: (float(low), float(high)) for layer, (low, high) in found.items()}


def load_into(weights: Path, net: nn.Module, record: Record) -> None:
    """Load a weights file into `net` as float32, after checking it against its record.

    Raises CheckpointError naming the file when it is missing, cut, or holds what torch cannot
    read, and file and record when it was changed or belongs to another architecture.
    """
    both = f"{weights} and its record {record_path(weights).name}"
    try:
        content = weights.read_bytes()
        tensors = from_bytes(content)
    except FileNotFoundError:
        raise CheckpointError(f"{weights}: no such weights file") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: cut short or not a safetensors file: {error}") from error
    except KeyError as error:
        raise CheckpointError(f"{weights}: holds {error}, which torch does not read") from error
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != got:
        odd = sorted(n for n in expected.keys() | got.keys() if expected.get(n) != got.get(n))
        raise CheckpointError(
            f"{both} do not fit: the record says {record.architecture} {record.options}, "
            f"but {len(odd)} tensors differ, the first is {odd[0]}"
        )
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise CheckpointError(f"{both} do not fit: the file's SHA-256 is not the recorded one")
    net.load_state_dict(tensors)
