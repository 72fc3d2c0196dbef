"""What is lost by reading fewer views of a face than ten crops, or others.

    python -m tests.bench.fewer_crops --data fer2013 [--weights joint] [--split public] [--faces 0]

Each view is read once, and a way is the mean of those it would read; its work is their number.
"NLL" is the mean negative log-likelihood of the labels, "KL" the divergence from what ten crops
say, both in nats; "less ten" is in points of accuracy, with its standard error.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from classifiers.expression import Split
from classifiers.expression.classifier import ExpressionClassifier, Net
from classifiers.expression.joint import Joint
from classifiers.expression.tta import CUTS, standardise, temperature_of, views, with_temperature
from tests.bench.parts.arguments import parser_of
from tests.fer import load_split

BATCH = 32
# The ten crops by their numbers, then the whole face, its mirror image, and the nearer part's two.
FAR, FAR_MIRRORED, NEAR, NEAR_MIRRORED = range(10, 14)
WAYS: dict[str, tuple[int, ...]] = {
    "none": CUTS["none"],
    "flip": CUTS["flip"],
    "two opposite corners, one mirrored": (0, 7),
    "whole, nearer mirrored": (FAR, NEAR_MIRRORED),
    "centre, two mirrored corners": (4, 5, 8),
    "scales": (FAR, 9, NEAR),
    "four corners, two mirrored": (0, 5, 3, 8),
    "scales, each also mirrored": (4, 9, FAR, FAR_MIRRORED, NEAR, NEAR_MIRRORED),
    "ten_crop": CUTS["ten_crop"],
    "ten_crop and the other scales": tuple(range(14)),
}

Read = dict[str, torch.Tensor]


@torch.inference_mode()
def read(net: Net, faces: NDArray[np.uint8]) -> Read:
    """Probabilities [N, 7] of every way, not calibrated."""
    found = []
    for start in track(range(0, len(faces), BATCH), "faces", transient=True):
        x = standardise(torch.from_numpy(faces[start : start + BATCH]))
        far, _, near = views(x, net.crop_px, "scales")
        others = torch.stack([far, far.flip(-1), near, near.flip(-1)])
        shown = torch.cat([views(x, net.crop_px, "ten_crop"), others])  # [14, N, 1, c, c]
        logits = net.module(shown.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        found.append(logits.view(len(shown), len(x), -1).softmax(-1))
    each = torch.cat(found, 1)
    return {way: each[list(numbers)].mean(0) for way, numbers in WAYS.items()}


def table(name: str, found: Read, labels: NDArray[np.int64]) -> None:
    print(f"{name:36} work  accuracy    NLL     KL  as ten  less ten")
    truth = torch.from_numpy(labels)
    ten = found["ten_crop"].double()
    base = (ten.argmax(1) == truth).double()
    for way, p in found.items():
        q = p.double()
        right = (q.argmax(1) == truth).double()
        less = 100 * (right - base)
        nll = -q[torch.arange(len(truth)), truth].log().mean()
        print(
            f"{way:36} {10 * len(WAYS[way]):3d}%  {100 * right.mean():8.2f}  {nll:.4f}"
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
    options = parser.parse_args()
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
        table(name, alone, faces.labels)
    if members:
        mixed = {way: classifier.joined([found[way] for found in each], "ten_crop") for way in WAYS}
        table(classifier.name, mixed, faces.labels)


if __name__ == "__main__":
    main()
