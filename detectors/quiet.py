"""Keeps the chatter of native libraries out of the log, and nothing else.

LiteRT writes lines such as "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." straight
to file descriptor 2, where no Python logger and no environment variable reaches them.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

CHATTER = re.compile(
    rb"INFO: "
    rb"|[IW]\d{4} [\d:. ]+\S+\] "
    rb"|WARNING: (All log messages before|Logging before |.*Sparsity tensors may not yet)"
)

_descriptor_2 = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what is written to descriptor 2, then pass on every line that is no chatter.

    The whole process shares the descriptor, so other threads' lines come late by as long as
    the block takes: put only model loading into it. Errors always pass.
    """
    with _descriptor_2, _in_memory() as held:
        real = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            held.seek(0)
            for line in held:
                if not CHATTER.match(line):
                    os.write(real, line)
            os.close(real)


def _in_memory() -> IO[bytes]:
    """A file in memory; in a folder where Python was built for an old glibc."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("stderr"), "w+b")
    return tempfile.TemporaryFile()
