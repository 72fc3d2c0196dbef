"""What `tests.bench.ablation` found, as a page of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from classifiers.expression import LABELS
from classifiers.expression.tta import VIEW_COUNT

HEAD = (
    "net",
    "loss",
    "augmentation",
    "crops",
    "parameters",
    "MFLOPs a face",
    "ms a face",
    "PublicTest",
    "unseen",
    "minutes of training",
)


@dataclass(frozen=True)
class Name:
    """How the tables call a net."""

    net: str
    loss: str
    augmentation: str

    def __str__(self) -> str:
        return f"{self.net}, {self.loss}, augmentation {self.augmentation}"

    def cells(self) -> str:
        return f"{self.net} | {self.loss} | {self.augmentation}"


@dataclass(frozen=True)
class Row:
    """What was found of one net with one number of crops.

    accuracy, unseen: shares of PublicTest, the latter of the faces of which Training holds no copy.
    recalls: of each class, in the order of LABELS. minutes: of training, of all nets of a joint.
    """

    name: Name
    seed: int
    crops: int
    parameters: int
    flops: int
    ms_per_face: float
    accuracy: float
    unseen: float
    recalls: tuple[float, ...]
    minutes: float


@dataclass(frozen=True)
class Setting:
    """What the page says beside the rows.

    classes: number of PublicTest's faces of each class, in the order of LABELS; unseen: of those
    of which Training holds no copy. joints: what each is made of. missing: what is not trained yet.
    """

    command: str
    machine: str
    batch: int
    classes: tuple[int, ...]
    unseen: int
    joints: tuple[str, ...]
    missing: tuple[str, ...]


def page(rows: Sequence[Row], setting: Setting) -> str:
    """The whole file. Rows of one name and number of crops, but of other seeds, become one line."""
    alike = grouped(rows)
    faces, rarest = sum(setting.classes), min(setting.classes)
    missing = "; ".join(setting.missing)
    late = f"\n\nNot trained yet: {missing}. Run the command again." if missing else ""
    made_of = "".join(f"\n\n{joint}." for joint in setting.joints)
    return f"""# Ablation

`{setting.command}`

Trained and timed on {setting.machine}. PublicTest has {faces:,} faces; *unseen* are the \
{setting.unseen:,} of which Training holds no copy. One standard error of an accuracy is \
{100 * (0.65 * 0.35 / faces) ** 0.5:.1f} points. {spread(alike)} *Cross entropy* is plain, \
*smoothed* and *adaptive* have the recipe's label smoothing. Without augmentation a face is only \
mirrored. Times are of batches of {setting.batch} faces, FLOPs count a multiplication with its \
addition as two. A joint is of the recipes' nets by plain cross entropy with augmentation; its \
minutes are those of all of them, and it leaves out nets that got no weight.

{table(alike)}{made_of}{late}

Recall of each class with ten crops, and its mean over the classes; in brackets the faces of a \
class. One standard error of the recall of {rarest} faces is up to {50 / rarest**0.5:.1f} points.

{recall_table(alike, setting.classes)}
"""


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of all seeds, by name and number of crops, in the order of the first seed."""
    keys = list(dict.fromkeys((row.name, row.crops) for row in rows))
    in_order = sorted(rows, key=lambda row: keys.index((row.name, row.crops)))
    return [list(same) for _, same in groupby(in_order, lambda row: (row.name, row.crops))]


def spread(alike: Sequence[Sequence[Row]]) -> str:
    """How far nets lie apart that differ in their seed alone."""
    ten = [
        [100 * row.accuracy for row in same]
        for same in alike
        if same[0].crops == VIEW_COUNT["ten_crop"] and len(same) > 1
    ]
    if not ten:
        return "One seed was trained of each: differences of a point mean nothing."
    deviation = statistics.mean(statistics.variance(each) for each in ten) ** 0.5
    return (
        "Accuracies are means over the seeds, with that of each seed behind it; by the seed alone "
        f"one with ten crops deviates by {deviation:.1f} points (standard deviation)."
    )


def table(alike: Sequence[Sequence[Row]]) -> str:
    """One line for each net and number of crops."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|" + "--:|" * (len(HEAD) - 3)]
    for same in alike:
        lines.append(
            f"| {same[0].name.cells()} | {same[0].crops} "
            f"| {_mean(row.parameters for row in same):,.0f} "
            f"| {_mean(row.flops for row in same) / 1e6:,.0f} "
            f"| {_mean(row.ms_per_face for row in same):.2f} "
            f"| {_shares([row.accuracy for row in same])} "
            f"| {_shares([row.unseen for row in same])} "
            f"| {_mean(row.minutes for row in same):.1f} |"
        )
    return "\n".join(lines)


def recall_table(alike: Sequence[Sequence[Row]], faces: Sequence[int]) -> str:
    """Of each net with ten crops, the recall of each class; `faces` is how many each has."""
    classes = [f"{label} ({number})" for label, number in zip(LABELS, faces, strict=True)]
    lines = [f"| net | loss | augmentation | {' | '.join(classes)} | mean |"]
    lines += ["|---|---|---|" + "--:|" * (len(LABELS) + 1)]
    for same in alike:
        if same[0].crops == VIEW_COUNT["ten_crop"]:
            recalls = [statistics.mean(of) for of in zip(*(r.recalls for r in same), strict=True)]
            shares = [f"{share:.1%}" for share in (*recalls, statistics.mean(recalls))]
            lines.append(f"| {same[0].name.cells()} | {' | '.join(shares)} |")
    return "\n".join(lines)


def _shares(shares: list[float]) -> str:
    each = ", ".join(f"{100 * share:.1f}" for share in shares)
    return f"{statistics.mean(shares):.1%}" + (f" ({each})" if len(shares) > 1 else "")


def _mean(values: Iterable[float]) -> float:
    return statistics.mean(values)
