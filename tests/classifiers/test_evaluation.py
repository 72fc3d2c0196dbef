"""Figures of an evaluation: against scikit-learn, by hand where it has none, and what is fitted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from classifiers.errors import DataError
from classifiers.expression import LABELS, StaticTTA
from classifiers.expression.data import Faces
from classifiers.expression.evaluation import plots, predictions, scores
from classifiers.expression.evaluation.measure import (
    accuracy,
    figures,
    fit_temperature,
    losses,
    unknown_threshold,
)
from classifiers.expression.evaluation.report import Report, Subject, write
from classifiers.expression.tta import STATIC_TTA

PNG = b"\x89PNG\r\n\x1a\n"


def sample(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities [n, 7] that lean to their labels [n]; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(7), rng.integers(0, 7, n - 7)])
    logits = rng.normal(0, 1, (n, 7))
    logits[np.arange(n), labels] += 1.2
    guessed = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return guessed.astype(np.float32), labels


def faces(labels: NDArray[np.int64]) -> Faces:
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 48, 48), dtype=np.uint8)
    return Faces(images, labels, tuple(f"test/{i},{label}.jpg" for i, label in enumerate(labels)))


def one_sure(right: list[bool], top: list[float]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities whose top is class 0 with `top`, and labels that are 0 where it is right."""
    tops = np.array(top, np.float32)[:, None]
    guessed = np.concatenate([tops, np.repeat((1 - tops) / 6, 6, axis=1)], axis=1)
    return guessed, np.where(right, 0, 1).astype(np.int64)


def test_headlines_are_scikit_learn_s() -> None:
    guessed, labels = sample(400)
    predicted = guessed.argmax(1)
    found = scores.score(guessed, labels, 0.4, seed=0)
    assert found is not None
    macro = metrics.precision_recall_fscore_support(labels, predicted, average="macro")
    assert (found.precision, found.recall, found.f1) == pytest.approx(macro[:3])
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(labels, predicted))
    assert found.hamming == pytest.approx(1.0 - found.accuracy)
    shares = guessed / guessed.sum(1, keepdims=True)
    area = metrics.roc_auc_score(labels, shares, multi_class="ovr")
    assert found.auc == pytest.approx(area, abs=1e-5)
    assert found.nll == pytest.approx(metrics.log_loss(labels, shares), abs=1e-5)
    spreads = (found.accuracy * (1 - found.accuracy)) ** 0.5, losses(guessed, labels).std()
    for middle, interval, deviation in zip(
        (found.accuracy, found.nll), (found.interval, found.nll_interval), spreads, strict=True
    ):
        reach = 1.96 * deviation / 400**0.5
        assert interval == pytest.approx((middle - reach, middle + reach), abs=0.01)
    sure = guessed.max(1) >= 0.4
    assert found.answered == pytest.approx(sure.mean())
    assert found.right_answered == pytest.approx((predicted == labels)[sure].mean())


def test_the_interval_repeats_with_its_seed() -> None:
    guessed, labels = sample(300)
    first, again, other = (scores.score(guessed, labels, 0.4, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_figures_that_are_not_defined_are_none() -> None:
    guessed, labels = one_sure([True, True], [0.3, 0.35])
    found = scores.score(guessed, labels, 0.4, seed=0)
    assert found is not None
    assert (found.accuracy, found.f1, found.hamming) == (1.0, 1.0, 0.0)
    assert (found.auc, found.kappa, found.right_answered) == (None, None, None)
    classes = scores.by_class(guessed, labels)
    assert [c.recall for c in classes] == [1.0] + [None] * 6
    assert scores.score(guessed[:0], labels[:0], 0.4, seed=0) is None
    one = scores.score(guessed[:1], labels[:1], 0.4, seed=0)
    assert one is not None
    assert (one.interval, one.nll_interval) == (None, None)
    assert scores.compare(guessed[:1], guessed[:1], labels[:1], "itself").accuracy_error is None


def test_a_label_that_was_called_impossible_costs_much_and_not_all() -> None:
    """As much as with scikit-learn, which has the same least probability."""
    guessed, labels = np.eye(7, dtype=np.float32)[[0, 1]], np.array([0, 6])
    found = losses(guessed, labels)
    assert found.tolist() == pytest.approx([0.0, -np.log(np.finfo(np.float32).eps)])
    assert found.mean() == pytest.approx(metrics.log_loss(labels, guessed, labels=list(range(7))))


def test_calibration_error_by_hand() -> None:
    """Of 15 bins, 0.7 lies in the eleventh (.667 to .733) and 0.9 in the fourteenth."""
    guessed, labels = one_sure([True, False, True, True, True], [0.7, 0.7, 0.9, 0.9, 0.9])
    bins = scores.reliability(guessed, labels)
    assert [(i, b.images) for i, b in enumerate(bins) if b.images] == [(10, 2), (13, 3)]
    assert bins[10].accuracy == pytest.approx(0.5)
    assert bins[10].confidence == pytest.approx(0.7)
    assert bins[0].accuracy is None
    assert scores.ece(bins) == pytest.approx((2 * 0.2 + 3 * 0.1) / 5)


def test_a_calibrated_net_has_the_calibration_error_that_chance_gives() -> None:
    """Of 900 images at 0.5 the share that is right strays by 1/60: |N(0, 1/60)|, mean and bound.

    Being right half the time is likewise by chance; being right always is not.
    """
    guessed, labels = one_sure([True, False] * 450, [0.5] * 900)
    found = scores.score(guessed, labels, 0.4, seed=0)
    assert found is not None
    mean, bound = found.ece_by_chance
    assert mean == pytest.approx((2 / np.pi) ** 0.5 / 60, rel=0.1)
    assert bound == pytest.approx(2.24 / 60, rel=0.1)
    assert found.ece < bound < scores.ece(scores.reliability(guessed, np.zeros(900, np.int64)))


def test_by_chance_the_bins_of_calibration_are_those_of_the_error() -> None:
    """Sure images, as often right as sure, are never off; four bins are so on their own."""
    guessed, _ = one_sure([True] * 4, [1.0] * 4)
    assert scores.ece_by_chance(guessed, 0) == (0.0, 0.0)
    guessed, _ = one_sure([True] * 4, [0.3, 0.5, 0.7, 0.9])
    lowest = (0.3 + 0.5 + 0.3 + 0.1) / 4  # all as is likeliest
    assert lowest < scores.ece_by_chance(guessed, 0)[0] < 0.5


def test_a_probability_of_one_has_its_place() -> None:
    guessed, labels = one_sure([True], [1.0])
    assert scores.reliability(guessed * np.float32(1.000001), labels)[-1].images == 1


def test_quarters_go_by_what_they_are_called() -> None:
    guessed, labels = sample(80)
    images = np.random.default_rng(0).integers(100, 120, (80, 48, 48)).astype(np.uint8)
    images[:20] //= 2  # the darkest and flattest
    guessed[:20] = np.eye(7, dtype=np.float32)[labels[:20]]  # and the only ones all right
    found = scores.quarters(images, guessed, labels, 0.4, seed=0)
    for name in ("brightness", "contrast", "blur"):
        assert [part.scores.images for part in found[name]] == [20] * 4
        assert found[name][0].scores.accuracy == 1.0
        assert max(part.scores.accuracy for part in found[name][1:]) < 1.0
        edges = [edge for part in found[name] for edge in (part.low, part.high)]
        assert edges == sorted(edges)
    assert found["brightness"][0].high == pytest.approx(54.5, abs=0.5)


def test_contrast_is_not_blur() -> None:
    """A ramp has much of the one and none of the other; fine squares, 10 levels apart, the reverse:
    of each pixel the neighbours differ by 40 in all."""
    ramp = np.tile(np.linspace(0, 235, 48), (48, 1))
    squares = 100 + 10 * (np.indices((48, 48)).sum(0) % 2)
    images = np.array([ramp, squares, ramp / 20, np.full((48, 48), 90)]).astype(np.uint8)
    guessed, labels = one_sure([True, False, False, False], [0.9] * 4)
    found = scores.quarters(images, guessed, labels, 0.4, seed=0)
    right = {name: [part.scores.accuracy for part in parts] for name, parts in found.items()}
    assert right["contrast"] == [0, 0, 0, 1]
    assert right["blur"].index(1) < 3
    assert found["contrast"][3].high == pytest.approx(images[0].std())
    assert found["blur"][3].high == pytest.approx(40.0**2)


def test_fewer_than_four_have_no_quarters() -> None:
    guessed, labels = one_sure([True] * 3, [0.9] * 3)
    with pytest.raises(DataError, match="3 faces are too few to be evaluated; accepted is a split"):
        scores.quarters(np.zeros((3, 48, 48), np.uint8), guessed, labels, 0.4, seed=0)


def test_mcnemar_by_hand() -> None:
    """One only the first gets right, five only the second: 2 x (1 + 6) / 2^6.

    So the first is behind by 4 of 10; of +1, -1 five times and 0 four times, the squares' sum about
    the mean is 6 - 10 x 0.4^2.
    """
    first, labels = one_sure([True] * 4 + [False] * 6, [0.9] * 10)
    second = first.copy()
    second[0] = second[0, ::-1]
    second[4:9] = np.roll(second[4:9], 1, axis=1)
    found = scores.compare(first, second, labels, "other")
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (3, 1, 5, 1)
    assert found.p == pytest.approx(2 * (1 + 6) / 2**6)
    assert found.accuracy == pytest.approx(0.8)
    assert found.accuracy_ahead == pytest.approx(-0.4)
    assert found.accuracy_error == pytest.approx(((6 - 1.6) / 9 / 10) ** 0.5)
    assert scores.compare(first, first, labels, "itself").p == 1.0


def test_of_the_likelihoods_the_difference_is_paired() -> None:
    """Of two nets that find the same images hard, one always a nat behind the other."""
    first, labels = sample(50)
    second = first.copy()
    second[np.arange(50), labels] /= np.float32(np.e)
    found = scores.compare(first, second, labels, "other")
    assert found.nll == pytest.approx(losses(second, labels).mean())
    assert found.nll_ahead == pytest.approx(-1.0)
    assert found.nll_error == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("sureness", [0.4, 1.0, 2.5])
def test_the_temperature_is_how_much_surer_than_right_a_net_is(sureness: float) -> None:
    """Labels drawn from probabilities, whose logarithms the net says so many times as large."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (20_000, 7))
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (right.cumsum(1) > rng.random((len(right), 1))).argmax(1)
    said = right**sureness
    guessed = (said / said.sum(1, keepdims=True)).astype(np.float32)
    drawn = Faces(np.empty((len(labels), 0, 0), np.uint8), labels, ("",) * len(labels))
    assert fit_temperature(guessed, drawn) == pytest.approx(sureness, rel=0.05)


def test_figures_are_fitted_to_the_holdout_alone() -> None:
    """And `unknown_below` goes by the calibrated probabilities of the mode that is asked for."""
    plain: dict[tuple[str, StaticTTA], NDArray[np.float32]] = {}
    splits: dict[str, Faces] = {}
    for seed, split in enumerate(("holdout", "public")):
        guessed, labels = sample(400, seed)
        splits[split] = Faces(np.empty((400, 0, 0), np.uint8), labels, ("",) * 400)
        for number, tta in enumerate(STATIC_TTA):
            powers = guessed ** (0.5 + 0.3 * number + seed)
            plain[split, tta] = powers / powers.sum(1, keepdims=True)
    found = figures(plain, splits, "flip")
    held = splits["holdout"]
    fitted = {tta: fit_temperature(plain["holdout", tta], held) for tta in STATIC_TTA}
    assert found["temperature"] == pytest.approx(fitted, abs=1e-4)
    powers = plain["holdout", "flip"] ** (1.0 / fitted["flip"])
    sure = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    assert found["unknown_below"] == unknown_threshold(sure, held.labels)
    assert {*found["scores"]} == {f"{split}_{tta}" for split, tta in plain}
    assert found["scores"]["public_flip"] == pytest.approx(
        accuracy(plain["public", "flip"], splits["public"]), abs=1e-5
    )


@pytest.mark.parametrize(("crossing", "found"), [(0.42, 0.42), (0.1, 0.30), (0.9, 0.60)])
def test_unknown_begins_where_wrong_is_likelier_than_right(crossing: float, found: float) -> None:
    """Right with a probability that rises through one half at `crossing`."""
    rng = np.random.default_rng(0)
    top = rng.uniform(0.15, 1.0, 40_000)
    right = rng.uniform(size=len(top)) < 0.5 + 0.8 * (top - crossing)
    guessed, labels = one_sure(right.tolist(), top.tolist())
    threshold = unknown_threshold(guessed, labels)
    assert threshold == pytest.approx(found, abs=0.03)
    assert threshold == round(threshold, 2)
    assert 0.30 <= threshold <= 0.60


def test_unknown_begins_at_once_where_all_is_right() -> None:
    guessed, labels = one_sure([True] * 9, [0.8] * 9)
    assert unknown_threshold(guessed, labels) == 0.30
    assert unknown_threshold(guessed, 1 - labels) == 0.60


def test_predictions_come_back_to_the_bit(tmp_path: Path) -> None:
    guessed, labels = sample(50)
    target = tmp_path / "p.csv"
    target.write_text("old")
    predictions.write(target, faces(labels), guessed)
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "predicted", *(f"p_{label}" for label in LABELS)]
    assert [row["file"] for row in rows] == list(faces(labels).files)
    assert [LABELS.index(row["label"]) for row in rows] == labels.tolist()
    assert [LABELS.index(row["predicted"]) for row in rows] == guessed.argmax(1).tolist()
    back = np.array([[row[f"p_{label}"] for label in LABELS] for row in rows], np.float32)
    assert np.array_equal(back, guessed)
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


def test_predictions_are_whole_or_not_there(tmp_path: Path) -> None:
    guessed, labels = sample(50)
    target, link = tmp_path / "p.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(ValueError, match="zip"):
        predictions.write(link, faces(labels), guessed[:40])
    assert target.read_text() == "old"
    predictions.write(link, faces(labels), guessed)
    assert link.is_symlink()
    assert target.read_text() != "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "p.csv"]


def test_of_the_confusion_counts_are_drawn_and_shares_of_each_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[NDArray[np.float64]] = []

    class Noted(metrics.ConfusionMatrixDisplay):  # type: ignore[misc]
        def __init__(self, values: NDArray[np.float64], **how: object) -> None:
            drawn.append(values)
            super().__init__(values, **how)

    monkeypatch.setattr(plots, "ConfusionMatrixDisplay", Noted)
    table = np.arange(49).reshape(7, 7)
    table[2] = 0  # a class without an image
    plots.confusion(table, "net", tmp_path / "counts.png", tmp_path / "shares.png")
    counts, shares = drawn
    assert np.array_equal(counts, table)
    assert shares.sum(1) == pytest.approx([1, 1, 0, 1, 1, 1, 1])
    assert shares[1, 6] == pytest.approx(13 / 70)


def test_a_report_holds_what_scikit_learn_says(tmp_path: Path) -> None:
    guessed, labels = sample(200)
    other, _ = sample(200, seed=5)
    predicted = guessed.argmax(1)
    plain = scores.score(guessed, labels, 0.4, 0)
    assert plain is not None
    report = Report(
        subject=Subject(
            "net-1234567",
            "net.safetensors",
            "1234567",
            0.9,
            0.4,
            "d",
            "public",
            "89abcde",
            "none",
            "torch float32",
            "cpu",
            0,
            "a|b",
            {"affectd": "1.0", "torch": "2.1"},
            9,
        ),
        plain=plain,
        not_in_training=None,
        classes=scores.by_class(guessed, labels),
        confusion=scores.confusion(guessed, labels).tolist(),
        reliability=scores.reliability(guessed, labels),
        quarters=scores.quarters(faces(labels).images, guessed, labels, 0.4, 0),
        corruptions=[],
        against=scores.compare(guessed, other, labels, "rival"),
        against_not_in_training=None,
    )
    write(report, tmp_path / "new" / "report")
    folder = tmp_path / "new" / "report"
    found = json.loads((folder / "report.json").read_text())
    assert found["labels"] == list(LABELS)
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    assert found["plain"]["f1"] == pytest.approx(
        metrics.f1_score(labels, predicted, average="macro")
    )
    assert found["not_in_training"] is None
    named = metrics.classification_report(labels, predicted, target_names=LABELS, output_dict=True)
    for line in found["classes"]:
        expected = named[line["label"]]
        assert line["precision"] == pytest.approx(expected["precision"])
        assert line["recall"] == pytest.approx(expected["recall"])
        assert line["f1"] == pytest.approx(expected["f1-score"])
        assert line["images"] == expected["support"]
        index = LABELS.index(line["label"])
        area = metrics.roc_auc_score(labels == index, guessed[:, index])
        assert line["auc"] == pytest.approx(area)
    text = (folder / "report.md").read_text()
    for name in ("confusion.png", "confusion_normalised.png", "reliability.png"):
        assert f"]({name})" in text
        assert (folder / name).read_bytes().startswith(PNG)
    assert f"| accuracy | {100 * plain.accuracy:.2f} % | – |" in text
    assert "McNemar" in text
    assert f"| ECE by chance alone | {plain.ece_by_chance[0]:.3f}, seldom above " in text
    assert f"| NLL | {plain.nll:.4f} | – |" in text
    against = report.against
    assert against is not None
    assert against.accuracy_error is not None
    assert against.only_first != against.only_second
    assert f"| {against.both_right} | {against.only_first} |" in text
    assert f"| wrong | {against.only_second} | {against.both_wrong} |" in text
    only = f"{against.only_first} images only the first gets right, {against.only_second} only"
    assert only in text
    ahead, error = 100 * against.accuracy_ahead, 100 * against.accuracy_error
    assert f"of rival, {ahead:+.2f} ± {error:.2f} points: " in text
    assert "`a&#124;b`" in text
    assert "| versions | affectd 1.0, torch 2.1 |" in text
