"""Prepare trained nets for int8: ranges of activations, temperatures, the threshold of `unknown`,
and what int8 scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.atomic import check_writable, write_errors_as
from classifiers.checkpoint import Record
from classifiers.errors import CheckpointError
from classifiers.expression import StaticTTA, data, joint, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.data import Faces
from classifiers.expression.engines.activations import find_ranges
from classifiers.expression.evaluation.measure import (
    accuracy,
    classify,
    fit_temperature,
    need_extra,
    unknown_threshold,
)
from classifiers.expression.tta import STATIC_TTA, UNCHANGED, VIEW_COUNT, with_temperature
from classifiers.expression.weight_files import locate, nets_of, record_of

FIGURES = list(product(("holdout", "public"), STATIC_TTA))
"""Split and mode of each accuracy in float32 that a record holds."""


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
    joint all; its nets come first. `report` gets the share that is done, 0..1, and what is being
    done; `log` is told what was read and where int8 differs, and `strict` is that of `data.read`.
    Raises ExtraError without OpenVINO or scikit-learn, DataError, and CheckpointError for a net
    that cannot be loaded, was trained on other data, or has a record that cannot be written.
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
    work = _Work(files, {"holdout": held, "public": public}, log, report)
    done = []
    for file in files:
        record = record_of(file)
        if isinstance(record, joint.Joint):
            whole = replace(record, **work.measure(file))
            joint.save(file, whole)
            done.append(Calibrated(whole.name, file, whole.scores))
            continue
        net = ExpressionClassifier.load(file, device="cpu").nets[0].module
        record = replace(record, activations=find_ranges(net, train.images, record.crop_px, "cpu"))
        checkpoint.write_record(file, record)
        record = replace(record, **work.measure(file))
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


def _wanting(record: Record | joint.Joint) -> list[tuple[str, StaticTTA]]:
    """Split and mode of the accuracies in float32 that are to be found: those that a net's record
    lacks, and all of a joint's, which go by its nets' temperatures."""
    is_joint = isinstance(record, joint.Joint)
    return [key for key in FIGURES if is_joint or "_".join(key) not in record.scores]


class _Work:
    """Reads faces, and knows how much of all the work, counted in views, is done."""

    def __init__(
        self,
        files: list[Path],
        splits: dict[str, Faces],
        log: Callable[[str], None],
        report: Callable[[float, str], None],
    ) -> None:
        self._splits, self._log, self._report = splits, log, report
        self._read = 0
        self._all = sum(
            len(nets_of(file)) * VIEW_COUNT[tta] * len(splits[split].files)
            for file in files
            for split, tta in (*FIGURES, *_wanting(record_of(file)))
        )

    def measure(self, file: Path) -> dict[str, Any]:
        """What a file's record is to say: its temperatures, `unknown_below`, and its scores with
        the accuracy on PublicTest in int8, `public_{tta}_int8`, of every mode."""
        low = ExpressionClassifier.load(file, device="cpu", engine="openvino", log=self._log)
        scores = dict(low.record.scores)
        temperature: dict[str, float] = {}
        if isinstance(low.record, joint.Joint):
            low.temperatures = UNCHANGED
        else:
            low.nets = (replace(low.nets[0], temperatures=UNCHANGED),)
        held = self._splits["holdout"]
        unknown_below = low.unknown_below
        for tta in STATIC_TTA:
            plain = self._guess(low, "holdout", tta)
            temperature[tta] = round(fit_temperature(plain, held), 4)
            if tta == low.record.recipe.get("tta", "ten_crop"):  # a joint's names one
                sure = with_temperature(torch.from_numpy(plain), temperature[tta]).numpy()
                unknown_below = unknown_threshold(sure, held.labels)
            guessed = self._guess(low, "public", tta)
            scores[f"public_{tta}_int8"] = round(accuracy(guessed, self._splits["public"]), 5)
        whole = ExpressionClassifier.load(file, device="cpu")
        for split, tta in _wanting(low.record):
            guessed = self._guess(whole, split, tta)
            scores[f"{split}_{tta}"] = round(accuracy(guessed, self._splits[split]), 5)
        return {"temperature": temperature, "unknown_below": unknown_below, "scores": scores}

    def _guess(
        self, classifier: ExpressionClassifier, split: str, tta: StaticTTA
    ) -> NDArray[np.float32]:
        classifier.tta = tta

        def read(number: int) -> None:
            self._read += classifier.view_count * number
            self._report(self._read / self._all, f"{classifier.name}, {classifier.engine}, {tta}")

        return classify(classifier, self._splits[split], done=read)
