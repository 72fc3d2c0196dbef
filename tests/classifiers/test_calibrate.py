"""`affectd calibrate`: what it finds, on what, and when it leaves a net as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from classifiers import checkpoint
from classifiers.expression import StaticTTA, data, engines, joint
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines.activations import BATCH, find_ranges
from classifiers.expression.engines.activations import FACES as FACES_SEEN
from classifiers.expression.evaluation.calibrate import Calibrated, calibrate
from classifiers.expression.evaluation.measure import (
    accuracy,
    classify,
    fit_temperature,
    unknown_threshold,
)
from classifiers.expression.tta import STATIC_TTA, UNCHANGED
from tests.classifiers.bars import write_bars
from tests.fer import load_split
from tests.inside import inside
from tests.nets import SMALL, alike, needs_openvino, save_pair, save_tiny, tiny

FACES = np.random.default_rng(5).integers(0, 256, (9, 48, 48), dtype=np.uint8)


def test_ranges_are_of_every_layer_but_the_first() -> None:
    net = tiny()
    ranges = find_ranges(net, FACES, 44, "cpu")
    layers = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(ranges) == layers[1:]
    assert all(low == 0.0 < high for low, high in ranges.values())  # after a ReLU
    assert not net.training
    assert find_ranges(net, FACES, 44, "cpu") == ranges
    assert not any(layer._forward_pre_hooks for layer in net.modules())


def test_ranges_are_of_all_batches() -> None:
    net, rng = tiny(), np.random.default_rng(6)
    flat, deep = (rng.integers(0, most, (BATCH, 48, 48), np.uint8) for most in (4, 256))
    expected = find_ranges(net, deep, 44, "cpu")
    assert find_ranges(net, flat, 44, "cpu") != expected
    for images in ((flat, deep), (deep, flat)):
        assert find_ranges(net, np.concatenate(images), 44, "cpu") == expected


def test_ranges_are_of_faces_drawn_from_all() -> None:
    """They come sorted by class, so that the first would be of one or two."""
    net, images = tiny(), np.zeros((FACES_SEEN + len(FACES), 48, 48), np.uint8)
    images[FACES_SEEN:] = FACES
    assert find_ranges(net, images, 44, "cpu") != find_ranges(net, images[:FACES_SEEN], 44, "cpu")


def test_a_layer_that_is_always_fed_the_same_has_no_range() -> None:
    """A record with an empty range could not be read again."""
    net = tiny()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(layer.bias, -100.0)  # Every ReLU after it is dead.
    assert set(find_ranges(net, FACES, 44, "cpu")) == {"head.5"}


@needs_openvino
def test_calibrate_writes_what_evaluate_then_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A net without activations. 2. `calibrate`. 3. `evaluate --engine openvino` agrees. 4. It
    reads a rival by the same engine, unless another is named. 5. Again: what
    float32 scored stays, what was lacking comes, and that int8 differs is told."""
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    weights = save_tiny(
        tmp_path / "tiny.safetensors", 6, options=SMALL["vgg10"], temperature=alike(2.0)
    )
    done = inside(capsys, "calibrate", "expression", "--data", bars, "--weights", weights)
    assert done.code == 0, done.err
    assert done.err[-1] == f"Written: {checkpoint.record_path(weights)}"
    found = checkpoint.read_record(weights)
    low = ExpressionClassifier.load(weights, device="cpu", engine="openvino")
    train, held = load_split(bars, "train"), load_split(bars, "holdout")
    assert found.activations == find_ranges(low.nets[0].module, train.images, 44, "cpu")
    assert found.unknown_below == unknown_threshold(classify(low, held), held.labels)
    low.temperatures = UNCHANGED
    assert found.temperature == pytest.approx(fitted(low, held), abs=1e-4)
    share = found.scores["public_flip_int8"]
    measure = ("evaluate", "expression", "--data", bars, "--weights", weights)
    int8: list[str | Path] = [*measure, "--engine", "openvino", "--tta", "flip"]
    done = inside(capsys, *int8, "--against", weights)
    assert done.code == 0, done.err
    assert done.out[0].endswith(", flip, openvino int8 on cpu")
    assert any(f"{100 * share:.2f} %" in line for line in done.out)
    assert any(", openvino int8 on cpu" in line for line in done.out[1:])
    done = inside(capsys, *int8, "--against", weights, "--against-engine", "torch")
    assert any(", torch float32 on " in line for line in done.out[1:]), done.err
    known = {key: 0.5 for key in found.scores if key != "holdout_scales"}
    checkpoint.write_record(weights, replace(found, scores=known))
    told: list[str] = []
    shares: list[float] = []
    monkeypatch.setattr(engines, "MOST_DIFFERENCE", 0.0)
    calibrate(weights, bars, log=told.append, report=lambda share, text: shares.append(share))
    again = checkpoint.read_record(weights).scores
    assert again == {
        key: share if key.endswith("int8") or key == "holdout_scales" else 0.5
        for key, share in found.scores.items()
    }
    assert shares[-1] == 1.0
    assert told[-1].startswith("WARNING: probabilities by openvino int8 are ")
    assert checkpoint.read_record(weights).temperature == pytest.approx(found.temperature, rel=0.01)


def fitted(classifier: ExpressionClassifier, held: data.Faces) -> dict[str, float]:
    """The temperature of each mode that is likeliest on these faces."""
    found: dict[str, float] = {}
    for tta in STATIC_TTA:
        classifier.tta = tta
        found[tta] = fit_temperature(classify(classifier, held), held)
    return found


@needs_openvino
def test_calibrating_a_joint_fits_it_after_its_nets(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    pair = save_pair(tmp_path)
    stale = {f"public_{tta}": 0.9 for tta in STATIC_TTA}
    joint.save(pair, replace(joint.read(pair), scores=stale))
    assert [one.name for one in calibrate(pair, bars)] == ["tiny", "tiny", "joint"]
    found = joint.read(pair)
    held = load_split(bars, "holdout")
    low = ExpressionClassifier.load(pair, device="cpu", engine="openvino")
    assert found.unknown_below == unknown_threshold(classify(low, held), held.labels)
    low.temperatures = UNCHANGED
    assert found.temperature == pytest.approx(fitted(low, held), abs=1e-4)
    public = data.read(bars, False, {"Training", "PublicTest"}).split("public")
    for tta in STATIC_TTA:
        both = ExpressionClassifier.load(pair, device="cpu", tta=tta)
        share = accuracy(classify(both, public), public)
        assert found.scores[f"public_{tta}"] == pytest.approx(share, abs=1e-5)


@needs_openvino
def test_the_threshold_is_of_the_views_that_are_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten crops, or those that a joint was made with. What finds it is made up: of nets that learnt
    nothing it says the same in every mode."""

    def mean_top(guessed: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        return float(guessed.max(1).mean())

    monkeypatch.setattr("classifiers.expression.evaluation.measure.unknown_threshold", mean_top)
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    pair, held = save_pair(tmp_path), load_split(bars, "holdout")
    joint.save(pair, replace(joint.read(pair), recipe={"tta": "flip"}))
    calibrate(pair, bars)
    usual: dict[Path, StaticTTA] = {pair: "flip", tmp_path / "a.safetensors": "ten_crop"}
    for file, tta in usual.items():
        low = ExpressionClassifier.load(file, device="cpu", engine="openvino", tta=tta)
        assert low.unknown_below == mean_top(classify(low, held), held.labels)


@needs_openvino
def test_calibrate_leaves_a_net_of_other_data_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its figures would stand beside those of the data that it was trained on."""
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    weights = save_tiny(tmp_path / "tiny.safetensors", data_sha256="a" * 64)
    before = checkpoint.record_path(weights).read_bytes()
    done = inside(capsys, "calibrate", "expression", "--data", bars, "--weights", weights)
    assert done.code == 2
    assert "its figures are of data whose fingerprint begins with aaaaaaa" in done.err[-1]
    assert checkpoint.record_path(weights).read_bytes() == before


@needs_openvino
def test_calibrate_finds_out_first_that_it_may_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_tiny(tmp_path / "tiny.safetensors")
    (tmp_path / ".tiny.json.part").mkdir()
    done = inside(capsys, "calibrate", "expression", "--data", "nowhere", "--weights", weights)
    said = f"affectd: {checkpoint.record_path(weights)}: cannot be written: Is a directory"
    assert done == (2, [], [said])


def test_calibrate_tells_what_int8_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found is made up: a net that learnt nothing has nothing to lose."""
    asked: list[object] = []

    def found(weights: str, source: Path, **how: object) -> list[Calibrated]:
        asked.extend((weights, source, how["strict"]))
        scores = {f"public_{tta}": 0.69 for tta in STATIC_TTA}
        low = {f"public_{tta}_int8": 0.685 for tta in STATIC_TTA}
        return [Calibrated("net", tmp_path / "net.json", {**scores, **low})]

    monkeypatch.setattr("daemon.commands.calibrate.calibrate", found)
    what = ("calibrate", "expression", "--data", tmp_path, "--weights", "net", "--strict")
    done = inside(capsys, *what)
    assert asked == ["net", tmp_path, True]
    rows = [" ".join(line.split()) for line in done.out]
    assert rows[1:] == [f"net {tta} 69.00 % 68.50 % 0.50" for tta in STATIC_TTA]
