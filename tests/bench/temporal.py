"""Does another view in each frame, smoothed over time, know as much as ten views of each?

    python -m tests.bench.temporal --data fer2013 [--weights joint] [--faces 1200]

Every face becomes a short film: in each frame it is shifted and scaled anew by up to 3 %, as a
detector's boxes are, and gets noise of its own. The readings of each way are smoothed as the
daemon smooths those of a track, and the label after the last frame counts. All ways see the same
frames; each of the ten views is read once, and a way is the mean of those it would read. Of a
joint its nets are judged too. "as ten" is the share of labels that `ten_crop` gives as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import binomtest

from classifiers.expression import TTA, Split
from classifiers.expression.classifier import ExpressionClassifier, Net
from classifiers.expression.evaluation.corruptions import jitter
from classifiers.expression.joint import Joint
from classifiers.expression.tta import (
    CUTS,
    TEMPORAL_ORDER,
    VIEW_COUNT,
    mean_probabilities,
    temperature_of,
    with_temperature,
)
from daemon.track import Smoother
from tests.bench.parts.arguments import parser_of
from tests.fer import load_split

SHIFT, SCALE = 0.03, 0.03  # of the face's side, each drawn within ± this
NOISE = 5.0  # grey levels, deviation
BATCH = 64
RESAMPLES = 2000
WAYS: tuple[TTA, ...] = ("none", "flip", "ten_crop", "temporal")
AGAINST: TTA = "ten_crop"

Probabilities = NDArray[np.float32]


def frame(faces: NDArray[np.uint8], seed: int, number: int) -> NDArray[np.uint8]:
    """Frame `number` of every face's film, uint8 [N, 48, 48]."""
    rng = np.random.default_rng([seed, number])
    moved = jitter(faces, SHIFT, SCALE, seed=int(rng.integers(2**31)))
    noisy = moved + rng.normal(0.0, NOISE, moved.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@torch.inference_mode()
def ten(net: Net, faces: NDArray[np.uint8], device: str) -> torch.Tensor:
    """What a net makes of each of the ten views, not calibrated: [10, N, 7], on the CPU."""
    parts = []
    for start in range(0, len(faces), BATCH):
        part = torch.from_numpy(faces[start : start + BATCH]).to(device)
        each = [
            mean_probabilities(
                net.module,
                part,
                net.crop_px,
                "temporal",
                view_indices=torch.full((len(part),), TEMPORAL_ORDER.index(view), device=device),
            )
            for view in range(len(TEMPORAL_ORDER))
        ]
        parts.append(torch.stack(each).cpu())
    return torch.cat(parts, 1)


def seen(way: TTA, number: int) -> list[int]:
    """The views that a way reads of frame `number`."""
    return [TEMPORAL_ORDER[number % len(TEMPORAL_ORDER)]] if way == "temporal" else list(CUTS[way])


def read(
    classifier: ExpressionClassifier, faces: NDArray[np.uint8], number: int
) -> Iterator[tuple[str, TTA, Probabilities]]:
    """What each net, and their joint, makes of frame `number` in each way."""
    record, nets = classifier.record, classifier.nets
    members = [m.net for m in record.members if m.weight] if isinstance(record, Joint) else []
    reads = [ten(net, faces, classifier.device) for net in nets]
    for way in WAYS:
        views = seen(way, number)
        means = [of_net[views].mean(0) for of_net in reads]
        for name, net, mean in zip(members, nets, means, strict=False):
            yield name, way, with_temperature(mean, temperature_of(net.temperatures, way)).numpy()
        yield classifier.name, way, classifier.joined(means, way).numpy()


def films(
    classifier: ExpressionClassifier, faces: NDArray[np.uint8], options: argparse.Namespace
) -> dict[tuple[str, TTA], Probabilities]:
    """The smoothed probabilities of every face after every frame, [frames, N, 7]."""
    smoothers: dict[tuple[str, TTA], list[Smoother]] = {}
    found: dict[tuple[str, TTA], list[Probabilities]] = {}
    for number in track(range(options.frames), "frames", transient=True):
        at_s = number / options.fps
        for name, way, guessed in read(classifier, frame(faces, options.seed, number), number):
            key = (name, way)
            mine = smoothers.setdefault(key, [Smoother() for _ in faces])
            smooth = [
                s.update(p, at_s, options.half_life_s) for s, p in zip(mine, guessed, strict=True)
            ]
            found.setdefault(key, []).append(np.array(smooth, np.float32))
    return {key: np.stack(frames) for key, frames in found.items()}


def table(
    name: str,
    found: dict[TTA, Probabilities],
    truth: NDArray[np.int64],
    draws: NDArray[np.int64],
) -> None:
    print(f"{name:16} views  first  last frame   NLL    as ten   less ten_crop      p")
    labels = {way: p.argmax(-1) for way, p in found.items()}
    base = (labels[AGAINST][-1] == truth).astype(np.float64)
    for way, p in found.items():
        first, last = ((labels[way][i] == truth).astype(np.float64) for i in (0, -1))
        less = last - base
        only, others = int((less > 0).sum()), int((less < 0).sum())
        chance = binomtest(only, only + others).pvalue if only + others else 1.0
        nll = -np.log(p[-1][np.arange(len(truth)), truth]).mean()
        same = (labels[way][-1] == labels[AGAINST][-1]).mean()
        print(
            f"{way:16} {VIEW_COUNT[way]:5d}  {100 * first.mean():5.1f}"
            f"  {100 * last.mean():5.1f} ± {100 * last[draws].mean(1).std():.1f}"
            f"  {nll:.4f}  {100 * same:5.1f}"
            f"  {100 * less.mean():+6.2f} ± {100 * less[draws].mean(1).std():.2f}  {chance:6.2f}"
        )


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", default="joint")
    parser.add_argument("--split", choices=get_args(Split), default="public")
    parser.add_argument("--faces", type=int, default=1200, help="drawn from the split; 0: all")
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--half-life-s", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    split = load_split(options.data, options.split)
    rng = np.random.default_rng(options.seed)
    number = min(options.faces or len(split.labels), len(split.labels))
    chosen = np.sort(rng.choice(len(split.labels), number, replace=False))
    truth = split.labels[chosen]
    found = films(ExpressionClassifier.load(options.weights), split.images[chosen], options)
    draws = rng.integers(0, number, (RESAMPLES, number))
    print(f"{number} faces of {options.split}, {options.frames} frames each at {options.fps:g} a")
    print(f"second, half-life {options.half_life_s:g} s; ± standard error by bootstrap")
    for name in dict.fromkeys(name for name, _ in found):
        table(name, {way: found[name, way] for way in WAYS}, truth, draws)


if __name__ == "__main__":
    main()
