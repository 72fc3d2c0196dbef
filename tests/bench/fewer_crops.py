"""What ways of reading fewer crops cost, and how far they are from ten.

    python -m tests.bench.fewer_crops --data fer2013 [--weights joint] [--faces 0] [--rounds 9]

Each of the ten views is read once and a way is the mean of those it would read; those that share a
net's first layers, so many of them, are read by themselves. "NLL" is the mean negative
log-likelihood of the labels, "KL" the divergence from what ten crops say, both in nats; "less
ten_crop" is in points of accuracy, with its standard error. Work is in multiplications, time that
of this thread for 16 faces in torch, both in % of ten crops'.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from classifiers.expression import Split
from classifiers.expression.classifier import ExpressionClassifier, Net
from classifiers.expression.four_crop import FourCrop
from classifiers.expression.joint import Joint
from classifiers.expression.tta import VIEWS, standardise, temperature_of, views, with_temperature
from tests.bench.parts.arguments import parser_of
from tests.fer import load_split

BATCH, TIMED = 32, 16
CUT: dict[str, tuple[int, ...]] = {
    "none": VIEWS["none"],
    "flip": VIEWS["flip"],
    "two opposite corners, one mirrored": (0, 7),
    "centre, two mirrored corners": (4, 5, 8),
    "four_crop, nothing shared": VIEWS["four_crop"],
    "eight corners": (0, 1, 2, 3, 5, 6, 7, 8),
    "ten_crop": VIEWS["ten_crop"],
}
SHARED: dict[str, tuple[int, ...]] = {
    "VGG10": (7, 14, 20),
    "DarknetResNet": (7, 11),
    "ResNet18": (5, 7),
}

Read = dict[str, torch.Tensor]


def name_of(net: Net, layers: int) -> str:
    mine = " (four_crop)" if layers == net.module.shared else ""
    return f"the same, {layers} layers shared{mine}"


@torch.inference_mode()
def read(net: Net, faces: NDArray[np.uint8]) -> Read:
    """Probabilities [N, 7] of every way, not calibrated."""
    found: dict[str, list[torch.Tensor]] = {}
    fours = {n: FourCrop(net.module, net.crop_px, n) for n in SHARED[type(net.module).__name__]}
    for start in track(range(0, len(faces), BATCH), "faces", transient=True):
        x = standardise(torch.from_numpy(faces[start : start + BATCH]))
        x = x.contiguous(memory_format=torch.channels_last)
        ten = net.module(views(x, net.crop_px, "ten_crop").flatten(0, 1)).view(10, len(x), -1)
        for way, numbers in CUT.items():
            found.setdefault(way, []).append(ten[list(numbers)].softmax(-1).mean(0))
        for layers, four in fours.items():
            p = four(x).view(4, len(x), -1).softmax(-1).mean(0)
            found.setdefault(name_of(net, layers), []).append(p)
    return {way: torch.cat(parts) for way, parts in found.items()}


@torch.inference_mode()
def costs(net: Net, rounds: int) -> dict[str, tuple[float, float]]:
    """Work and time of every way, as shares of ten crops'."""
    face = torch.randn(TIMED, 1, 48, 48).contiguous(memory_format=torch.channels_last)
    ten = views(face, net.crop_px, "ten_crop")
    inputs: dict[str, tuple[nn.Module, torch.Tensor]] = {
        way: (net.module, ten[list(numbers)].flatten(0, 1)) for way, numbers in CUT.items()
    }
    for layers in SHARED[type(net.module).__name__]:
        inputs[name_of(net, layers)] = (FourCrop(net.module, net.crop_px, layers), face)
    work, times_s = {}, {way: np.empty(rounds) for way in inputs}
    for way, (module, x) in inputs.items():
        with FlopCounterMode(display=False) as counter:
            module(x)
        work[way] = counter.get_total_flops()
    for number in range(rounds):
        for way, (module, x) in inputs.items():
            began_s = time.thread_time()
            module(x.contiguous(memory_format=torch.channels_last))
            times_s[way][number] = time.thread_time() - began_s
    return {
        way: (
            work[way] / work["ten_crop"],
            float(np.median(times_s[way] / times_s["ten_crop"])),
        )
        for way in inputs
    }


def table(
    name: str, found: Read, labels: NDArray[np.int64], cost: dict[str, tuple[float, float]]
) -> None:
    print(f"{name:36} work  time  accuracy    NLL     KL  as ten  less ten_crop")
    truth = torch.from_numpy(labels)
    ten = found["ten_crop"].double()
    base = (ten.argmax(1) == truth).double()
    for way, p in found.items():
        q = p.double()
        right = (q.argmax(1) == truth).double()
        less = 100 * (right - base)
        nll = -q[torch.arange(len(truth)), truth].log().mean()
        work, took = (f"{100 * share:4.0f}" for share in cost[way]) if cost else ("", "")
        print(
            f"{way:36} {work:>4}  {took:>4}  {100 * right.mean():8.2f}  {nll:.4f}"
            f" {(ten * (ten / q).log()).sum(1).mean():.4f}"
            f"  {100 * (q.argmax(1) == ten.argmax(1)).double().mean():6.1f}"
            f"  {less.mean():+.2f} ± {less.std() / len(less) ** 0.5:.2f}"
        )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="joint")
    parser.add_argument("--split", choices=get_args(Split), default="public")
    parser.add_argument("--faces", type=int, default=0, help="of the split, evenly; 0: all")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faces = load_split(options.data, options.split)
    if options.faces:
        few = np.linspace(0, len(faces.labels) - 1, options.faces).astype(np.int64)
        faces = faces.keep(np.isin(np.arange(len(faces.labels)), few))
    classifier = ExpressionClassifier.load(options.weights, device="cpu")
    record, each = classifier.record, []
    members = [m.net for m in record.members if m.weight] if isinstance(record, Joint) else []
    for name, net in zip(members or [classifier.name], classifier.nets, strict=True):
        each.append(read(net, faces.images))
        # Of ten crops, whatever the number: what is compared is the views.
        own = temperature_of((net if members else classifier).temperatures, "ten_crop")
        alone = {way: with_temperature(p, own) for way, p in each[-1].items()}
        table(name, alone, faces.labels, costs(net, options.rounds))
    if members:
        # What a net shares differs from net to net: here each does as it does in the daemon.
        shared = [
            {**found, "four_crop": found[name_of(net, net.module.shared)]}
            for net, found in zip(classifier.nets, each, strict=True)
        ]
        mixed = {
            way: classifier.joined([found[way] for found in shared], "ten_crop")
            for way in (*CUT, "four_crop")
        }
        table(classifier.name, mixed, faces.labels, {})


if __name__ == "__main__":
    main()
