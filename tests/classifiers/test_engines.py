"""Engines: OpenVINO says what torch says, in int8 nearly so; who lacks it reads how to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from classifiers import checkpoint
from classifiers.errors import CheckpointError, EngineError, ExtraError
from classifiers.expression import EngineSetting, data, engines, joint
from classifiers.expression.architectures import FaceNet, build
from classifiers.expression.classifier import ExpressionClassifier, fuse
from classifiers.expression.engines.activations import find_ranges
from classifiers.expression.evaluation.calibrate import calibrate
from classifiers.expression.evaluation.measure import accuracy, classify, unknown_threshold
from classifiers.expression.tta import STATIC_TTA
from classifiers.expression.weight_files import shipped
from tests.affectd import ROOT
from tests.classifiers.bars import write_bars
from tests.fer import load_split
from tests.inside import inside
from tests.nets import SMALL, record, save_pair, save_tiny, tiny
from tests.shared import SHARED, needs_shared

needs_openvino = pytest.mark.skipif(
    "openvino" not in engines.installed(), reason="the extra `cpu` is not installed"
)
FACES = np.random.default_rng(5).integers(0, 256, (9, 48, 48), dtype=np.uint8)


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an environment without the extra looks like to Python's import system."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "classifiers.expression.engines.openvino", raising=False)


def start(net: FaceNet, ranges: engines.Ranges, wanted: EngineSetting) -> Any:
    """What runs the net, and what was said."""
    said: list[str] = []
    return engines.start(net, ranges, 44, wanted=wanted, device="cpu", log=said.append), said


@needs_openvino
@pytest.mark.parametrize("architecture", SMALL)
def test_every_architecture_gives_torchs_logits(architecture: str) -> None:
    torch.manual_seed(1)
    net = fuse(build(architecture, SMALL[architecture]).eval())
    running, said = start(net, {}, "openvino")
    assert (running.engine, running.precision) == ("openvino", "float32")
    assert "`affectd calibrate` finds them" in said[0]
    for batch in (1, 3, 20):
        x = torch.randn(batch, 1, 44, 44)
        with torch.inference_mode():
            torch.testing.assert_close(running.logits(x), net(x), rtol=1e-4, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize(
    "name", [name for name, path in shipped().items() if path.suffix != ".json"]
)
def test_the_shipped_nets_run_in_int8_close_to_float32(name: str) -> None:
    said: list[str] = []
    low = ExpressionClassifier.load(name, device="cpu", tta="none", engine="auto", log=said.append)
    plain = ExpressionClassifier.load(name, device="cpu", tta="none")
    assert (low.engine, plain.engine, said) == ("openvino int8", "torch float32", [])
    apart = np.abs(low.predict(FACES) - plain.predict(FACES))
    assert 0.0 < apart.mean() < 0.02


@needs_openvino
def test_a_reading_does_not_depend_on_its_batch() -> None:
    classifier = ExpressionClassifier.load("default", device="cpu", engine="openvino")
    alone = np.concatenate([classifier.predict(face[None]) for face in FACES])
    np.testing.assert_allclose(classifier.predict(FACES), alone, atol=1e-6)


@needs_openvino
def test_a_joint_runs_each_of_its_nets() -> None:
    low = ExpressionClassifier.load("joint", device="cpu", tta="flip", engine="auto")
    plain = ExpressionClassifier.load("joint", device="cpu", tta="flip")
    assert low.engine == "openvino int8"
    assert 0.0 < np.abs(low.predict(FACES) - plain.predict(FACES)).mean() < 0.02


@needs_openvino
@pytest.mark.parametrize("architecture", SMALL)
def test_four_crops_share_layers_in_either_engine(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(1)
    known = record(architecture=architecture, options=SMALL[architecture])
    net = build(architecture, SMALL[architecture])
    checkpoint.save(tmp_path / "net.safetensors", net, known)
    torch_s, openvino_s = (
        ExpressionClassifier.load(
            tmp_path / "net.safetensors", device="cpu", tta="four_crop", engine=engine
        ).predict(FACES)
        for engine in ("torch", "openvino")
    )
    np.testing.assert_allclose(torch_s, openvino_s, atol=1e-4)


@needs_openvino
def test_parts_for_four_crops_that_do_not_compile_are_found_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO compiles what is whole here, so a part is made to fail."""
    from classifiers.expression.engines import openvino

    compiled = openvino.compile_net

    def compile_net(net: nn.Module, ranges: engines.Ranges, shape: Any, threads: int) -> Any:
        if shape != (1, 44, 44):
            raise RuntimeError("no room for the graph\nand more")
        return compiled(net, ranges, shape, threads)

    monkeypatch.setattr(openvino, "compile_net", compile_net)
    weights, said = save_tiny(tmp_path / "tiny.safetensors"), list[str]()
    found = ExpressionClassifier.load(
        weights, device="cpu", tta="four_crop", engine="auto", log=said.append
    )
    assert found.engine == "torch float32"
    assert said[-1] == (
        "WARNING: openvino float32 fails here, so expressions are read by torch float32: "
        "no room for the graph"
    )
    with pytest.raises(EngineError, match=r"openvino, which fails here: no room for the graph$"):
        ExpressionClassifier.load(weights, device="cpu", tta="four_crop", engine="openvino")


@needs_openvino
@needs_shared
def test_int8_is_as_accurate_on_real_faces() -> None:
    """On a seventh of PublicTest; the record holds the figure of all of it."""
    faces = load_split(SHARED / "data/fer2013/fer2013.tar.xz", "public")
    faces = faces.keep(np.arange(len(faces.images)) % 7 == 0)
    plain = ExpressionClassifier.load("default", device="cpu", tta="none")
    low = ExpressionClassifier.load("default", device="cpu", tta="none", engine="openvino")
    first, second = classify(plain, faces), classify(low, faces)
    assert (first.argmax(1) == second.argmax(1)).mean() > 0.96
    assert abs(accuracy(first, faces) - accuracy(second, faces)) < 0.015
    scores = checkpoint.read_record(shipped()["default"]).scores
    measured = [tta for tta in STATIC_TTA if f"public_{tta}" in scores]
    assert "ten_crop" in measured
    for tta in measured:
        assert abs(scores[f"public_{tta}"] - scores[f"public_{tta}_int8"]) <= 0.003


@needs_openvino
def test_answers_too_far_from_torchs_are_not_taken_unasked() -> None:
    """Ranges that cut most off: `auto` falls back, and who asks for it is warned."""
    known = checkpoint.read_record(shipped()["default"])
    net = build(known.architecture, known.options)
    checkpoint.load_into(shipped()["default"], net, known)
    net = fuse(net.eval())
    wrong = {name: (0.0, 0.1 * high) for name, (_, high) in known.activations.items()}
    running, said = start(net, wrong, "auto")
    assert running.engine == "torch"
    assert said[0].startswith("WARNING: probabilities by openvino int8 are ")
    assert said[0].endswith("read by torch float32")
    running, said = start(net, wrong, "openvino")
    assert running.engine == "openvino"
    assert said[0].endswith("read by openvino int8")


@needs_openvino
def test_a_layer_that_is_not_known_is_named() -> None:
    net = FaceNet([nn.Conv2d(1, 2, 3), nn.Tanh()], nn.Sequential(nn.Flatten()), 1).eval()
    running, said = start(net, {}, "auto")
    assert running.engine == "torch"
    assert said == [
        "WARNING: openvino float32 fails here, so expressions are read by torch float32: "
        "features.1 is Tanh(), which this engine does not know"
    ]
    with pytest.raises(EngineError, match=r"expression\.engine is openvino, .*Tanh"):
        start(net, {}, "openvino")


@needs_openvino
def test_openvino_tells_nobody(tmp_path: Path) -> None:
    """In a process and a home of its own: no connection, no process, no file."""
    script = """
import sys
told = []
sys.addaudithook(
    lambda event, _: told.append(event)
    if event in ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.fork")
    else None
)
from classifiers.expression.classifier import ExpressionClassifier
before = len(told)
print(ExpressionClassifier.load("default", device="cpu", engine="openvino").engine, told[before:])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
        check=True,
    )
    assert done.stdout == "openvino int8 []\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("without_openvino")
def test_without_the_extra_auto_takes_torch_and_says_what_there_is(tmp_path: Path) -> None:
    assert engines.installed() == ("torch",)
    said: list[str] = []
    weights = save_tiny(tmp_path / "tiny.safetensors")
    found = ExpressionClassifier.load(weights, device="cpu", engine="auto", log=said.append)
    assert found.engine == "torch float32"
    assert len(said) == 1
    assert said[0].endswith("pip install 'affectd[cpu]'")
    with pytest.raises(ExtraError, match=r"is openvino: .*pip install 'affectd\[cpu\]'"):
        ExpressionClassifier.load(weights, device="cpu", engine="openvino")


@needs_openvino
def test_on_a_processor_that_was_not_measured_auto_says_what_could_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")  # There is none here.
    said: list[str] = []
    weights = save_tiny(tmp_path / "tiny.safetensors")
    found = ExpressionClassifier.load(weights, device="cpu", engine="auto", log=said.append)
    assert found.engine == "torch float32"
    assert said == [
        "expressions are read by torch; on this processor openvino has to be named to be used"
    ]


@pytest.mark.usefixtures("without_openvino")
def test_check_names_the_engine_that_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a.toml"
    config.write_text(
        '[expression]\nengine = "openvino"\n[[stream]]\nname = "a"\nurl = "demo://"\n'
    )
    done = inside(capsys, "check", config)
    assert done.code == 2
    assert done.err == [
        f"affectd: {config}: expression.engine: openvino is not installed: "
        "pip install 'affectd[cpu]'; accepted without: auto, torch"
    ]


def test_openvino_and_cuda_exclude_each_other() -> None:
    with pytest.raises(EngineError, match=r"expression\.device is cuda; accepted .*: auto, cpu"):
        engines.start(tiny().eval(), {}, 44, wanted="openvino", device="cuda")


def test_ranges_are_of_every_layer_but_the_first() -> None:
    net = tiny()
    ranges = find_ranges(net, FACES, 44, "cpu")
    layers = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(ranges) == layers[1:]
    assert all(low == 0.0 < high for low, high in ranges.values())  # after a ReLU
    assert find_ranges(net, FACES, 44, "cpu") == ranges


@pytest.mark.parametrize(
    ("activations", "said"),
    [
        ([1], "activations is no object"),
        ({"features.3": [1.0]}, r"activations\.features\.3 is \[1\.0\]; accepted: two numbers"),
        ({"features.3": [2.0, 1.0]}, "the lesser first"),
        ({"features.3": [0.0, "1"]}, "accepted: two numbers"),
        ({"features.3": [0.0, float("nan")]}, "accepted: two numbers"),
        ({"features.99": [0.0, 1.0]}, r"activations\.features\.99 is no layer of vgg10"),
    ],
)
def test_a_record_with_impossible_activations_is_named(
    tmp_path: Path, activations: Any, said: str
) -> None:
    weights = save_tiny(tmp_path / "tiny.safetensors")
    path = checkpoint.record_path(weights)
    path.write_text(json.dumps({**json.loads(path.read_text()), "activations": activations}))
    with pytest.raises(CheckpointError, match=said) as error:
        ExpressionClassifier.load(weights, device="cpu")
    assert str(path.name) in str(error.value)


@needs_openvino
def test_calibrate_writes_what_evaluate_then_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A net without activations. 2. `calibrate`. 3. `evaluate --engine openvino` agrees. 4. It
    reads a rival by the same engine, unless another is named. 5. Again: what
    float32 scored stays, what was lacking comes, and that int8 differs is told."""
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    weights = save_tiny(tmp_path / "tiny.safetensors", options=SMALL["vgg10"])
    done = inside(capsys, "calibrate", "expression", "--data", bars, "--weights", weights)
    assert done.code == 0, done.err
    assert done.err[-1] == f"Written: {checkpoint.record_path(weights)}"
    found = checkpoint.read_record(weights)
    assert len(found.activations) == 9
    held = load_split(bars, "holdout")
    sure = classify(ExpressionClassifier.load(weights, device="cpu", engine="openvino"), held)
    assert found.unknown_below == unknown_threshold(sure, held.labels)
    share = found.scores["public_flip_int8"]
    measure = ("evaluate", "expression", "--data", bars, "--weights", weights)
    low: list[str | Path] = [*measure, "--engine", "openvino", "--tta", "flip"]
    done = inside(capsys, *low, "--against", weights)
    assert done.code == 0, done.err
    assert done.out[0].endswith(", flip, openvino int8 on cpu")
    assert any(f"{100 * share:.2f} %" in line for line in done.out)
    assert any(", openvino int8 on cpu" in line for line in done.out[1:])
    done = inside(capsys, *low, "--against", weights, "--against-engine", "torch")
    assert any(", torch float32 on " in line for line in done.out[1:]), done.err
    assert found.temperature["none"] != 1.0  # which it was
    known = {key: 0.5 for key in found.scores if key != "holdout_four_crop"}
    checkpoint.write_record(weights, replace(found, scores=known))
    told: list[str] = []
    shares: list[float] = []
    monkeypatch.setattr(engines, "MOST_DIFFERENCE", 0.0)
    calibrate(weights, bars, log=told.append, report=lambda share, text: shares.append(share))
    again = checkpoint.read_record(weights).scores
    int8 = {key for key in again if key.endswith("int8")}
    assert again == {
        key: share if key in {*int8, "holdout_four_crop"} else 0.5
        for key, share in found.scores.items()
    }
    assert shares[-1] == 1.0
    assert told[-1].startswith("WARNING: probabilities by openvino int8 are ")
    assert checkpoint.read_record(weights).temperature == pytest.approx(found.temperature, rel=0.01)


@needs_openvino
def test_calibrating_a_joint_fits_it_after_its_nets(tmp_path: Path) -> None:
    bars = write_bars(tmp_path / "bars", train=30, public=4)
    pair = save_pair(tmp_path)
    before = joint.read(pair).temperature
    assert [one.name for one in calibrate(pair, bars)] == ["tiny", "tiny", "joint"]
    found = joint.read(pair)
    assert {*found.temperature} == {*STATIC_TTA}
    assert found.temperature != before
    held = load_split(bars, "holdout")
    sure = classify(ExpressionClassifier.load(pair, device="cpu", engine="openvino"), held)
    assert found.unknown_below == unknown_threshold(sure, held.labels)
    public = data.read(bars, False, {"Training", "PublicTest"}).split("public")
    for tta in STATIC_TTA:
        both = ExpressionClassifier.load(pair, device="cpu", tta=tta)
        share = accuracy(classify(both, public), public)
        assert found.scores[f"public_{tta}"] == pytest.approx(share, abs=1e-5)


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


def test_a_layer_that_is_always_fed_the_same_has_no_range() -> None:
    """A record with an empty range could not be read again."""
    net = tiny()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(layer.bias, -100.0)  # Every ReLU after it is dead.
    assert set(find_ranges(net, FACES, 44, "cpu")) == {"head.5"}
