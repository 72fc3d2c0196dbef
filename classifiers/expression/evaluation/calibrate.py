"""Prepare trained nets for int8: ranges of activations, temperatures, the threshold of `unknown`,
and what int8 scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from classifiers import checkpoint
from classifiers.atomic import check_writable, write_errors_as
from classifiers.errors import CheckpointError
from classifiers.expression import data, joint, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.data import Faces
from classifiers.expression.engines.activations import find_ranges
from classifiers.expression.evaluation.measure import (
    accuracies,
    figures,
    need_extra,
    read_splits,
)
from classifiers.expression.tta import STATIC_TTA, UNCHANGED
from classifiers.expression.weight_files import locate, nets_of, record_of


@dataclass(frozen=True)
class Calibrated:
    """A record that was brought up to date. `scores` are its figures on PublicTest by name."""

    name: str
    record: Path
    scores: dict[str, float]


def calibrate(
    weights: str | Path,
    source: Path,
    *,
    strict: bool = False,
    log: Callable[[str], None] = lambda line: None,
    report: Callable[[float, str], None] = lambda share, text: None,
) -> list[Calibrated]:
    """Write a net's activations, and its temperatures, `unknown_below` and scores in int8, into its
    record.

    The activations are found on FER2013 Training at `source`, the temperatures and `unknown_below`
    on its holdout, the scores on PublicTest. Scores in float32 that a net lacks are found too, of a
    joint all; its nets come first. `report` gets of each the share that is done, 0..1, and what is
    being done; `log` is told what was read and where int8 differs, and `strict` is that of
    `data.read`. Raises ExtraError without OpenVINO or scikit-learn, DataError, and CheckpointError
    for a net that cannot be loaded, was trained on other data, or has a record that cannot be
    written.
    """
    need_extra()
    import_module("classifiers.expression.engines.openvino")  # whether it is there, before the rest
    path = locate(weights)
    nets = nets_of(path)
    files = nets if path in nets else [*nets, path]
    for file in files:
        ExpressionClassifier.load(file, device="cpu")
        record_file = checkpoint.record_path(file)
        with write_errors_as(record_file, CheckpointError):
            check_writable(record_file)
    fer = data.read(source, strict, {"Training", "PublicTest"})
    train, held, public = fer.split("train"), fer.split("holdout"), fer.split("public")
    _check_data(files, fer.fingerprint())
    log(train.summary("Training"))
    log(held.summary("Holdout"))
    log(public.summary("PublicTest"))
    measure = partial(_measure, splits={"holdout": held, "public": public}, log=log, report=report)
    done = []
    for file in files:
        record = record_of(file)
        if isinstance(record, joint.Joint):
            whole = replace(record, **measure(file))
            joint.save(file, whole)
            done.append(Calibrated(whole.name, file, whole.scores))
            continue
        net = ExpressionClassifier.load(file, device="cpu").nets[0].module
        record = replace(record, activations=find_ranges(net, train.images, record.crop_px, "cpu"))
        checkpoint.write_record(file, record)
        record = replace(record, **measure(file))
        checkpoint.write_record(file, record)
        done.append(Calibrated(record.name, checkpoint.record_path(file), record.scores))
    return done


def _check_data(files: list[Path], data_sha256: str) -> None:
    """Raise CheckpointError where a record's figures are of other data than those to come."""
    for file in files:
        known = provenance.own(record_of(file).data_sha256)
        if known not in ("", data_sha256):
            raise CheckpointError(
                f"{file}: its figures are of data whose fingerprint begins with {known[:7]}, that "
                f"of --data begins with {data_sha256[:7]}; accepted is the data that it was "
                "trained on"
            )


def _measure(
    file: Path,
    splits: Mapping[str, Faces],
    log: Callable[[str], None],
    report: Callable[[float, str], None],
) -> dict[str, Any]:
    """What a file's record is to say: its temperatures, `unknown_below`, and its scores with the
    accuracy on PublicTest in int8, `public_{tta}_int8`, of every mode."""
    low = ExpressionClassifier.load(file, device="cpu", engine="openvino", log=log)
    low.temperatures = UNCHANGED  # they are what is sought
    record = low.record
    lacks = {f"{split}_{tta}" for split in splits for tta in STATIC_TTA}
    if not isinstance(record, joint.Joint):  # whose scores go by its nets' temperatures
        lacks -= record.scores.keys()
    nets = [low, ExpressionClassifier.load(file, device="cpu")] if lacks else [low]
    guessed = read_splits(nets, splits, report)
    in_int8 = {key: parts[0] for key, parts in guessed.items()}
    in_float32 = {key: parts[-1] for key, parts in guessed.items()}
    found = figures(in_int8, splits, record.recipe.get("tta", "ten_crop"))  # a joint's names one
    scores = dict(record.scores)
    for tta in STATIC_TTA:
        scores[f"public_{tta}_int8"] = found["scores"][f"public_{tta}"]
    scores |= {key: share for key, share in accuracies(in_float32, splits).items() if key in lacks}
    return {**found, "scores": scores}
