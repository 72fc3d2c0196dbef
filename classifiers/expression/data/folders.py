"""FER2013 as images in folders, `train/<class>/Training_*.jpg`, or a tar archive of those."""

from __future__ import annotations

import lzma
import tarfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from classifiers.errors import DataError, first_line
from classifiers.expression import LABELS
from classifiers.expression.crop import FACE_PX
from classifiers.expression.data.faces import Faces, Usage, gather
from classifiers.expression.data.kaggle import CSV, read_csv, read_rows

TOPS: dict[Usage, str] = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}
SUFFIXES = (".jpg", ".png")


def read_folder(source: Path, usages: Collection[Usage], strict: bool) -> dict[Usage, Faces]:
    """Read a folder of images, or Kaggle's CSV where that lies in it.

    Raises DataError when a file cannot be read, and for a bad image if `strict`.
    """
    if (source / CSV).is_file():
        return read_csv(source / CSV, usages)
    pile = _Pile(source, usages, strict)
    for top in sorted({TOPS[usage] for usage in usages}):
        for path in (source / top).glob("*/*"):
            name = PurePosixPath(path.relative_to(source).as_posix())
            if usage := pile.usage(name):
                try:
                    pile.add(usage, name, path.read_bytes())
                except OSError as error:
                    raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return pile.faces()


def read_tar(source: Path, usages: Collection[Usage], strict: bool) -> dict[Usage, Faces]:
    """Read the same from a tar archive, compressed or not, going through it once.

    The folders may lie in another, as where the folder itself was packed, all in the same one.

    Raises DataError when it is none, is cut short, or holds two sets, and for a bad image if
    `strict`.
    """
    pile = _Pile(source, usages, strict)
    first: PurePosixPath | None = None
    try:
        with tarfile.open(source, tarinfo=_Member) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts
                name, root = PurePosixPath(*parts[-3:]), PurePosixPath(*parts[:-3])
                usage = pile.usage(name)
                if not member.isfile() or not (usage or name.name == CSV):
                    continue
                content = archive.extractfile(member)
                assert content is not None  # isfile() says so
                if not usage:
                    return read_rows(content, f"{source}: {name}", usages)
                first = first or root
                if root != first:  # a copy would count twice
                    raise DataError(
                        f"{source}: FER2013 lies in {first} and in {root}; accepted is one folder "
                        "that holds train and test"
                    )
                pile.add(usage, name, content.read())
    except FileNotFoundError:
        raise DataError(
            f"{source}: no such file; accepted is FER2013 as a folder, a tar archive or a .csv"
        ) from None
    except (OSError, tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        why = first_line(error).removesuffix(":")  # then all that tarfile tried
        raise DataError(f"{source}: not a folder or a tar archive of FER2013: {why}") from error
    return pile.faces()


class _Member(tarfile.TarInfo):
    """A member whose header is whole: of one that is not, tarfile makes the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf) == bytes(tarfile.BLOCKSIZE):
                raise  # the mark of the end
            raise tarfile.ReadError(f"cut short or damaged: {error}") from error


class _Pile:
    """Images as they come, sorted out by usage."""

    def __init__(self, source: Path, usages: Collection[Usage], strict: bool) -> None:
        self._source = source
        self._strict = strict
        self._found: dict[Usage, list[tuple[NDArray[np.uint8], int, str]]] = {u: [] for u in usages}
        self._skipped: dict[Usage, list[str]] = {u: [] for u in usages}

    def usage(self, name: PurePosixPath) -> Usage | None:
        """What the image of this name is for; None if it is no image, or is not asked for."""
        if len(name.parts) != 3 or name.suffix not in SUFFIXES:
            return None
        begin = name.name.partition("_")[0]
        return next((u for u in self._found if u == begin and TOPS[u] == name.parts[0]), None)

    def add(self, usage: Usage, name: PurePosixPath, content: bytes) -> None:
        label = name.parts[1]
        if label not in LABELS:
            raise DataError(
                f"{self._source}: {name} stands in no class; accepted are the folders "
                f"{', '.join(LABELS)}"
            )
        image = _decode(content)
        if image is not None and image.shape == (FACE_PX, FACE_PX):
            self._found[usage].append((image, LABELS.index(label), str(name)))
        elif self._strict:
            shape = "no image" if image is None else f"{image.shape[1]}x{image.shape[0]}"
            raise DataError(
                f"{self._source}: {name} is {shape}; accepted are {FACE_PX}x{FACE_PX} images"
            )
        else:
            self._skipped[usage].append(str(name))

    def faces(self) -> dict[Usage, Faces]:
        return {
            usage: gather(found, tuple(sorted(self._skipped[usage])))
            for usage, found in self._found.items()
        }


def _decode(content: bytes) -> NDArray[np.uint8] | None:
    """Grey pixels, uint8 [H, W]; None where there is no whole image."""
    # Of a JPEG that was cut short OpenCV makes a picture whose rest is grey.
    if not content or (content.startswith(b"\xff\xd8") and b"\xff\xd9" not in content):
        return None
    with suppress(cv2.error):  # a header that claims more pixels than OpenCV reads
        image: NDArray[np.uint8] | None = cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE
        )
        return image
    return None
