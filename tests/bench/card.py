"""Faces a second on a graphics card, and what part of its own rate of convolution that is.

    python -m tests.bench.card [--weights default] [--device cuda] [--faces 16 64 256]

A batch goes in as bytes and comes out as probabilities, as the daemon reads it. The card's own rate
is that of the net's convolutions and linear layers, each by itself over and over, on inputs of the
same shapes that lie on the card. `--device cpu` tries the script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from classifiers.expression import StaticTTA
from classifiers.expression.classifier import ExpressionClassifier, Net
from classifiers.expression.tta import STATIC_TTA, mean_probabilities
from tests.bench.parts.arguments import parser_of

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """Median time of a call, until the card is done with it."""
    timer = Timer("work()", globals={"work": work})
    return float(timer.blocked_autorange(min_run_time=0.5).median)


@torch.inference_mode()
def layers(net: Net, faces: torch.Tensor, tta: StaticTTA, dtype: torch.dtype) -> Iterator[Work]:
    """Each layer that multiplies, alone, on inputs as it gets them when `faces` are read."""
    found: list[tuple[nn.Module, torch.Size]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, args: found.append((layer, args[0].shape)))
        for layer in net.module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    mean_probabilities(net.module, faces, net.crop_px, tta)
    for hook in hooks:
        hook.remove()
    for layer, shape in found:
        x = torch.randn(shape, dtype=dtype, device=faces.device)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        yield torch.inference_mode()(partial(deepcopy(layer).to(dtype), x))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--faces", type=int, nargs="+", default=[16, 64, 256])
    options = parser.parse_args()
    cuda = options.device == "cuda"
    classifier = ExpressionClassifier.load(
        options.weights, device=options.device, engine="auto" if cuda else "torch"
    )
    dtype = torch.bfloat16 if "bfloat16" in classifier.engine else torch.float32
    machine = torch.cuda.get_device_name() if cuda else "processor"
    print(f"{options.weights} by {classifier.engine} on {machine}")
    print(f"{'views':12}{'batch':>7}{'faces/s':>12}{'TFLOP/s':>10}{'of its own rate':>18}")
    for tta in STATIC_TTA:
        classifier.tta = tta
        for number in options.faces:
            chance = np.random.default_rng(0)
            batch = chance.integers(0, 256, (number, 48, 48), dtype=np.uint8)
            faces = torch.from_numpy(batch).to(options.device)
            took_s = seconds(partial(classifier.predict, batch))
            works = [work for net in classifier.nets for work in layers(net, faces, tta, dtype)]
            with FlopCounterMode(display=False) as counter:
                for work in works:
                    work()
            rate = counter.get_total_flops() / took_s / 1e12
            share = sum(map(seconds, works)) / took_s
            print(
                f"{tta:12}{number:7}{number / took_s:12,.0f}{rate:10.2f}{share:18.0%}", flush=True
            )


if __name__ == "__main__":
    main()
