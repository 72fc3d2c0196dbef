"""FER2013 as images in folders, `train/<class>/Training_*.jpg`, or a tar archive of those."""

from __future__ import annotations

import lzma
import tarfile
from collections.abc import Container, Iterable, Iterator
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from classifiers.errors import DataError
from classifiers.expression import LABELS
from classifiers.expression.data.faces import FACE_PX, Faces, Usage, gather
from classifiers.expression.data.kaggle import CSV, read_csv

TOPS: dict[Usage, str] = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
SUFFIXES = (".jpg", ".png")


def read_folder(source: Path, usages: Container[Usage], strict: bool) -> dict[Usage, Faces]:
    """Read a folder of images, or of Kaggle's CSV where that lies in it.

    Raises DataError when it cannot be read, and for a bad image where `strict`.
    """
    try:
        if (source / CSV).is_file():
            with (source / CSV).open("rb") as lines:
                return read_csv(lines, f"{source / CSV}", usages)
        return _decode_all(_in_folder(source, usages), f"{source}", strict)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error


def read_tar(source: Path, usages: Container[Usage], strict: bool) -> dict[Usage, Faces]:
    """The same for a tar archive, compressed or not, which is gone through once."""
    try:
        with tarfile.open(source, "r|*") as archive:
            return _decode_all(_in_tar(archive, usages), f"{source}", strict)
    except _HoldsCsv as found:
        return found.faces
    except FileNotFoundError:
        raise DataError(
            f"{source}: no such file; accepted is FER2013 as a folder, a tar archive or a .csv"
        ) from None
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{source}: not a folder or a tar archive of FER2013: {error}") from error
