"""FER2013 (Goodfellow et al. 2013, arXiv:1307.0414) in any of its layouts; see docs/data.md."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import DataError
from classifiers.expression import LABELS, Split
from classifiers.expression.crop import FACE_PX
from classifiers.expression.data.faces import USAGES, Faces, Usage
from classifiers.expression.data.folders import TOPS, read_folder, read_tar
from classifiers.expression.data.kaggle import read_csv

__all__ = ["FER2013", "USAGE_OF", "Faces", "read"]

HOLDOUT_BYTES = 13  # of 256: about 5 % of Training

USAGE_OF: dict[Split, Usage] = {
    "train": "Training",
    "holdout": "Training",
    "public": "PublicTest",
    "private": "PrivateTest",
}


@dataclass(frozen=True)
class FER2013:
    """The data set in memory, read once; `usages` holds all that was asked for, as it was found."""

    source: Path
    usages: dict[Usage, Faces]

    def split(self, split: Split) -> Faces:
        """One split, in canonical order.

        `train` and `holdout` part Training by the first byte of each image's hash, so that
        copies of one picture never stand on both sides. Both leave out images of one grey, and all
        but the first of those that share pixels and label. Copies with differing labels stay:
        people disagree about them. `public` and `private` are whole, for figures that compare.
        Raises DataError when a class has no image.
        """
        usage = USAGE_OF[split]
        faces = self._usage(usage)
        if usage != "Training":
            return faces
        digests = faces.digests()
        mine = np.array([(d[0] < HOLDOUT_BYTES) == (split == "holdout") for d in digests])
        blank = _blank(faces)
        keys = list(zip(digests, faces.labels.tolist(), strict=True))
        again = np.array([False] + [key == before for before, key in pairwise(keys)])
        kept = faces.keep(mine & ~blank & ~again)
        if not kept.files:
            raise DataError(
                f"{self.source}: no image falls into {split}; accepted is a larger data set"
            )
        return replace(
            kept,
            # Skipped files belong to neither part; they are reported with `train` only.
            skipped=faces.skipped if split == "train" else (),
            copies=int((mine & ~blank & again).sum()),
            blank=int((mine & blank).sum()),
        )

    def unseen(self, split: Split) -> NDArray[np.bool_]:
        """Which faces of a split stand nowhere in Training, bool [N]; of holdout, not in train."""
        training = self.usages["Training"]
        known = self.split("train") if split == "holdout" else training.keep(~_blank(training))
        seen = set(known.digests())
        return np.array([digest not in seen for digest in self.split(split).digests()])

    def fingerprint(self) -> str:
        """That of all of Training: the same for every layout of one data set."""
        return self.usages["Training"].fingerprint()

    def _usage(self, usage: Usage) -> Faces:
        faces = self.usages[usage]
        missing = [label for i, label in enumerate(LABELS) if not (faces.labels == i).any()]
        if missing:
            skipped = ""
            if faces.skipped:
                skipped = f" ({len(faces.skipped)} skipped that are no {FACE_PX}x{FACE_PX} image)"
            raise DataError(
                f"{self.source}: no {usage} images{skipped} for {', '.join(missing)}; accepted are "
                f"{TOPS[usage]}/<class>/{usage}_*.jpg for the classes {', '.join(LABELS)}, "
                "or a CSV with rows of them"
            )
        return faces


def _blank(faces: Faces) -> NDArray[np.bool_]:
    """Which images are of one grey, bool [N]."""
    blank: NDArray[np.bool_] = faces.images.max(axis=(1, 2)) == faces.images.min(axis=(1, 2))
    return blank


def read(source: Path, strict: bool = False, usages: Collection[Usage] = USAGES) -> FER2013:
    """Read a folder or tar archive of images or of fer2013.csv, or a CSV, once for all splits.

    A file that is no 48x48 image is skipped and named in `Faces.skipped`, or if `strict` is a
    DataError. Raises DataError when the source is missing or unreadable, naming a CSV's line.
    """
    if source.is_dir():
        return FER2013(source, read_folder(source, usages, strict))
    if source.suffix.lower() == ".csv":
        return FER2013(source, read_csv(source, usages))
    return FER2013(source, read_tar(source, usages, strict))
