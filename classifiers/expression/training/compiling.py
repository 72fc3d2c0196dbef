"""A net as PyTorch's compiler makes it: one program for each size of picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from classifiers.errors import first_line


def compiled(net: nn.Module, device: str = "cpu") -> Callable[[torch.Tensor], torch.Tensor]:
    """`net` with its own parameters, compiled at the first call with each size of picture.

    On a card it is replayed as a CUDA graph: the logits of a call, and the gradients of its
    backward pass, are overwritten by the next call.

    A call and its backward pass raise RuntimeErrors that `is_compile_error` knows.
    """
    program: Callable[[torch.Tensor], torch.Tensor] = torch.compile(
        net, dynamic=False, mode="reduce-overhead" if device == "cuda" else None
    )
    return program


def compile_fault(device: str) -> str:
    """Why nothing can be compiled for `device`, in a line; empty if something can."""
    try:
        torch.compile(lambda x: x.sin() + 1.0)(torch.ones(8, device=device))
    except RuntimeError as error:
        return why(error)
    return ""


def is_compile_error(error: RuntimeError) -> bool:
    """Whether it was the compiler that failed, and not what it made."""
    from torch._dynamo.exc import TorchDynamoException  # which takes seconds to import

    return isinstance(error, TorchDynamoException)


def why(error: RuntimeError) -> str:
    """The line that says what is wrong: a C++ compiler's own first error, if it was one's."""
    lines = str(error).splitlines()
    return next((line.strip() for line in lines if "error: " in line), first_line(error))
