"""Nets on a graphics card, and on one that torch counts and no net runs on. There is none here:
torch is made to fail as it does there, and what a card can do is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from classifiers.errors import EngineError
from classifiers.expression import TTA, Device, EngineSetting, engines
from classifiers.expression.architectures import build
from classifiers.expression.classifier import ExpressionClassifier, fuse
from classifiers.expression.engines.cuda import NO_CARD, cuda_fault
from classifiers.expression.oom import explain_oom
from classifiers.expression.tta import STATIC_TTA, mean_probabilities
from tests.nets import SMALL, needs_openvino, save_tiny, tiny

FACES = np.random.default_rng(5).integers(0, 256, (9, 48, 48), dtype=np.uint8)
VARIANTS: tuple[tuple[Device, EngineSetting], ...] = (
    ("cpu", "torch"),
    ("cuda", "torch"),
    ("cuda", "auto"),
)
SAID = "CUDA error: no kernel image is available for execution on the device"


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A card without kernels; holds what was to be done on it."""
    done: list[str] = []
    plain = torch.zeros

    def zeros(*shape: int, **how: Any) -> torch.Tensor:
        if how.get("device") != "cuda":
            return plain(*shape, **how)
        done.append("zeros")
        raise RuntimeError(f"{SAID}\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", zeros)
    return done


def test_no_card_is_told_apart_from_one_that_fails(
    tried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cuda_fault() == f"torch fails on the CUDA device here: {SAID}"
    assert tried == ["zeros"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_fault() == NO_CARD


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
def test_a_card_has_no_fault() -> None:
    assert cuda_fault() == ""


def test_where_a_card_fails_auto_takes_the_processor_and_says_so(
    tried: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, said = save_tiny(tmp_path / "a.safetensors"), list[str]()
    net = ExpressionClassifier.load(weights, log=said.append)
    assert net.device == "cpu"
    assert said == [
        f"WARNING: torch fails on the CUDA device here: {SAID}; expressions are read on the "
        "processor"
    ]
    with pytest.raises(
        EngineError, match=f"device is cuda, but torch fails on .*: {SAID}; accepted: "
    ):
        ExpressionClassifier.load(weights, device="cuda")
    tried.clear()
    ExpressionClassifier.load(weights, device="cpu", log=said.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert ExpressionClassifier.load(weights, log=said.append).device == "cpu"
    assert not tried
    assert len(said) == 1


def test_where_a_card_has_no_room_for_the_nets_auto_takes_the_processor_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other fault of its is raised."""
    plain = nn.Module.to
    fault: RuntimeError = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2 MiB.\nand more"
    )

    def to(net: nn.Module, *where: Any, **how: Any) -> nn.Module:
        if "cuda" in where:
            raise fault
        return plain(net, *where, **how)

    monkeypatch.setattr("classifiers.expression.engines.cuda.cuda_fault", str)
    monkeypatch.setattr(nn.Module, "to", to)
    weights, said = save_tiny(tmp_path / "a.safetensors"), list[str]()
    net = ExpressionClassifier.load(weights, log=said.append)
    assert net.device == "cpu"
    assert net.predict(FACES).shape == (len(FACES), 7)
    assert said == [
        "WARNING: torch fails on the CUDA device here: CUDA out of memory. Tried to allocate 2 "
        "MiB.; expressions are read on the processor"
    ]
    with pytest.raises(torch.OutOfMemoryError):
        ExpressionClassifier.load(weights, device="cuda")
    fault = RuntimeError("CUDA error: misaligned address")
    with pytest.raises(RuntimeError, match="misaligned"):
        ExpressionClassifier.load(weights)


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("CUDA out of memory. Tried to allocate 2.0 GiB.", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", True),
        ("CUDA error: misaligned address", False),
    ],
)
def test_of_what_a_card_says_only_that_it_is_full_is_explained(said: str, full: bool) -> None:
    with (
        pytest.raises(EngineError if full else RuntimeError, match=r"end what else|misaligned"),
        explain_oom(EngineError, "take less"),
    ):
        raise RuntimeError(said)


@needs_openvino
def test_openvino_takes_the_processor_though_there_is_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("classifiers.expression.engines.cuda.cuda_fault", str)
    net = ExpressionClassifier.load(save_tiny(tmp_path / "a.safetensors"), engine="openvino")
    assert (net.device, net.engine) == ("cpu", "openvino float32")


@pytest.fixture
def card_with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here; a processor computes in bfloat16 too, slowly, so only this is made up."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.mark.parametrize("architecture", SMALL)
@torch.inference_mode()
def test_a_card_reads_in_bfloat16_nearly_the_same(
    card_with_bfloat16: None, architecture: str
) -> None:
    torch.manual_seed(1)
    net = fuse(build(architecture, SMALL[architecture]).eval())
    low = engines.start(net, {}, 44, wanted="auto", device="cuda")
    plain = engines.start(net, {}, 44, wanted="torch", device="cuda")
    assert (low.precision, plain.precision) == ("bfloat16", "float32")
    faces = torch.from_numpy(FACES)
    for tta in STATIC_TTA:
        first, second = (mean_probabilities(run.logits, faces, 44, tta) for run in (low, plain))
        assert first.dtype == torch.float32
        assert 0.0 < float((first - second).abs().max()) < 0.01, tta


def test_float32_on_a_card_is_not_tensorfloat32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        running = engines.start(tiny().eval(), {}, 44, wanted="torch", device="cuda")
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
    assert running.precision == "float32"
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a graphics card")
@pytest.mark.parametrize("tta", get_args(TTA))
def test_a_card_reads_every_view_as_the_processor_does(tmp_path: Path, tta: TTA) -> None:
    weights, view_indices = save_tiny(tmp_path / "a.safetensors"), np.arange(len(FACES))
    plain, whole, auto = (
        ExpressionClassifier.load(weights, device=device, tta=tta, engine=engine).predict(
            FACES, view_indices
        )
        for device, engine in VARIANTS
    )
    assert whole == pytest.approx(plain, abs=1e-4)
    assert np.abs(auto - plain).mean() < 0.01


def test_where_bfloat16_is_too_coarse_a_card_reads_in_float32(
    card_with_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "MOST_DIFFERENCE", 1e-9)
    said: list[str] = []
    running = engines.start(tiny().eval(), {}, 44, wanted="auto", device="cuda", log=said.append)
    assert running.precision == "float32"
    assert said[0].startswith("WARNING: probabilities by torch bfloat16 are ")
    assert said[0].endswith("read by torch float32")


@pytest.mark.parametrize("made", [True, False])
def test_where_bfloat16_fails_a_card_reads_in_float32(
    card_with_bfloat16: None, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    """Once it is made, or when it is, as on a card without room for a second net."""

    def fail(*_: object) -> Any:
        raise RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED\nand more")

    monkeypatch.setattr(engines, "_bfloat16", (lambda layers, shape: fail) if made else fail)
    said: list[str] = []
    running = engines.start(tiny().eval(), {}, 44, wanted="auto", device="cuda", log=said.append)
    assert running.precision == "float32"
    assert said == [
        "WARNING: torch bfloat16 fails here, so expressions are read by torch float32: "
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"
    ]


@pytest.mark.usefixtures("card_with_bfloat16")
def test_a_card_that_fails_is_not_blamed_on_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 would fail on it too."""

    def fail(x: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.0 GiB.")

    net = tiny().eval()
    monkeypatch.setattr(net, "forward", fail)
    said: list[str] = []
    with pytest.raises(torch.OutOfMemoryError):
        engines.start(net, {}, 44, wanted="auto", device="cuda", log=said.append)
    assert said == []
