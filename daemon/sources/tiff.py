"""How a TIFF is compressed, which libav's decoder does not report but only logs."""

from __future__ import annotations

import struct

_ORDERS = {b"II": "<", b"MM": ">"}
_COMPRESSION = 259
_JPEG = (6, 7)  # old-style and new-style JPEG


def holds_jpeg(tiff: bytes) -> bool:
    """Whether the first picture of a TIFF, a whole file, is compressed as JPEG, which libav shows
    as black or green. False for data that is no valid TIFF."""
    order = _ORDERS.get(tiff[:2])
    if order is None:
        return False
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * index)
            if tag == _COMPRESSION:
                return value in _JPEG
    except struct.error:
        pass
    return False
