"""Labelled faces in memory, in an order that does not depend on how they were stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from classifiers.expression.crop import FACE_PX

NAMED = 3

Usage = Literal["Training", "PublicTest", "PrivateTest"]
USAGES: tuple[Usage, ...] = get_args(Usage)
"""The three parts of FER2013, by the names that Kaggle gave them."""


@dataclass(frozen=True)
class Faces:
    """Some faces, and what was left out of them.

    images: uint8 [N, 48, 48] grey; labels: int64 [N], indices into LABELS; files: N names.
    skipped: names of files that are no 48x48 image. copies, blank: numbers of images left out.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    copies: int = 0
    blank: int = 0

    def digests(self) -> list[bytes]:
        """SHA-256 of each image's pixels: equal for copies, whatever their file is called."""
        return [hashlib.sha256(image.tobytes()).digest() for image in self.images]

    def fingerprint(self) -> str:
        """SHA-256 over labels and pixels, which does not depend on layout or file names."""
        total = hashlib.sha256(self.labels.astype(np.uint8).tobytes())
        total.update(self.images.tobytes())
        return total.hexdigest()

    def keep(self, mask: NDArray[np.bool_]) -> Faces:
        """The faces where mask, bool [N], is true."""
        files = tuple(name for name, kept in zip(self.files, mask, strict=True) if kept)
        return replace(self, images=self.images[mask], labels=self.labels[mask], files=files)

    def summary(self, name: str) -> str:
        """One line for users: how many images there are, and what was left out and why."""
        copies = f"{self.copies:,} {'copy' if self.copies == 1 else 'copies'}"
        parts = [copies] * bool(self.copies) + [f"{self.blank:,} blank"] * bool(self.blank)
        text = f"{name}: {len(self.files):,} images"
        if parts:
            text += f" ({' and '.join(parts)} left out)"
        if self.skipped:
            more = ", …" if len(self.skipped) > NAMED else ""
            text += (
                f"; {len(self.skipped):,} skipped that are no {FACE_PX}x{FACE_PX} image: "
                f"{', '.join(self.skipped[:NAMED])}{more}"
            )
        return text


def gather(
    found: Iterable[tuple[NDArray[np.uint8], int, str]], skipped: tuple[str, ...] = ()
) -> Faces:
    """Put (image, label, file) into canonical order: by label, pixels' hash, then name.

    The same pictures come in the same order from every layout, and copies lie side by side.
    """
    items = sorted(
        (
            (label, hashlib.sha256(image.tobytes()).digest(), file, image)
            for image, label, file in found
        ),
        key=lambda item: item[:3],
    )
    images = [image for *_, image in items]
    return Faces(
        np.stack(images) if images else np.empty((0, FACE_PX, FACE_PX), np.uint8),
        np.array([label for label, *_ in items], np.int64),
        tuple(file for _, _, file, _ in items),
        skipped,
    )
