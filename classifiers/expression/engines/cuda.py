"""Whether nets run on the graphics card here, or on the processor, and how precisely."""

from __future__ import annotations

import torch
from torch.nn.functional import conv2d

from classifiers.errors import EngineError, first_line
from classifiers.expression import Device, DeviceSetting

NO_CARD = "torch finds no CUDA device here"


def cuda_fault() -> str:
    """Why no net runs on a graphics card here, in a line; empty where one does.

    NO_CARD where there is none. One that is there is tried: torch may have no kernels for it, or
    its memory may be full.
    """
    if not torch.cuda.is_available():
        return NO_CARD
    try:
        faces = torch.zeros(1, 8, 16, 16, device="cuda")
        conv2d(faces, torch.zeros(8, 8, 3, 3, device="cuda")).cpu()  # waits for the card
    except RuntimeError as error:
        return failure(error)
    return ""


def device_for(wanted: DeviceSetting, key: str = "expression.device") -> tuple[Device, str]:
    """The device that is meant here, and what is wrong with a card that `auto` passes over.

    Raises EngineError, naming `key`, for `cuda` where it does not work.
    """
    if wanted == "cpu":
        return "cpu", ""
    fault = cuda_fault()
    if fault and wanted == "cuda":
        raise EngineError(f"{key} is cuda, but {fault}; accepted: auto, cpu")
    return "cpu" if fault else "cuda", "" if fault == NO_CARD else fault


def failure(error: Exception) -> str:
    """What is wrong with a card on which torch raised `error`, in a line."""
    return f"torch fails on the CUDA device here: {first_line(error)}"


def whole_float32(device: str) -> None:
    """Let float32 mean that on a graphics card, and not ten bits of it (TF32)."""
    if device == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.set_float32_matmul_precision("highest")  # the environment may have said otherwise


def has_bfloat16() -> bool:
    """Whether the card computes in bfloat16 itself: what emulates it is slower than float32."""
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))
