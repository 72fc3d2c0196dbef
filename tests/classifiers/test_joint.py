"""Several nets as one: how they are mixed, what can be wrong, and the commands that take them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from classifiers.errors import CheckpointError
from classifiers.expression import LABELS, TTA, joint, weight_files
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.tta import STATIC_TTA, standardise, views
from classifiers.expression.weight_files import shipped
from tests.classifiers.bars import write_bars
from tests.inside import inside
from tests.nets import alike, save_joint, save_pair, save_tiny

Capsys = pytest.CaptureFixture[str]
Faces = NDArray[np.uint8]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return save_pair(tmp_path)


@pytest.fixture
def faces() -> Faces:
    return np.random.default_rng(1).integers(0, 256, (5, 48, 48), dtype=np.uint8)


def load(weights: str | Path) -> ExpressionClassifier:
    return ExpressionClassifier.load(weights, device="cpu")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_joint_of_one_is_that_net(tmp_path: Path, faces: Faces) -> None:
    net = save_tiny(tmp_path / "a.safetensors", temperature=alike(1.5))
    alone = load(save_joint(tmp_path / "joint.json", {"a.safetensors": 1.0}))
    assert np.array_equal(alone.predict(faces), load(net).predict(faces))
    assert alone.view_count == 10


def test_a_joint_is_the_weighted_sum_calibrated(pair: Path, faces: Faces) -> None:
    common = joint.read(pair).temperature
    modes: tuple[TTA, ...] = (*STATIC_TTA, "temporal")
    for tta in modes:
        a, b, both = (
            ExpressionClassifier.load(path, device="cpu", tta=tta).predict(faces)
            for path in (pair.parent / "a.safetensors", pair.parent / "b.safetensors", pair)
        )
        own = common["none" if tta == "temporal" else tta]
        powers = (0.3 * a.astype(np.float64) + 0.7 * b) ** (1.0 / own)
        assert both == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-5)


def test_a_net_that_learns_from_a_joint_is_told_what_the_joint_says(
    pair: Path, faces: Faces
) -> None:
    """Of what it is shown itself, here the middle of each face."""
    shown = views(standardise(torch.from_numpy(faces)), 44, "none")[0]
    files = (pair.parent / "a.safetensors", pair.parent / "b.safetensors", pair)
    a, b, both = (load(path).predict_standardised(shown).double().numpy() for path in files)
    alone = ExpressionClassifier.load(files[0], device="cpu", tta="none")
    assert a == pytest.approx(alone.predict(faces), abs=1e-5)
    powers = (0.3 * a + 0.7 * b) ** (1.0 / joint.read(pair).temperature["none"])
    assert both == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-5)


def test_a_joint_tells_what_it_is(pair: Path) -> None:
    both = load(pair)
    assert both.labels == LABELS
    assert both.unknown_below == 0.3
    assert both.name == f"joint-{joint.read(pair).sha256[:7]}"


def test_the_views_may_change_and_hold_for_all_nets(pair: Path, faces: Faces) -> None:
    both = load(pair)
    assert both.view_count == 20
    both.tta = "none"
    assert both.view_count == 2
    fresh = ExpressionClassifier.load(pair, device="cpu", tta="none")
    assert np.array_equal(both.predict(faces), fresh.predict(faces))


def test_a_net_that_counts_nothing_is_not_run(pair: Path, faces: Faces) -> None:
    weights = {"a.safetensors": 0.0, "b.safetensors": 1.0}
    both = load(save_joint(pair, weights))
    assert both.view_count == 10
    assert weight_files.nets_of(pair) == [pair.parent / "b.safetensors"]
    assert np.array_equal(both.predict(faces), load(pair.parent / "b.safetensors").predict(faces))


def test_a_joint_comes_back_as_it_was_saved(pair: Path) -> None:
    found = joint.read(pair)
    joint.save(pair, found)
    assert joint.read(pair) == found
    assert found.members[1].weight == 0.7


def test_a_full_disk_leaves_a_joint_as_it_was(pair: Path) -> None:
    before = pair.read_bytes()
    (pair.parent / ".joint.json.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"joint\.json: cannot be written: No space left"):
        joint.save(pair, replace(joint.read(pair), temperature=alike(2.0)))
    assert pair.read_bytes() == before


def test_its_hash_is_that_of_the_modes_in_their_order(pair: Path) -> None:
    found = joint.read(pair)
    parts = [[0.5, 0.6, 0.9, 0.8], *((member.sha256, member.weight) for member in found.members)]
    assert found.sha256 == hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    turned = replace(found, temperature=dict(reversed(found.temperature.items())))
    assert turned.sha256 == found.sha256


def test_its_name_tells_joints_apart_but_not_places(pair: Path) -> None:
    found = joint.read(pair)
    a, b = found.members
    assert replace(found, members=(replace(a, net="x.safetensors"), b)).sha256 == found.sha256
    others = [
        replace(found, temperature=alike(0.9)),
        replace(found, members=(replace(a, weight=0.4), replace(b, weight=0.6))),
        replace(found, members=(replace(a, sha256="0" * 64), b)),
    ]
    assert len({other.sha256 for other in [found, *others]}) == 4


def test_a_joint_is_shipped_beside_its_nets(
    pair: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """Its nets too are named, and it may name them so."""
    expected = load(pair).predict(faces)
    monkeypatch.setattr(weight_files, "SHIPPED", pair.parent)
    assert list(shipped()) == ["a", "b", "joint"]
    edit(pair, lambda content: content["members"][0].update(net="a"))
    assert np.array_equal(load("joint").predict(faces), expected)
    done = inside(capsys, "models", "list")
    assert [line.split() for line in done.out if line.startswith("expression joint")] == [
        ["expression", "joint", "shipped", "joint.json"]
    ]


def remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / name).unlink()


def content(change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda path: edit(path, change)


def member(**changes: object) -> Callable[[Path], None]:
    return content(lambda found: found["members"][1].update(changes))


def another_net(path: Path) -> None:
    save_tiny(path.parent / "b.safetensors", seed=5)


def other_labels(path: Path) -> None:
    edit(path.parent / "b.json", lambda found: found.update(labels=["happy", "sad"]))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove("joint.json"), r"joint\.json: no such joint"),
        (remove("b.safetensors"), r"joint\.json: .*b\.safetensors: no such weights file"),
        (remove("b.json"), r"joint\.json: .*b\.safetensors: its record b\.json is missing"),
        (another_net, r"joint\.json and its member .*b\.safetensors do not fit: .* SHA-256"),
        (other_labels, r"joint\.json: .*b\.json: labels are happy, sad; accepted: angry"),
        (lambda path: path.write_text("{"), r"joint\.json: not a readable joint"),
        (lambda path: path.write_text("[" * 100_000), r"joint\.json: not a readable joint"),
        (lambda path: path.write_text("[]"), r"joint\.json: not a joint of nets; .* not an object"),
        (content(lambda found: found.update(wieght=1)), r"unknown: \['wieght'\]"),
        (content(lambda found: found.pop("temperature")), r"missing or unknown: \['temperature'\]"),
        (
            content(lambda found: found.update(temperature=0)),
            r"temperature is 0; accepted is an object",
        ),
        (
            content(lambda found: found.update(temperature={"none": 1.0})),
            r"joint\.json: temperature; missing or unknown: \['flip', 'scales', 'ten_crop'\]",
        ),
        (content(lambda found: found.update(unknown_below="x")), r"unknown_below is 'x'; accepted"),
        (member(sha256=None), r"joint\.json: members\[1\]\.sha256 is None; accepted is a text"),
        (
            content(lambda found: found.update(name=3)),
            r"joint\.json: name is 3; accepted is a text",
        ),
        (
            content(lambda found: found.update(data_sha256=None)),
            r"data_sha256 is None; accepted is",
        ),
        (content(lambda found: found.update(scores=[])), r"scores is \[\]; accepted is an object"),
        (content(lambda found: found.update(scores={"a": 2})), r"scores\.a is 2; accepted: 0 to 1"),
        (content(lambda found: found.update(members=[])), r"members is \[\]; accepted is a list"),
        (member(weight=0.6), r"joint\.json: the members' weights sum to 0\.9; accepted is 1"),
        (member(weight=-0.7), r"joint\.json: members\[1\]\.weight is -0\.7; accepted: 0 to 1"),
        (member(weight=True), r"members\[1\]\.weight is True"),
        (member(weight=float("nan")), r"members\[1\]\.weight is nan"),
        (member(wait=1), r"joint\.json: members\[1\] is no member; .*\['wait'\]"),
        (member(net=3), r"members\[1\]\.net is 3; accepted is a text"),
        (member(net="best"), r"joint\.json: a member is 'best'; accepted: the name of a shipped"),
        (member(net="joint.json"), r"joint\.json: a member is 'joint\.json'; accepted"),
    ],
)
def test_a_joint_that_cannot_be_used_is_named(
    pair: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(pair)
    with pytest.raises(CheckpointError, match=said):
        load(pair)


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("fer"), train=40, public=3)


def test_the_commands_take_a_joint(fer: Path, pair: Path, capsys: Capsys) -> None:
    """1. `check` takes it. 2. `video` reads with it; each reading says so. 3. `evaluate` too."""
    folder = pair.parent
    config, readings = folder / "affectd.toml", folder / "read.jsonl"
    config.write_text(
        f'[detector]\nbackend = "haar"\n[expression]\nweights = "{pair}"\ntta = "flip"\n'
        'device = "cpu"\n[[stream]]\nname = "a"\nurl = "demo://a"\n'
    )
    assert inside(capsys, "check", config).code == 0
    source = "demo://x?faces=1&size=320x240&fps=5&seconds=2"
    where: list[str | Path] = ["--events", readings, "--config", config]
    assert inside(capsys, "video", source, folder / "out.mp4", *where).code == 0
    lines = [json.loads(line) for line in readings.read_text().splitlines()]
    assert lines
    assert {line["weights"] for line in lines} == {load(pair).name}
    assert {line["crops"] for line in lines} == {4}
    done = inside(
        capsys, "evaluate", "expression", "--data", fer, "--weights", pair, "--tta", "none"
    )
    assert done.code == 0, done.err
    assert any(load(pair).name in line for line in done.out)
