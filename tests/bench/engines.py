"""Faces a second by engine and views, against eager torch reading one face at a time.

    python -m tests.bench.engines [--weights default] [--threads 1] [--faces 32] [--rounds 7]

The plain way is the net as it was trained, eager, one face after the other; the engines read
batches of 16 as the daemon does. All take turns in one run, and ratios are medians of rounds.
With one thread the clock is processor time, so that other work on the machine does not count.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers.errors import CheckpointError
from classifiers.expression import TTA, EngineSetting
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines import installed
from classifiers.expression.tta import STATIC_TTA, VIEW_COUNT, mean_probabilities
from tests.bench.parts.arguments import parser_of
from tests.bench.parts.usual_loop import as_trained

BATCH = 16
Faces = NDArray[np.uint8]
Way = Callable[[Faces, TTA], None]


def plain_way(weights: str) -> Way:
    """One face at a time."""
    net = as_trained(weights)

    @torch.inference_mode()
    def read(faces: Faces, tta: TTA) -> None:
        for face in faces:
            mean_probabilities(net.module, torch.from_numpy(face[None]), net.crop_px, tta)

    return read


def batches(classifier: ExpressionClassifier) -> Way:
    def read(faces: Faces, tta: TTA) -> None:
        classifier.tta = tta
        for start in range(0, len(faces), BATCH):
            classifier.predict(faces[start : start + BATCH])

    return read


def ways(weights: str) -> dict[str, Way]:
    """What is compared, by name; the first is what the others are compared with.

    Raises CheckpointError as `as_trained`.
    """

    def load(engine: EngineSetting) -> ExpressionClassifier:
        return ExpressionClassifier.load(weights, device="cpu", engine=engine)

    found = {"plain": plain_way(weights), "torch": batches(load("torch"))}
    if "openvino" in installed():
        low = load("openvino")
        nets = [replace(net, ranges={}) for net in load("torch").nets]
        whole = ExpressionClassifier(nets, low.record, device="cpu", tta="none", engine="openvino")
        found |= {whole.engine: batches(whole), low.engine: batches(low)}
    return found


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--faces", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    try:
        compared = ways(options.weights)
    except CheckpointError as error:
        parser.error(f"--weights: {error}")
    faces = np.random.default_rng(0).integers(0, 256, (options.faces, 48, 48), dtype=np.uint8)
    print(
        f"{options.weights}, {options.threads} thread(s), by {clock.__name__}: "
        "faces a second, and times the plain way"
    )
    print(f"{'views':12}" + "".join(f"{name:>22}" for name in compared))
    for tta in STATIC_TTA:
        took_s: dict[str, list[float]] = {name: [] for name in compared}
        few = faces[: max(BATCH, len(faces) // VIEW_COUNT[tta])]
        for read in compared.values():
            read(few[:BATCH], tta)
        for _ in range(options.rounds):
            for name, read in compared.items():
                began_s = clock()
                read(few, tta)
                took_s[name].append(clock() - began_s)
        cells = []
        for seconds in took_s.values():
            rate = len(few) / statistics.median(seconds)
            ratio = statistics.median(a / b for a, b in zip(took_s["plain"], seconds, strict=True))
            cells.append(f"{rate:14.1f} x{ratio:5.2f} ")
        print(f"{tta:12}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
