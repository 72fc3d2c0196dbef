"""The answer to a request for the output of a sink that is not there."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.exceptions import HTTPException

from daemon.monitoring.status import Board


def missing(board: Board, name: str, kind: str, served: Iterable[str]) -> HTTPException:
    """503 if the stream has such a sink, which has not started yet; else 404, which names the
    streams that are `served`."""
    stream = board.stream(name)
    if stream is not None and kind in (sink.name for sink in stream.sinks):
        detail = f"stream {name!r} has not started yet; try again"
        return HTTPException(503, detail, {"Retry-After": "2"})
    what = "is not configured" if stream is None else f"has no {kind} sink"
    known = ", ".join(sorted(served)) or "none"
    return HTTPException(404, f"stream {name!r} {what}; streams with {kind}: {known}")
