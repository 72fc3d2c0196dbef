"""What computes a net, and how precisely: torch anywhere; OpenVINO on a processor, if installed."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn

from classifiers.errors import EngineError, ExtraError, first_line
from classifiers.expression import Engine, EngineSetting
from classifiers.expression.architectures import FaceNet
from classifiers.expression.engines.cuda import has_bfloat16, whole_float32
from classifiers.expression.tta import standardise

Logits = Callable[[torch.Tensor], torch.Tensor]
"""Standardised views, float32 [B, 1, c, c] on the device, to logits [B, 7]; any B, one thread."""

Compile = Callable[[nn.Module, tuple[int, int, int]], Logits]
"""Makes a net ready for inputs of [channels, height, width]; raises EngineError, ExtraError,
ImportError or RuntimeError where the engine cannot."""

Ranges = Mapping[str, tuple[float, float]]
"""Least and largest input of a net's layers, by the layer's name."""

# Mean difference of probabilities between float32 and an engine, on drawn faces. The shipped nets
# in int8 differ by less than 0.01; weights of 8 bits where only 7 fit, by more than 0.05.
MOST_DIFFERENCE = 0.02
DRAWN_FACES = 16

# Read at once by torch on a processor: the maps of more, such as ten crops of 16 faces, leave its
# cache; docs/performance.md has the figures.
VIEWS_PER_THREAD = 32


@dataclass(frozen=True)
class Running:
    """A net as an engine runs it, made when it is first asked for."""

    engine: Engine
    precision: Literal["float32", "bfloat16", "int8"]
    net: FaceNet
    crop_px: int
    compile: Compile

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"

    @cached_property
    def logits(self) -> Logits:
        """What reads views. Raises what `compile` does."""
        return self.compile(self.net, (1, self.crop_px, self.crop_px))


def installed() -> tuple[Engine, ...]:
    """The engines that this environment has for a processor, the fastest first; imports none."""
    return ("torch",) if find_spec("openvino") is None else ("openvino", "torch")


def start(
    net: FaceNet,
    ranges: Ranges,
    crop_px: int,
    *,
    wanted: EngineSetting,
    device: str,
    log: Callable[[str], None] = lambda line: None,
) -> Running:
    """Make a net ready to run on `device`; it is in eval mode there, with its norms folded in.

    OpenVINO computes in int8 the layers whose inputs `ranges` knows. `auto` takes it on an x86
    processor, where it was measured to be the fastest, if it is installed; on a graphics card torch
    in bfloat16, if the card has that; and torch in float32 elsewhere, and wherever those fail or
    answer otherwise. What is not as wished is told to `log`. Threads are as many as torch has:
    `torch.set_num_threads` or OMP_NUM_THREADS sets both. Raises EngineError, or ExtraError where
    OpenVINO is wanted and not installed, and RuntimeError where `device` itself fails.
    """
    plain = Running("torch", "float32", net, crop_px, _float32)
    asked = wanted == "openvino"
    if asked and device != "cpu":
        raise EngineError(
            "expression.engine is openvino, which computes on the processor, but "
            f"expression.device is {device}; accepted with openvino: auto, cpu"
        )
    whole_float32(device)
    if wanted == "torch" and device == "cpu":
        return plain  # which needs no comparison with itself
    views = _drawn_views(net, crop_px)
    with torch.inference_mode():
        expected = net(views)  # What fails here is the device, and no engine.
    found = plain
    if wanted == "auto" and device == "cuda":
        if has_bfloat16():
            found = Running("torch", "bfloat16", net, crop_px, _bfloat16)
    elif asked or (wanted == "auto" and _is_x86()):
        found = Running(
            "openvino", "int8" if ranges else "float32", net, crop_px, partial(_openvino, ranges)
        )
    elif wanted == "auto" and "openvino" in installed():
        log("expressions are read by torch; on this processor openvino has to be named to be used")
    if found is plain:
        return plain
    try:
        with torch.inference_mode():
            answered = found.logits(views)
    except ExtraError as error:
        if asked:
            raise ExtraError(f"expression.engine is openvino: {error}") from error
        log(f"expressions are read by torch; openvino is two to eight times as fast, and {error}")
        return plain
    except (ImportError, RuntimeError, EngineError) as error:
        if asked:
            raise EngineError(
                f"expression.engine is openvino, which fails here: {first_line(error)}"
            ) from error
        log(f"WARNING: {found} fails here, so expressions are read by {plain}: {first_line(error)}")
        return plain
    if found.engine == "openvino" and not ranges:
        log(
            "openvino computes in float32, since the weights' record lists no activations; "
            "`affectd calibrate` finds them, and int8 is two to eight times as fast"
        )
    apart = float((expected.softmax(-1) - answered.softmax(-1)).abs().mean())
    if apart <= MOST_DIFFERENCE:
        return found
    taken = found if asked else plain
    log(
        f"WARNING: probabilities by {found} are {apart:.3f} from those by {plain} in the mean, "
        f"more than {MOST_DIFFERENCE}; expressions are read by {taken}"
    )
    return taken


def _drawn_views(net: nn.Module, crop_px: int) -> torch.Tensor:
    """Standardised views, float32 [DRAWN_FACES, 1, crop_px, crop_px] on the net's device: smooth,
    random blobs, the same every time.
    """
    chance = torch.Generator().manual_seed(0)
    blobs = torch.rand(DRAWN_FACES, 1, 6, 6, generator=chance)
    faces = nn.functional.interpolate(blobs, (crop_px, crop_px), mode="bicubic").clamp(0.0, 1.0)
    x = standardise(faces[:, 0] * 255.0).contiguous(memory_format=torch.channels_last)
    return x.to(next(net.parameters()).device)


def _float32(net: nn.Module, shape: tuple[int, int, int]) -> Logits:
    """The net as it is; on a processor it sees a few views at a time."""

    def logits(x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda:
            return net(x)  # type: ignore[no-any-return]
        few = torch.split(x, VIEWS_PER_THREAD * torch.get_num_threads())
        return torch.cat([net(part) for part in few])

    return logits


def _bfloat16(net: nn.Module, shape: tuple[int, int, int]) -> Logits:
    """The same net in bfloat16; in and out is float32."""
    low = deepcopy(net).to(torch.bfloat16)

    def logits(x: torch.Tensor) -> torch.Tensor:
        return low(x.to(torch.bfloat16)).float()  # type: ignore[no-any-return]

    return logits


def _is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _openvino(ranges: Ranges, net: nn.Module, shape: tuple[int, int, int]) -> Logits:
    from classifiers.expression.engines.openvino import compile_net

    return compile_net(net, ranges, shape, torch.get_num_threads())
