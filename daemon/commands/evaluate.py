"""`affectd evaluate` on a terminal. Nothing here is loaded by the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from classifiers.atomic import check_writable
from classifiers.checkpoint import record_path
from classifiers.errors import EngineError
from classifiers.expression import DeviceSetting, EngineSetting, Split, StaticTTA, data, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.data.kaggle import CSV
from classifiers.expression.engines.cuda import device_for
from classifiers.expression.evaluation import corruptions, predictions, scores
from classifiers.expression.evaluation.measure import classify
from classifiers.expression.evaluation.report import (
    CORRUPTION_COLUMNS,
    Report,
    Subject,
    class_rows,
    corruption_rows,
    headlines,
    verdicts,
    write,
)
from classifiers.expression.oom import explain_oom
from classifiers.expression.tta import temperature_of
from classifiers.expression.weight_files import locate, nets_of
from daemon.commands.progress import progress_bar
from daemon.errors import ConfigError, Reason, SinkError
from daemon.sinks.disk import sink_errors
from daemon.version import versions

SEED = 0  # of the bootstrap, the jitter and the ECE by chance

Read = Callable[[ExpressionClassifier, NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class Task:
    """What to evaluate on what, and what to leave behind. `against_engine` and `against_tta` are
    `engine` and `tta` where they are None. `command` is how the user asked."""

    source: Path
    split: Split
    weights: str
    tta: StaticTTA
    device: DeviceSetting = "auto"
    engine: EngineSetting = "torch"
    predictions: Path | None = None
    report: Path | None = None
    corruptions: bool = False
    against: str | None = None
    against_engine: EngineSetting | None = None
    against_tta: StaticTTA | None = None
    strict: bool = False
    command: str = ""


@explain_oom(EngineError, "take --device cpu")
def evaluate_expression(task: Task, out: Console, err: Console) -> Report:
    """Measure, print, and write what the task asks for; a progress bar runs on `err`.

    Raises ConfigError for a task that cannot be meant, CheckpointError or DataError for what cannot
    be read, EngineError where the device or the engine cannot do it, and SinkError for a target
    that cannot be written, before the long work where that is known by then.
    """
    for option, value in (
        ("--against-engine", task.against_engine),
        ("--against-tta", task.against_tta),
    ):
        if value and not task.against:
            raise ConfigError(f"{option} is of the net that --against names; accepted: with it")
    if task.device == "cuda":
        device_for(task.device, "--device")  # `load` would name a key of the configuration
    _check_targets(task)
    load = partial(ExpressionClassifier.load, device=task.device, log=err.print)
    classifier = load(task.weights, engine=task.engine, tta=task.tta)
    other = None
    if task.against:
        other = load(
            task.against,
            engine=task.against_engine or task.engine,
            tta=task.against_tta or task.tta,
        )
    fer = data.read(task.source, task.strict)
    faces = fer.split(task.split)
    err.print(faces.summary(task.split))
    unseen = _unseen(task, fer, err)
    warnings = {} if unseen is None else _warnings(task, fer, err)
    passes = 1 + (other is not None) + (corruptions.passes() if task.corruptions else 0)
    with _reading(faces, passes, err) as read:
        guessed = read(classifier, faces.images)
        if task.predictions is not None:
            with sink_errors(task.predictions):
                predictions.write(task.predictions, faces, guessed)
        report = _report(task, classifier, other, faces, unseen, warnings, guessed, read)
    _print(report, out)
    if task.report is not None:
        with sink_errors(task.report):
            write(report, task.report)
        err.print(f"Report: {task.report}")
    return report


def _report(
    task: Task,
    classifier: ExpressionClassifier,
    other: ExpressionClassifier | None,
    faces: data.Faces,
    unseen: NDArray[np.bool_] | None,
    warnings: dict[str, str],
    guessed: NDArray[np.float32],
    read: Read,
) -> Report:
    labels, limit = faces.labels, classifier.unknown_below
    plain = scores.score(guessed, labels, limit, SEED)
    assert plain is not None  # a split has images
    against = against_unseen = None
    if other is not None:
        # The same weights may be read in other views, by another engine, on another device.
        name = f"{other.name}, {other.tta}, {other.engine} on {other.device}"
        theirs = read(other, faces.images)
        against = scores.compare(guessed, theirs, labels, name)
        if unseen is not None and unseen.any():
            against_unseen = scores.compare(guessed[unseen], theirs[unseen], labels[unseen], name)
    costs = []
    if task.corruptions:
        costs = corruptions.costs(
            lambda images: read(classifier, images),
            faces.images,
            labels,
            guessed.argmax(1) == labels,
            SEED,
        )
    return Report(
        subject=Subject(
            weights=classifier.name,
            file=locate(task.weights).name,
            sha256=classifier.record.sha256,
            temperature=temperature_of(classifier.record.temperature, task.tta),
            unknown_below=limit,
            data=task.source.name,
            split=task.split,
            split_sha256=faces.fingerprint(),
            tta=task.tta,
            engine=classifier.engine,
            device=classifier.device,
            seed=SEED,
            command=task.command,
            versions=versions("scikit-learn", "scipy", "matplotlib"),
            in_training=None if unseen is None else int((~unseen).sum()),
            warning=warnings.get(task.weights, ""),
        ),
        plain=plain,
        not_in_training=None
        if unseen is None
        else scores.score(guessed[unseen], labels[unseen], limit, SEED),
        classes=scores.by_class(guessed, labels),
        confusion=scores.confusion(guessed, labels).tolist(),
        reliability=scores.reliability(guessed, labels),
        quarters=scores.quarters(faces.images, guessed, labels, limit, SEED),
        corruptions=costs,
        against=against,
        against_not_in_training=against_unseen,
        against_warning=warnings.get(task.against or "", ""),
    )


def _unseen(task: Task, fer: data.FER2013, err: Console) -> NDArray[np.bool_] | None:
    """Which faces stand nowhere in Training, bool [N]; None where there is none."""
    if not fer.usages["Training"].files:
        err.print(f"{task.source} holds no Training: what the net learnt from is not left out")
        return None
    return fer.unseen(task.split)


def _warnings(task: Task, fer: data.FER2013, err: Console) -> dict[str, str]:
    """A warning of the net or its rival, by name, if it was trained on other data than this."""
    fingerprint = fer.fingerprint()
    found = {}
    for weights in dict.fromkeys(filter(None, (task.weights, task.against))):
        if other := provenance.warning(weights, fingerprint):
            found[weights] = (
                f"{other}; it may have learnt images that the column 'not in training' counts"
            )
            err.print(found[weights])
    return found


@contextmanager
def _reading(faces: data.Faces, passes: int, err: Console) -> Iterator[Read]:
    """A way to classify images of these faces that shows how much is left of all passes."""
    columns = (
        TextColumn("faces"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with progress_bar(err, *columns) as bar:
        line = bar.add_task("", total=passes * len(faces.images))

        def read(
            classifier: ExpressionClassifier, images: NDArray[np.uint8]
        ) -> NDArray[np.float32]:
            changed = replace(faces, images=images)
            return classify(classifier, changed, done=lambda n: bar.advance(line, n))

        yield read


def _print(report: Report, out: Console) -> None:
    subject, unseen = report.subject, report.not_in_training
    out.print(
        f"{subject.weights} on {subject.split}, {subject.tta}, {subject.engine} on {subject.device}"
    )
    table = Table("", "all", "not in training", box=None)
    rest = headlines(unseen) if unseen is not None else {}
    for name, text in headlines(report.plain).items():
        table.add_row(name, text, rest.get(name, "–"))
    out.print(table)
    table = Table("class", "images", "precision", "recall", "F1", "AUC", box=None)
    for row in class_rows(report.classes):
        table.add_row(*row)
    out.print(table)
    if report.corruptions:
        table = Table(*CORRUPTION_COLUMNS, box=None)
        for cells in corruption_rows(report):
            table.add_row(*cells)
        out.print(table)
    for line in verdicts(report):
        out.print(line)


def _check_targets(task: Task) -> None:
    """Raise SinkError for a target that cannot be written or would replace what is read, ExtraError
    where plots cannot be."""
    if task.predictions is not None:
        with sink_errors(task.predictions):
            real = task.predictions.resolve()
            for option, path in _inputs(task):
                inside = task.predictions.exists() and real.is_relative_to(path.resolve())
                if inside or real == path.resolve():
                    raise SinkError(
                        Reason.NOT_WRITABLE,
                        f"{task.predictions} is a file of {option}; accepted is another file",
                    )
            task.predictions.parent.mkdir(parents=True, exist_ok=True)
            check_writable(task.predictions)
    if task.report is not None:
        import_module("classifiers.expression.evaluation.plots")  # whether matplotlib is there
        with sink_errors(task.report):
            task.report.mkdir(parents=True, exist_ok=True)


def _inputs(task: Task) -> Iterator[tuple[str, Path]]:
    """The files and folders that are read, with the option that names them."""
    yield "--data", task.source
    yield "--data", task.source / CSV
    for option, weights in (("--weights", task.weights), ("--against", task.against)):
        if weights:
            file = locate(weights)
            for net in (file, *nets_of(file)):
                yield option, net
                yield option, record_path(net)
