"""OpenVINO: an expression net as its own graph, in int8 where its record knows the ranges.

The graph is built layer by layer from the net's modules. OpenVINO's converter would do that too,
but needs the net exported by torch first, which takes seconds of a start.
"""

from __future__ import annotations

import operator
import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from classifiers.errors import EngineError
from classifiers.expression.engines import Logits, Ranges
from classifiers.extras import extra

# OpenVINO tells its makers of every import, over the network, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

with extra("cpu"):
    import openvino
    from openvino import opset13 as ops

# Without VNNI a processor sums two products of 8 bits in 16, which fit if the weights have but 7.
WEIGHT_STEPS = 63


@cache
def core() -> openvino.Core:
    """Kept for ever: destroying the last Core frees the signal stack it installed, and the next
    Ctrl-C would crash."""
    return openvino.Core()


def compile_net(
    net: nn.Module, ranges: Ranges, shape: tuple[int, int, int], threads: int
) -> Logits:
    """Compile `net`, in eval mode and with its batch normalisations folded in, for this processor.

    It will read any number of float32 inputs of `shape`: channels, height, width.

    Convolutions and linear layers that `ranges` names compute in int8, others in float32, on at
    most so many `threads`. A face's logits do not depend on what else is in its batch.
    Raises EngineError for a net with a layer that is not translated here.
    """
    inputs = ops.parameter([-1, *shape], np.float32, "inputs")
    model = openvino.Model([_Graph(net, ranges).run(inputs)], [inputs], "expression")
    compiled = core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()

    def logits(x: torch.Tensor) -> torch.Tensor:
        found = request.infer([x.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(found[0])

    return logits


class _Graph(fx.Interpreter):
    """Walks a net as `forward` would and leaves OpenVINO's nodes where tensors would be."""

    def __init__(self, net: nn.Module, ranges: Ranges) -> None:
        super().__init__(fx.symbolic_trace(net))
        self._ranges = ranges

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        layer = self.fetch_attr(target)
        (x,) = args
        match layer:
            case nn.Conv2d():
                x, weight = self._quantised(target, x, layer.weight)
                padding = list(layer.padding)
                y = ops.convolution(
                    x, weight, list(layer.stride), padding, padding, list(layer.dilation)
                )
                return _biased(y, layer.bias, (1, -1, 1, 1))
            case nn.Linear():
                x, weight = self._quantised(target, x, layer.weight)
                return _biased(ops.matmul(x, weight, False, True), layer.bias, (1, -1))
            case nn.ReLU():
                return ops.relu(x)
            case nn.LeakyReLU():
                return ops.prelu(x, _constant(np.array([layer.negative_slope])))
            case nn.MaxPool2d():
                side, stride = [layer.kernel_size] * 2, [layer.stride] * 2
                return ops.max_pool(x, stride, [1, 1], [0, 0], [0, 0], side).output(0)
            case nn.AdaptiveAvgPool2d(output_size=1):
                return ops.reduce_mean(x, np.array([2, 3]), keep_dims=True)
            case nn.Flatten():
                return ops.reshape(x, np.array([0, -1]), special_zero=True)
            case nn.Dropout() | nn.Identity():
                return x
        raise EngineError(f"{target} is {layer}, which this engine does not know")

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is operator.add:
            return ops.add(*args)
        if target is torch.relu:
            return ops.relu(*args)
        raise EngineError(f"{target}, which this engine does not know")

    def _quantised(self, name: str, x: Any, weight: torch.Tensor) -> tuple[Any, Any]:
        """Both inputs of layer `name`, through 8 and 7 bits if its range is known."""
        values = weight.detach().float().numpy()
        if name not in self._ranges:
            return x, _constant(values)
        low, high = self._ranges[name]
        if low < 0.0:
            high = max(high, -low * 127 / 128)
            low = -high * 128 / 127
        else:
            low = 0.0
        x = ops.fake_quantize(x, *(_constant(np.array(v)) for v in (low, high) * 2), 256)
        most = np.abs(values).reshape(len(values), -1).max(1)
        most = np.maximum(most, 1e-8).reshape(-1, *[1] * (values.ndim - 1))
        # Steps of most / 63, but declared as 255 levels of a wider range, as int8 kernels want it.
        bound = most * 127 / WEIGHT_STEPS
        limits = [_constant(v) for v in (-bound, bound) * 2]
        return x, ops.fake_quantize(_constant(values), *limits, 255)


def _constant(values: NDArray[Any]) -> Any:
    return ops.constant(np.ascontiguousarray(values, dtype=np.float32))


def _biased(y: Any, bias: torch.Tensor | None, shape: tuple[int, ...]) -> Any:
    if bias is None:
        return y
    return ops.add(y, _constant(bias.detach().float().numpy().reshape(shape)))
