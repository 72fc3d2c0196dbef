"""What FER2013 holds more than once, for docs/data.md.

    python -m tests.bench.copies --data fer2013

Counts what stands in each part and what `affectd train` makes of it; trains nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from classifiers.expression import data
from classifiers.expression.data.faces import Faces
from tests.bench.parts.arguments import parser_of
from tests.shared import SHARED


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data/fer2013/fer2013.tar.xz")
    source = parser.parse_args().data
    fer = data.read(source)
    found = {usage: faces for usage, faces in fer.usages.items() if faces.files}
    print(f"{'':12} images  pictures  redundant  two labels  blank  in Training")
    training = set(found["Training"].digests())
    for name, faces in found.items():
        line(name, faces, training if name != "Training" else set())
    if len(found) > 1:
        line("together", join(list(found.values())), set())
    print(fer.split("train").summary("Training"))
    print(fer.split("holdout").summary("Holdout"))
    print(f"PublicTest without what Training holds too: {int(fer.unseen('public').sum()):,}")
    print(f"Fingerprint: {fer.fingerprint()}")


def line(name: str, faces: Faces, training: set[bytes]) -> None:
    digests = faces.digests()
    labels = Counter(digest for digest, _ in set(zip(digests, faces.labels.tolist(), strict=True)))
    differing = sum(number > 1 for number in labels.values())
    blank = int((faces.images.max(axis=(1, 2)) == faces.images.min(axis=(1, 2))).sum())
    copied = sum(digest in training for digest in digests)
    print(
        f"{name:12} {len(digests):6,}  {len(labels):8,}  {len(digests) - len(labels):9,}"
        f"  {differing:10}  {blank:5}  {copied:11}"
    )


def join(parts: list[Faces]) -> Faces:
    return Faces(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(name for part in parts for name in part.files),
    )


if __name__ == "__main__":
    main()
