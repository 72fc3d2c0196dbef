"""FER2013 (Goodfellow et al. 2013, arXiv:1307.0414), as folders or as a tar archive of them."""

from __future__ import annotations

import hashlib
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from classifiers.errors import DataError
from classifiers.expression import LABELS

FACE_PX = 48
HOLDOUT_BYTES = 13  # of 256: about 5 % of Training

Split = Literal["train", "holdout", "public", "private"]
_PLACES: dict[Split, tuple[str, str]] = {
    "train": ("train", "Training_"),
    "holdout": ("train", "Training_"),
    "public": ("test", "PublicTest_"),
    "private": ("test", "PrivateTest_"),
}


@dataclass(frozen=True)
class Faces:
    """A split in memory.

    images: uint8 [N, 48, 48] grey; labels: int64 [N], indices into LABELS; files: N names.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: tuple[str, ...]

    def digests(self) -> list[bytes]:
        """SHA-256 of each image's pixels: equal for copies, whatever their file is called."""
        return [hashlib.sha256(image.tobytes()).digest() for image in self.images]

    def keep(self, mask: NDArray[np.bool_]) -> Faces:
        """The faces where mask, bool [N], is true."""
        files = tuple(name for name, kept in zip(self.files, mask, strict=True) if kept)
        return Faces(self.images[mask], self.labels[mask], files)


def load(source: Path, split: Split) -> Faces:
    """Read one split, in the order of file names.

    `train` and `holdout` part FER2013's Training by the first byte of each image's hash, so
    that copies of one picture never stand on both sides; blank images are left out of both.
    Raises DataError when the folder or archive is missing, lacks a class, or holds a file
    that is no 48x48 image.
    """
    top, prefix = _PLACES[split]
    found = sorted(
        (name, label, content)
        for name, label, content in _members(source, top)
        if PurePosixPath(name).name.startswith(prefix)
    )
    missing = set(LABELS) - {label for _, label, _ in found}
    if missing:
        raise DataError(
            f"{source}: no {prefix}* images in {top}/ for {', '.join(sorted(missing))}; "
            f"accepted is {top}/<class>/{prefix}*.jpg for the classes {', '.join(LABELS)}"
        )
    images = np.stack([_decode(source, name, content) for name, _, content in found])
    labels = np.array([LABELS.index(label) for _, label, _ in found], dtype=np.int64)
    faces = Faces(images, labels, tuple(name for name, _, _ in found))
    if top != "train":
        return faces
    held = np.array([digest[0] < HOLDOUT_BYTES for digest in faces.digests()])
    blank = images.reshape(len(images), -1).std(axis=1) < 1.0
    kept = faces.keep((held if split == "holdout" else ~held) & ~blank)
    if not kept.files:
        raise DataError(f"{source}: no image falls into {split}; accepted is a larger data set")
    return kept


def fingerprint(source: Path) -> str:
    """SHA-256 over names and pixels of Training: what a record calls the data set's hash."""
    total = hashlib.sha256()
    for split in ("train", "holdout"):
        faces = load(source, split)
        for name, digest in zip(faces.files, faces.digests(), strict=True):
            total.update(name.encode() + digest)
    return total.hexdigest()


def _members(source: Path, top: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (name, class, content) of the images under `top`, from a folder or a tar archive."""
    if source.is_dir():
        for path in (source / top).glob("*/*.jpg"):
            yield path.relative_to(source).as_posix(), path.parent.name, path.read_bytes()
        return
    try:
        with tarfile.open(source) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                if member.isfile() and len(parts) == 3 and parts[0] == top:
                    content = archive.extractfile(member)
                    assert content is not None  # isfile() says so
                    yield "/".join(parts), parts[1], content.read()
    except FileNotFoundError:
        raise DataError(f"{source}: no such folder or tar archive of FER2013") from None
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{source}: not a folder or a tar archive of FER2013: {error}") from error


def _decode(source: Path, name: str, content: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None or image.shape != (FACE_PX, FACE_PX):
        shape = "no image" if image is None else f"{image.shape[1]}x{image.shape[0]}"
        raise DataError(f"{source}: {name} is {shape}; accepted are {FACE_PX}x{FACE_PX} images")
    grey: NDArray[np.uint8] = image
    return grey
