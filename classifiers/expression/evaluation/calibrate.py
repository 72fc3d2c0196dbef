"""Prepare trained nets for int8: ranges of activations, temperatures, and what int8 scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from classifiers import checkpoint
from classifiers.atomic import check_writable, write_errors_as
from classifiers.errors import CheckpointError
from classifiers.expression import data, joint, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.data import Faces
from classifiers.expression.engines.activations import find_ranges
from classifiers.expression.evaluation.measure import accuracy, classify, fit_temperature
from classifiers.expression.tta import STATIC_TTA, UNCHANGED, VIEW_COUNT
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
    """Write a net's activations, and its temperatures and scores in int8, into its record.

    The activations are found on FER2013 Training at `source`, the temperatures on its holdout, the
    scores on PublicTest. Of a joint, its nets come first. `report` gets the share that is done,
    0..1, and what is being done; `log` is told what was read and where int8 differs, and `strict`
    is that of `data.read`.
    Raises ExtraError without OpenVINO, DataError, and CheckpointError for a net that cannot be
    loaded, was trained on other data, or has a record that cannot be written.
    """
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
    nets_read = sum(len(nets_of(file)) * (2 if file.suffix == ".json" else 1) for file in files)
    reads = nets_read * (len(held.files) + len(public.files))
    work = _Work(reads * sum(VIEW_COUNT[tta] for tta in STATIC_TTA), log, report)
    done = []
    for file in files:
        record = record_of(file)
        if isinstance(record, joint.Joint):
            temperature, scores = work.measure(file, held, public)
            whole = replace(record, temperature=temperature, scores=scores)
            joint.save(file, whole)
            done.append(Calibrated(whole.name, file, whole.scores))
            continue
        net = ExpressionClassifier.load(file, device="cpu").nets[0].module
        record = replace(record, activations=find_ranges(net, train.images, record.crop_px, "cpu"))
        checkpoint.write_record(file, record)
        temperature, scores = work.measure(file, held, public)
        record = replace(record, temperature=temperature, scores=scores)
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


class _Work:
    """Reads faces in int8, and knows how much of all the work, counted in views, is done."""

    def __init__(
        self, views: int, log: Callable[[str], None], report: Callable[[float, str], None]
    ) -> None:
        self._log, self._report = log, report
        self._all, self._read = views, 0

    def measure(
        self, file: Path, held: Faces, public: Faces
    ) -> tuple[dict[str, float], dict[str, float]]:
        """A file's temperatures, and its scores with the accuracy on PublicTest in int8,
        `public_{tta}_int8`, of every mode. Of a joint those in float32 are found anew too."""
        classifier = ExpressionClassifier.load(file, device="cpu", engine="openvino", log=self._log)
        temperature: dict[str, float] = {}
        scores = dict(classifier.record.scores)
        whole = None
        if isinstance(classifier.record, joint.Joint):
            classifier.temperatures = UNCHANGED
            whole = ExpressionClassifier.load(file, device="cpu")
        else:
            classifier.nets = (replace(classifier.nets[0], temperatures=UNCHANGED),)
        for tta in STATIC_TTA:
            classifier.tta = tta
            view_count, text = classifier.view_count, f"{classifier.name} in int8, {tta}"

            def read(number: int, view_count: int = view_count, text: str = text) -> None:
                self._read += view_count * number
                self._report(self._read / self._all, text)

            plain = classify(classifier, held, done=read)
            temperature[tta] = round(fit_temperature(plain, held), 4)
            guessed = classify(classifier, public, done=read)
            scores[f"public_{tta}_int8"] = round(accuracy(guessed, public), 5)
            if whole is not None:  # What a joint says goes by its nets' temperatures.
                whole.tta = tta
                for split, faces in (("holdout", held), ("public", public)):
                    guessed = classify(whole, faces, done=read)
                    scores[f"{split}_{tta}"] = round(accuracy(guessed, faces), 5)
        return temperature, scores
