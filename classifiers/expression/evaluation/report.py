"""An evaluation on paper: report.md for people, report.json for programs, and plots."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from classifiers.expression import LABELS
from classifiers.expression.evaluation.corruptions import Cost
from classifiers.expression.evaluation.scores import (
    BINS,
    DRAWS,
    RESAMPLES,
    Bin,
    ClassScores,
    Comparison,
    Quarter,
    Scores,
)

MARKDOWN = "report.md"
JSON = "report.json"
COUNTS = "confusion.png"
SHARES = "confusion_normalised.png"
RELIABILITY = "reliability.png"
CORRUPTION_COLUMNS = ("corruption", "accuracy", "points lost", "aim: at most", "each")


@dataclass(frozen=True)
class Subject:
    """What was measured, and how to measure it again.

    split_sha256: over labels and pixels of the images. seed: of the bootstrap, the jitter and the
    ECE by chance. versions: of affectd and of what it stands on, by name. in_training: images
    whose pixels Training holds, less its holdout where that is the split; None where the data
    holds no Training. warning: why the net may have learnt images that the column "not in training"
    counts; empty where that is not so.
    """

    weights: str
    file: str
    sha256: str
    temperature: float
    unknown_below: float
    data: str
    split: str
    split_sha256: str
    tta: str
    engine: str
    device: str
    seed: int
    command: str
    versions: dict[str, str]
    in_training: int | None
    warning: str = ""


@dataclass(frozen=True)
class Report:
    """All figures of an evaluation. Shares are 0..1; None is a figure that is not defined.

    against_warning: the subject's `warning`, of the other net.
    """

    subject: Subject
    plain: Scores
    not_in_training: Scores | None
    classes: list[ClassScores]
    confusion: list[list[int]]
    reliability: list[Bin]
    quarters: dict[str, list[Quarter]]
    corruptions: list[Cost]
    against: Comparison | None
    against_not_in_training: Comparison | None
    against_warning: str = ""


def write(report: Report, folder: Path) -> None:
    """Write report.json, report.md and the plots into `folder`, which is made if it is missing.

    Raises OSError when one of them cannot be written, ExtraError without matplotlib.
    """
    from classifiers.expression.evaluation import plots

    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"labels": LABELS, **asdict(report)}, indent=2, allow_nan=False)
    (folder / JSON).write_text(text + "\n", encoding="utf-8")
    title = f"{report.subject.weights} on {report.subject.split}, {report.subject.tta}"
    plots.confusion(np.array(report.confusion), title, folder / COUNTS, folder / SHARES)
    plots.reliability(report.reliability, report.plain.ece, title, folder / RELIABILITY)
    (folder / MARKDOWN).write_text("\n".join(_markdown(report)) + "\n", encoding="utf-8")


def headlines(scores: Scores) -> dict[str, str]:
    """The headline figures by name, as people read them."""
    return {
        "images": f"{scores.images:,}",
        "accuracy": percent(scores.accuracy),
        "95 % interval": interval(scores),
        "NLL": nll(scores.nll),
        "95 % interval of NLL": "–"
        if scores.nll_interval is None
        else " to ".join(map(nll, scores.nll_interval)),
        "macro precision": percent(scores.precision),
        "macro recall": percent(scores.recall),
        "macro F1": percent(scores.f1),
        "macro AUC": number(scores.auc),
        "Cohen's kappa": number(scores.kappa),
        "Hamming distance": number(scores.hamming),
        f"ECE, {BINS} bins": number(scores.ece),
        "ECE by chance alone": "{:.3f}, seldom above {:.3f}".format(*scores.ece_by_chance),
        "answered": percent(scores.answered),
        "right of the answered": percent(scores.right_answered),
    }


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(scores: Scores) -> str:
    if scores.interval is None:
        return "–"
    return "{:.2f} to {:.2f} %".format(*(100 * edge for edge in scores.interval))


def nll(value: float) -> str:
    return f"{value:.4f}"  # nets of one family differ in the third digit


def plus_minus(value: float, error: float | None, form: str, unit: float = 1.0) -> str:
    """A figure and its standard error, if it has one: `+1.20 ± 0.45`."""
    text = f"{unit * value:{form}}"
    return text if error is None else f"{text} ± {unit * error:{form.lstrip('+')}}"


def odds(p: float) -> str:
    """A p value with three digits, or that it is below 0.001."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _markdown(report: Report) -> Iterator[str]:
    subject = report.subject
    yield f"# {subject.weights} on {subject.split}"
    yield ""
    yield from _table(
        ("", ""),
        [
            ("weights", f"{subject.weights} (`{subject.file}`)"),
            ("SHA-256 of the weights", f"`{subject.sha256}`"),
            ("data, split", f"`{subject.data}`, {subject.split}"),
            ("SHA-256 of the split", f"`{subject.split_sha256}`"),
            ("views of a face", subject.tta),
            ("engine", f"{subject.engine} on {subject.device}"),
            ("temperature, unknown below", f"{subject.temperature}, {subject.unknown_below}"),
            ("seed", f"{subject.seed} (bootstrap, jitter, ECE by chance)"),
            ("command", f"`{subject.command}`"),
            ("versions", ", ".join(f"{name} {n}" for name, n in subject.versions.items())),
        ],
    )
    yield "## Figures"
    yield ""
    plain = headlines(report.plain)
    unseen = headlines(report.not_in_training) if report.not_in_training else {}
    yield from _table(
        ("", "all", "not in training"),
        [(name, text, unseen.get(name, "–")) for name, text in plain.items()],
    )
    yield (
        f"{_learnt(subject)} The intervals are those of {RESAMPLES} bootstrap "
        "resamples of the images. NLL is the mean negative log-likelihood of the labels. Hamming "
        "distance is the share of wrong labels. ECE: mean "
        f"distance between accuracy and top probability over {BINS} bins of equal width, "
        "by images; by chance alone: that of a perfectly calibrated net with these very "
        f"probabilities, mean and 97.5 % bound of {DRAWS} draws of the labels. "
        "Answered are images whose top probability is at least "
        f"{subject.unknown_below}; the others would be `unknown`."
    )
    yield ""
    yield "## By class"
    yield ""
    yield from _table(
        ("class", "images", "precision", "recall", "F1", "AUC"),
        class_rows(report.classes),
    )
    yield f"![Confusion matrix, images]({COUNTS})"
    yield ""
    yield f"![Confusion matrix, shares of each label]({SHARES})"
    yield ""
    yield "## How sure, how right"
    yield ""
    yield f"![Reliability diagram]({RELIABILITY})"
    yield ""
    yield "## By light and sharpness"
    yield ""
    yield (
        "Four equal parts of the images, from the least to the most: brightness is the mean grey "
        "level, contrast the deviation of the grey levels, blur the variance of the "
        "Laplacian (least where an image is most blurred)."
    )
    yield ""
    yield from _table(
        ("property", "from", "to", "accuracy", "95 % interval", "NLL", "macro F1", "kappa"),
        [
            (
                name,
                f"{part.low:.1f}",
                f"{part.high:.1f}",
                percent(part.scores.accuracy),
                interval(part.scores),
                nll(part.scores.nll),
                percent(part.scores.f1),
                number(part.scores.kappa),
            )
            for name, parts in report.quarters.items()
            for part in parts
        ],
    )
    if report.corruptions:
        yield "## Corruptions"
        yield ""
        yield from _table(CORRUPTION_COLUMNS, list(corruption_rows(report)))
        yield (
            "± is the standard error of what the same images lose. Where the accuracy is a mean, "
            "each sign or direction is given."
        )
        yield ""
    if report.against is not None:
        yield f"## Against {report.against.other}"
        yield ""
        yield from _table(
            ("", f"{report.against.other} right", "wrong"),
            [
                (
                    f"{subject.weights}, {subject.tta}, {subject.engine} on {subject.device} right",
                    f"{report.against.both_right:,}",
                    f"{report.against.only_first:,}",
                ),
                ("wrong", f"{report.against.only_second:,}", f"{report.against.both_wrong:,}"),
            ],
        )
        if report.against_warning:
            yield f"**{report.against_warning}.**"
            yield ""
        for line in verdicts(report):
            yield line
            yield ""
        yield "± is the standard error of the difference, image by image."
        yield ""


def _learnt(subject: Subject) -> str:
    """Which of the images the net may have learnt from, in a sentence."""
    if subject.in_training is None:
        return "The data holds no Training, so that what the net learnt from is not left out."
    if subject.warning:
        return f"**{subject.warning}.**"
    if subject.split == "holdout":
        return (
            "The holdout is the part of FER2013's Training that no net is trained on; its "
            "temperature, `unknown` and a joint's weights were found on it, so those figures "
            "flatter."
        )
    return (
        f"{subject.in_training:,} of these images stand in FER2013's Training too, pixel by pixel; "
        "the second column leaves them out."
    )


def class_rows(classes: Sequence[ClassScores]) -> list[tuple[str, ...]]:
    """Class, images, precision, recall, F1 and AUC, as people read them."""
    return [
        (
            c.label,
            f"{c.images:,}",
            percent(c.precision),
            percent(c.recall),
            percent(c.f1),
            number(c.auc),
        )
        for c in classes
    ]


def corruption_rows(report: Report) -> Iterator[tuple[str, ...]]:
    """What CORRUPTION_COLUMNS name of each corruption, after the clean images."""
    yield "clean", percent(report.plain.accuracy), "–", "", ""
    for cost in report.corruptions:
        aim = "" if cost.aim is None else f"{100 * cost.aim:g}: {'met' if cost.met else 'missed'}"
        yield (
            cost.name,
            percent(cost.accuracy),
            plus_minus(cost.lost, cost.error, ".2f", 100),
            aim,
            ", ".join(f"{name} {100 * share:.2f}" for name, share in cost.variants.items()),
        )


def verdicts(report: Report) -> Iterator[str]:
    """What McNemar's test says: a line for all images, and one for those not in training."""
    for name, scores, against in (
        ("all", report.plain, report.against),
        ("not in training", report.not_in_training, report.against_not_in_training),
    ):
        if scores is not None and against is not None:
            yield f"{name}: {_verdict(scores, against)}"


def _verdict(scores: Scores, against: Comparison) -> str:
    ahead = plus_minus(against.accuracy_ahead, against.accuracy_error, "+.2f", 100)
    return (
        f"{percent(scores.accuracy)} against {percent(against.accuracy)} of {against.other}, "
        f"{ahead} points: {against.only_first} images only the first gets right, "
        f"{against.only_second} only the second (McNemar, exact: p {odds(against.p)}); "
        f"NLL {nll(scores.nll)} against {nll(against.nll)}, "
        f"{plus_minus(against.nll_ahead, against.nll_error, '+.4f')}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
    yield ""
