"""The frames of a file, one line of CSV each: which were looked at, and how many faces they had."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from daemon.sinks.base import Output, Takes
from daemon.sinks.disk import PieceFile, make_folder, sink_errors

COLUMNS = ("seq", "media_time_s", "looked", "faces")


class FrameList:
    """Writes the line of each frame at once and whole, so that a kill loses none. The file is there
    from the first frame on. Belongs to the stream's thread until that has ended."""

    takes: Takes = "readings"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: PieceFile | None = None

    def put(self, output: Output) -> None:
        """Raises SinkError."""
        frame = output.frame
        # As readings have them, so that both agree.
        values = frame.seq, round(frame.pts_s, 6), int(output.looked), len(output.faces or ())
        with sink_errors(self._path):
            if self._file is None:
                make_folder(self._path.parent)
                self._file = PieceFile(FileIO(self._path, "w"))
                self._append(COLUMNS)
            self._append(values)

    def _append(self, values: tuple[object, ...]) -> None:
        assert self._file is not None
        self._file.append(",".join(map(str, values)).encode() + b"\n")

    def close(self) -> None:
        if self._file is not None:
            with sink_errors(self._path):
                self._file.close()
