"""FER2013 as Kaggle gave it out: a CSV, `emotion,pixels,Usage`, one row a face."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifiers.errors import DataError
from classifiers.expression import LABELS
from classifiers.expression.crop import FACE_PX
from classifiers.expression.data.faces import USAGES, Faces, Usage, gather

CSV = "fer2013.csv"
COLUMNS = ("emotion", "pixels", "Usage")
PIXELS = FACE_PX * FACE_PX


def read_csv(source: Path, usages: Collection[Usage]) -> dict[Usage, Faces]:
    """Read the rows of these usages. Raises DataError naming the line that is wrong."""
    try:
        with source.open("rb") as lines:
            return read_rows(lines, f"{source}", usages)
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error


def read_rows(lines: Iterable[bytes], name: str, usages: Collection[Usage]) -> dict[Usage, Faces]:
    """The same from lines; `name` stands before the line's number in errors.

    A face is called by its usage and line, `Training_00002`. Columns may come in any order.
    Split by hand: 300 MB of digits take the csv module longer than all the rest.
    """
    found: dict[Usage, list[tuple[NDArray[np.uint8], int, str]]] = {u: [] for u in usages}
    known = {usage.encode(): usage for usage in USAGES}
    emotions = {str(index).encode(): index for index in range(len(LABELS))}
    rows = enumerate(lines, 1)
    header = _fields(next(rows, (1, b""))[1].removeprefix("\ufeff".encode()))
    at = {column: header.index(column.encode()) for column in COLUMNS if column.encode() in header}
    if len(at) < len(COLUMNS):
        raise DataError(f"{name}, line 1: accepted are the columns {','.join(COLUMNS)}")
    for number, line in rows:
        fields = _fields(line)
        if fields == [b""]:
            continue
        where = f"{name}, line {number}"
        if len(fields) != len(header):
            raise DataError(
                f"{where}: a row of {len(fields)} fields; accepted are {len(header)}, as in line 1"
            )
        emotion, pixels, usage = (fields[at[column]] for column in COLUMNS)
        if emotion not in emotions:
            raise DataError(
                f"{where}: emotion is {_shown(emotion)}; accepted are 0 to {len(LABELS) - 1}, "
                f"for {', '.join(LABELS)}"
            )
        if usage not in known:
            raise DataError(f"{where}: Usage is {_shown(usage)}; accepted: {', '.join(USAGES)}")
        if known[usage] in found:
            face = (_image(pixels, where), emotions[emotion], f"{known[usage]}_{number:05}")
            found[known[usage]].append(face)
    return {usage: gather(faces) for usage, faces in found.items()}


def _fields(line: bytes) -> list[bytes]:
    return [field.strip(b' "\r\n') for field in line.split(b",")]


def _image(pixels: bytes, where: str) -> NDArray[np.uint8]:
    accepted = f"accepted are {PIXELS} whole numbers from 0 to 255"
    try:
        values: NDArray[Any] = np.fromstring(pixels, np.int64, sep=" ")
    except ValueError:
        raise DataError(f"{where}: pixels that are no numbers; {accepted}") from None
    if len(values) != PIXELS:
        raise DataError(f"{where}: {len(values)} pixels; {accepted}")
    if values.min() < 0 or values.max() > 255:
        odd = values[(values < 0) | (values > 255)][0]
        raise DataError(f"{where}: a pixel is {odd}; {accepted}")
    return values.astype(np.uint8).reshape(FACE_PX, FACE_PX)


def _shown(field: bytes) -> str:
    """A field's beginning, for an error of one line."""
    return repr(field[:20].decode("utf-8", "replace"))
