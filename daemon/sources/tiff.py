"""What a TIFF says of itself, and libav's decoder only logs."""

from __future__ import annotations

import struct

_ORDERS = {b"II": "<", b"MM": ">"}
_COMPRESSION = 259
_JPEG = (6, 7)  # as of old, and as in use


def holds_jpeg(tiff: bytes) -> bool:
    """Whether the first picture of a TIFF, a whole file, is compressed as JPEG, which libav shows
    as black or green. False for what is no sound TIFF."""
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
