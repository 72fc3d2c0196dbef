"""Weights and records on disk, and every way in which they can fail to fit."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from classifiers import checkpoint
from classifiers.checkpoint import record_path
from classifiers.errors import CheckpointError
from classifiers.expression import TTA
from classifiers.expression.classifier import ExpressionClassifier, fuse
from classifiers.expression.tta import STATIC_TTA
from classifiers.expression.weight_files import shipped
from tests.nets import OPTIONS, alike, save_tiny, tiny


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "tiny.safetensors", temperature=alike(1.5))


def faces(count: int = 2) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (count, 48, 48), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_saved_net_comes_back_with_its_record(weights: Path, dtype: torch.dtype) -> None:
    """In float16 it takes half of the room; it computes in float32 all the same."""
    saved = checkpoint.save(weights, tiny(), checkpoint.read_record(weights), dtype)
    again = checkpoint.read_record(weights)
    assert again == saved
    assert again.temperature == alike(1.5)
    assert {v.dtype for v in load_file(weights).values() if v.is_floating_point()} == {dtype}
    net = tiny(seed=4)
    checkpoint.load_into(weights, net, again)
    for name, value in tiny().state_dict().items():
        whole = value.to(dtype).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(whole, net.state_dict()[name])


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_whom_the_umask_lets_read_may_read_what_was_trained(
    tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        weights = save_tiny(tmp_path / "new" / "tiny.safetensors")
    finally:
        os.umask(before)
    for path in (weights, record_path(weights)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_weights_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"file/x\.safetensors: cannot be written"):
        save_tiny(tmp_path / "file" / "x.safetensors")


def test_a_full_disk_leaves_weights_and_record_as_they_were(weights: Path) -> None:
    record = checkpoint.read_record(weights)
    files = (weights, record_path(weights))
    before = [path.read_bytes() for path in files]
    for path in files:
        path.with_name(f".{path.name}.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: cannot be written: No space"):
        checkpoint.save(weights, tiny(seed=5), record)
    with pytest.raises(CheckpointError, match=r"tiny\.json: cannot be written: No space"):
        checkpoint.write_record(weights, replace(record, temperature=alike(2.0)))
    assert [path.read_bytes() for path in files] == before
    assert sorted(weights.parent.iterdir()) == sorted(files)


def test_a_classifier_knows_its_name_and_gives_probabilities(weights: Path) -> None:
    classifier = ExpressionClassifier.load(weights, device="cpu")
    assert classifier.name == f"tiny-{checkpoint.read_record(weights).sha256[:7]}"
    guessed = classifier.predict(faces(3))
    assert guessed.shape == (3, 7)
    assert guessed.dtype == np.float32
    assert guessed.sum(1) == pytest.approx(np.ones(3), abs=1e-5)


def test_one_face_is_read_alike_alone_and_in_company(weights: Path) -> None:
    classifier = ExpressionClassifier.load(weights, device="cpu")
    batch = faces(5)
    assert classifier.predict(batch[2:3])[0] == pytest.approx(
        classifier.predict(batch)[2], abs=1e-5
    )


def test_fused_batch_norms_change_nothing() -> None:
    net = tiny()
    net(torch.randn(16, 1, 44, 44))  # gives the batch norms statistics
    net.eval()
    x = torch.randn(4, 1, 44, 44)
    with torch.inference_mode():
        before = net(x)
        after = fuse(net)(x)
    assert torch.allclose(before, after, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules())


def test_missing_weights_and_missing_record_are_named(weights: Path, tmp_path: Path) -> None:
    record_path(weights).rename(tmp_path / "elsewhere.json")
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: its record tiny\.json is miss"):
        ExpressionClassifier.load(weights)
    (tmp_path / "elsewhere.json").rename(record_path(weights))
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: no such weights file"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.99])
def test_cut_weights_are_an_error(weights: Path, kept: float) -> None:
    content = weights.read_bytes()
    weights.write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: cut short or not"):
        ExpressionClassifier.load(weights)


def test_weights_of_numbers_that_torch_lacks_are_an_error(weights: Path) -> None:
    header = b'{"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}'
    weights.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors: holds 'F8_E8M0', which torch"):
        ExpressionClassifier.load(weights)


def test_weights_of_another_architecture_are_an_error(weights: Path) -> None:
    other = {**OPTIONS, "widths": [4, 4, 8, 16]}
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), "options": other}))
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors.*tiny\.json do not fit"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize("options", [{"depth": 3}, {"widths": [-1, 4, 8, 8]}, {"dropout": 3}])
def test_options_that_the_architecture_does_not_have_are_an_error(
    weights: Path, options: dict[str, object]
) -> None:
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), "options": options}))
    with pytest.raises(CheckpointError, match=r"tiny\.json do not fit: vgg10 has no options"):
        ExpressionClassifier.load(weights)


def test_weights_that_were_changed_after_the_record_are_an_error(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="SHA-256"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "alexnet"}, "accepted: vgg10"),
        ({"family": "circle"}, "not an expression net"),
        ({"labels": ["happy", "sad"]}, "labels are happy, sad"),
    ],
)
def test_a_record_of_something_else_is_an_error(
    weights: Path, change: dict[str, object], said: str
) -> None:
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=said):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("temperature", 1.0, "an object"),
        ("unknown_below", None, "0 to 1"),
        ("unknown_below", 1.5, "0 to 1"),
        ("crop_px", "44", "a whole number"),
        ("crop_px", 44.0, "a whole number"),
        ("crop_px", 60, "32 to 47"),
        ("input_px", 96, "48"),
        ("normalisation", "data_set", "per_crop"),
        ("labels", None, "a list of texts"),
        ("options", 3, "an object"),
        ("name", None, "a text"),
        ("architecture", ["vgg10"], "a text"),
        ("sha256", 3, "a text"),
        ("scores", None, "an object"),
        ("learnt_from", [], "an object"),
    ],
)
def test_a_record_with_a_wrong_value_is_an_error_that_names_its_key(
    weights: Path, key: str, value: object, accepted: str
) -> None:
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(CheckpointError) as caught:
        ExpressionClassifier.load(weights)
    found = re.fullmatch(r"(.*): (\w+) is (.*); accepted(?: is|:) (.*)", str(caught.value))
    assert found
    assert found.groups() == (str(path), key, repr(value), accepted)


@pytest.mark.parametrize(
    ("key", "found", "said"),
    [
        ("temperature", {"none": 1.0}, r"; missing or unknown: \['flip', 'scales', 'ten"),
        ("temperature", {"ten_crop": "1"}, r"\.ten_crop is '1'; accepted: 0\.01 to 100"),
        ("temperature", {"ten_crop": 0}, r"\.ten_crop is 0; accepted: 0\.01 to 100"),
        ("temperature", {"ten_crop": float("nan")}, r"\.ten_crop is nan; accepted: 0\.01 to 100"),
        ("temperature", {"ten_crop": True}, r"\.ten_crop is True; accepted: 0\.01 to 100"),
        ("scores", {"public_none": 66.2}, r"\.public_none is 66\.2; accepted: 0 to 1"),
        ("learnt_from", {"start": 3}, r"\.start is 3; accepted is a text"),
    ],
)
def test_a_wrong_value_within_an_object_is_an_error_that_names_it(
    weights: Path, key: str, found: dict[str, object], said: str
) -> None:
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), key: found}))
    said = key + said
    with pytest.raises(CheckpointError, match=said):
        ExpressionClassifier.load(weights, device="cpu")


def test_an_option_that_is_not_a_number_is_an_error(weights: Path) -> None:
    path = record_path(weights)
    options = {**OPTIONS, "dropout": float("nan")}
    path.write_text(json.dumps({**json.loads(path.read_text()), "options": options}))
    with pytest.raises(CheckpointError, match=r"options\.dropout is nan; accepted is a finite"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize("text", ["{", "9" * 5000, "[" * 100_000])
def test_a_record_that_json_does_not_read_is_an_error(weights: Path, text: str) -> None:
    record_path(weights).write_text(text)
    with pytest.raises(CheckpointError, match=r"tiny\.json: not a readable record: "):
        checkpoint.read_record(weights)


def test_each_mode_is_calibrated_by_its_own_temperature(tmp_path: Path) -> None:
    own = {"none": 0.5, "flip": 0.8, "scales": 1.5, "ten_crop": 2.0}
    plain = save_tiny(tmp_path / "plain.safetensors", temperature=alike(1.0))
    weights = save_tiny(tmp_path / "tiny.safetensors", temperature=own)
    modes: tuple[TTA, ...] = (*STATIC_TTA, "temporal")
    for tta in modes:
        means, found = (
            ExpressionClassifier.load(file, device="cpu", tta=tta).predict(faces(3))
            for file in (plain, weights)
        )
        powers = means.astype(np.float64) ** (1.0 / own["none" if tta == "temporal" else tta])
        assert found == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-5)


def test_a_list_of_labels_that_are_no_texts_is_an_error(weights: Path) -> None:
    path = record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": [1, 2]}))
    with pytest.raises(CheckpointError, match=r"labels are \[1, 2\]; accepted is a list of texts"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "x"}'])
def test_a_record_that_is_none_is_an_error(weights: Path, content: str) -> None:
    record_path(weights).write_text(content)
    with pytest.raises(CheckpointError, match=r"tiny\.json"):
        ExpressionClassifier.load(weights)


def test_a_name_that_was_not_shipped_is_an_error_that_lists_those_that_were() -> None:
    with pytest.raises(CheckpointError, match="accepted: default"):
        ExpressionClassifier.load("best")


def test_shipped_weights_have_learnt_by_their_own_record() -> None:
    assert "default" in shipped()
    classifier = ExpressionClassifier.load("default", device="cpu")
    assert classifier.record.scores["public_ten_crop"] >= 0.62
