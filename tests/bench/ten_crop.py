"""Faces a second with ten crops: affectd's batches against the plain way.

    python -m tests.bench.ten_crop [--faces 96] [--rounds 3] [--threads 1]

The plain way is the usual one: each face by itself through PIL and torchvision's TenCrop, then
the net as it was trained, in eager mode. Both give the same probabilities, which is checked.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.tta import temperature_of, with_temperature
from classifiers.expression.weight_files import locate
from tests.bench.parts.usual_loop import Faces, Loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--faces", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    classifier = ExpressionClassifier.load("default", device="cpu", tta="ten_crop")
    loop = Loop("default")
    temperature = temperature_of(checkpoint.read_record(locate("default")).temperature, "ten_crop")
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (options.faces, 48, 48), dtype=np.uint8)

    def plain(faces: Faces) -> NDArray[np.float32]:
        return with_temperature(torch.from_numpy(loop.classify(faces)), temperature).numpy()

    def batched(faces: Faces) -> NDArray[np.float32]:
        return np.concatenate(
            [classifier.predict(faces[i : i + 16]) for i in range(0, len(faces), 16)]
        )

    assert np.allclose(plain(faces[:16]), batched(faces[:16]), atol=1e-3)
    rounds = []
    for _ in range(options.rounds):
        times_s = []
        for way in (plain, batched):
            began_s = time.perf_counter()
            way(faces)
            times_s.append(time.perf_counter() - began_s)
        rounds.append((times_s[0], times_s[1]))
    slow = options.faces / statistics.median(first for first, _ in rounds)
    fast = options.faces / statistics.median(second for _, second in rounds)
    print(f"weights         {classifier.name}, {options.threads} thread(s)")
    print(f"plain           {slow:7.1f} faces/s")
    print(f"affectd         {fast:7.1f} faces/s")
    print(f"ratio           {statistics.median(a / b for a, b in rounds):7.2f}")


if __name__ == "__main__":
    main()
