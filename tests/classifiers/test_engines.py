"""Engines: OpenVINO says what torch says, in int8 nearly so; who lacks it reads how to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from classifiers import checkpoint
from classifiers.errors import CheckpointError, EngineError, ExtraError
from classifiers.expression import EngineSetting, engines
from classifiers.expression.architectures import FaceNet, build
from classifiers.expression.classifier import ExpressionClassifier, fuse
from classifiers.expression.evaluation.measure import accuracy, classify
from classifiers.expression.tta import STATIC_TTA
from classifiers.expression.weight_files import shipped
from tests.affectd import ROOT
from tests.fer import load_split
from tests.inside import inside
from tests.nets import SMALL, needs_openvino, save_tiny, tiny
from tests.shared import SHARED, needs_shared

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
    assert running.logits is running.logits  # it takes a second
    for batch in (1, 3, 20):
        x = torch.randn(batch, 1, 44, 44)
        with torch.inference_mode():
            said = running.logits(x)
            running.logits(-x)  # which leaves the answer before it as it was
            torch.testing.assert_close(said, net(x), rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_a_reading_does_not_depend_on_its_batch(engine: EngineSetting) -> None:
    """Nine faces are 90 views, more than torch reads at once."""
    classifier = ExpressionClassifier.load("default", device="cpu", engine=engine)
    alone = np.concatenate([classifier.predict(face[None]) for face in FACES])
    np.testing.assert_allclose(classifier.predict(FACES), alone, atol=1e-6)


@needs_openvino
def test_it_computes_on_as_many_threads_as_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    from classifiers.expression.engines import openvino

    asked: list[int] = []
    compile_net = openvino.compile_net

    def noted(*given: Any) -> engines.Logits:
        asked.append(given[-1])
        return compile_net(*given)

    monkeypatch.setattr(openvino, "compile_net", noted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    start(fuse(tiny().eval()), {}, "openvino")
    assert asked == [3]


@needs_openvino
def test_a_joint_runs_each_of_its_nets() -> None:
    low = ExpressionClassifier.load("joint", device="cpu", tta="flip", engine="auto")
    plain = ExpressionClassifier.load("joint", device="cpu", tta="flip")
    assert low.engine == "openvino int8"
    assert 0.0 < np.abs(low.predict(FACES) - plain.predict(FACES)).mean() < 0.02


@needs_openvino
def test_a_net_that_does_not_compile_is_found_at_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO compiles all that is whole here, so it is made to fail."""
    from classifiers.expression.engines import openvino

    def compile_net(*given: Any) -> Any:
        raise RuntimeError("no room for the graph\nand more")

    monkeypatch.setattr(openvino, "compile_net", compile_net)
    weights, said = save_tiny(tmp_path / "tiny.safetensors"), list[str]()
    found = ExpressionClassifier.load(weights, device="cpu", engine="auto", log=said.append)
    assert found.engine == "torch float32"
    assert said[-1] == (
        "WARNING: openvino float32 fails here, so expressions are read by torch float32: "
        "no room for the graph"
    )
    with pytest.raises(EngineError, match=r"openvino, which fails here: no room for the graph$"):
        ExpressionClassifier.load(weights, device="cpu", engine="openvino")


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
    net = FaceNet([nn.Conv2d(1, 2, 3), nn.Tanh()], nn.Sequential(nn.Flatten())).eval()
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
