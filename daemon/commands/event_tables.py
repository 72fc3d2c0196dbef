"""Readings from a file of JSON lines into a table: CSV, or Parquet with types.

A line is a reading, or an image with its readings, as `affectd image --json` writes it."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from classifiers.atomic import atomic_path
from classifiers.extras import extra
from daemon.errors import ConfigError, EventsError
from daemon.reading import SCHEMA
from daemon.sinks.disk import sink_errors

Row = dict[str, Any]
OnBroken = Callable[[str], None]
OnShare = Callable[[float], None]


class Column(NamedTuple):
    """A column of the table, and the path to its value in the event. An optional one may be null,
    or missing from lines that are older than the field."""

    name: str
    path: tuple[str | int, ...]
    kind: type
    optional: bool = False


COLUMNS = (
    Column("stream", ("stream",), str),
    Column("seq", ("seq",), int),
    Column("media_time_s", ("media_time_s",), float),
    Column("captured_at", ("captured_at",), datetime, optional=True),
    Column("track", ("track",), int),
    Column("tracked_since", ("tracked_since",), datetime, optional=True),
    Column("x_px", ("box_px", 0), int),
    Column("y_px", ("box_px", 1), int),
    Column("width_px", ("box_px", 2), int),
    Column("height_px", ("box_px", 3), int),
    Column("frame_width_px", ("frame_px", 0), int),
    Column("frame_height_px", ("frame_px", 1), int),
    Column("label", ("label",), str),
    Column("unknown", ("unknown",), str, optional=True),
    Column("face_px", ("quality", "face_px"), int),
    Column("blur", ("quality", "blur"), float),
    Column("yaw_deg", ("quality", "yaw_deg"), float, optional=True),
    Column("score", ("quality", "score"), float, optional=True),
    Column("crops", ("crops",), int),
    Column("weights", ("weights",), str),
    Column("engine", ("engine",), str, optional=True),
    Column("detector", ("detector",), str, optional=True),
    Column("prior", ("prior",), str, optional=True),
    Column("age_ms", ("age_ms",), float, optional=True),
)


class Count(NamedTuple):
    """What a table is of: how many readings; and of how many images, of which some showed no face
    and some could not be read, and have no row."""

    readings: int = 0
    images: int = 0
    faceless: int = 0
    unread: int = 0

    def plus(self, line: Row, readings: int) -> Count:
        """With one line more, which holds so many readings."""
        images, faceless, unread = self.images, self.faceless, self.unread
        if _is_image(line):
            images += 1
            unread += "error" in line
            faceless += not readings and "error" not in line
        return Count(self.readings + readings, images, faceless, unread)

    def __str__(self) -> str:
        return f"{self.readings} readings" + (f" of {self.images} images" if self.images else "")

    @property
    def rowless(self) -> str:
        """What is to be said of images that have no row; empty where all have one."""
        found = ((self.faceless, "without a face"), (self.unread, "not read"))
        return ", ".join(f"{number} {what}" for number, what in found if number)


FILE = Column("file", ("file",), str, optional=True)  # Before the others where there are images.
_BATCH_ROWS = 8192
_SHARE_LINES = 1024
_LONGEST_LINE = 1 << 20


def to_csv(
    source: Path,
    target: Path,
    *,
    on_broken: OnBroken | None = None,
    on_share: OnShare = lambda share: None,
) -> Count:
    """Write the readings in `source` to `target` as CSV, one row each; returns how many.

    The columns are COLUMNS and then the probabilities, `p_angry` and so on; null is an empty
    field. An existing target is replaced, once all is written. Raises EventsError, also at the
    first line that is no reading; with `on_broken`, such lines are skipped and told to it.
    `on_share` is told now and then which share is done, 0..1.
    Raises ConfigError for a source that cannot be read, and for a target that is it or no file;
    SinkError for one that cannot be written.
    """
    with _Lines(source, on_share) as lines, _table_path(target, source) as part:
        probabilities = lines.survey(on_broken)
        names = [column.name for column in lines.columns] + probabilities
        with part.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, names, lineterminator="\n")
            table.writeheader()
            for row in lines.rows():
                table.writerow(row)
    return lines.count


def to_parquet(
    source: Path,
    target: Path,
    *,
    on_broken: OnBroken | None = None,
    on_share: OnShare = lambda share: None,
) -> Count:
    """As to_csv, to Parquet with types; moments become timestamps in UTC. Raises ExtraError
    without pyarrow."""
    with extra("parquet"):
        import pyarrow as pa
        from pyarrow import parquet
    types = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        datetime: pa.timestamp("us", "UTC"),
    }
    with _Lines(source, on_share) as lines, _table_path(target, source) as part:
        probabilities = lines.survey(on_broken)
        fields = [
            pa.field(column.name, types[column.kind], nullable=column.optional)
            for column in lines.columns
        ]
        fields += [pa.field(name, pa.float64()) for name in probabilities]
        schema = pa.schema(fields)
        moments = [column.name for column in lines.columns if column.kind is datetime]
        rows = lines.rows()
        with parquet.ParquetWriter(part, schema, compression="zstd") as table:
            while batch := list(islice(rows, _BATCH_ROWS)):
                for row in batch:
                    for name in moments:
                        row[name] = row[name] and datetime.fromisoformat(row[name])
                table.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
    return lines.count


class _Lines:
    """The lines of a file of readings, gone through twice: for the columns, then for the rows.

    One line is in memory at a time, and lines that come after the first pass are left out.
    """

    def __init__(self, source: Path, on_share: OnShare) -> None:
        self._source = source
        self._on_share = on_share
        self._broken: set[int] = set()
        self._last = 0
        self.count = Count()
        self.columns: tuple[Column, ...] = COLUMNS

    def __enter__(self) -> _Lines:
        try:
            # To open one would wait for its writer.
            if self._source.is_fifo():
                raise self._no_file()
            self._file: BinaryIO = self._source.open("rb")
        except OSError as error:
            raise ConfigError(f"{self._source} cannot be read: {error.strerror}") from error
        if not self._file.seekable():
            self._file.close()
            raise self._no_file()
        return self

    def _no_file(self) -> ConfigError:
        return ConfigError(f"{self._source}: is a pipe; accepted is a file, which is read twice")

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def survey(self, on_broken: OnBroken | None) -> list[str]:
        """Check every line; the columns of all probabilities that occur, in order of the first."""
        names: dict[str, None] = {}
        for number, line in self._numbered(0.0):
            self._last = number
            try:
                value = _object(line)
                rows = [flatten(event) for event in _checked_events(value)]
            except ValueError as error:
                message = f"{self._source}, line {number}: {error}; accepted is one reading of "
                message += f"schema {SCHEMA} or one image a line, as affectd writes them"
                if on_broken is None:
                    raise EventsError(f"{message}; --skip-broken leaves it out") from error
                on_broken(message)
                self._broken.add(number)
                continue
            self.count = self.count.plus(value, len(rows))
            for row in rows:
                names.update(dict.fromkeys(name for name in row if name.startswith("p_")))
                if FILE.name in row:
                    self.columns = (FILE, *COLUMNS)
        return list(names)

    def rows(self) -> Iterator[Row]:
        """The row of every reading."""
        self._file.seek(0)
        for number, line in islice(self._numbered(0.5), self._last):
            if number not in self._broken:
                yield from map(flatten, _events(json.loads(line)))

    def _numbered(self, done: float) -> Iterator[tuple[int, bytes]]:
        """Every line with its number, from 1; a share of `done` lies before this pass."""
        size = max(1, os.fstat(self._file.fileno()).st_size)
        for number in count(1):
            line = self._file.readline(_LONGEST_LINE)
            if not line:
                return
            if number % _SHARE_LINES == 0:
                self._on_share(min(1.0, done + 0.5 * self._file.tell() / size))
            yield number, line


def flatten(event: Row) -> Row:
    """A reading of docs/events.md as a row of plain values."""
    row: Row = {}
    if event.get(FILE.name) is not None:  # A name on disk need not be text.
        row[FILE.name] = event[FILE.name].encode(errors="backslashreplace").decode()
    for column in COLUMNS:
        row[column.name] = _value(event, column)
    for name, value in event["probabilities"].items():
        row[f"p_{name}"] = value
    return row


def _value(event: Row, column: Column) -> Any:
    """What the event says of the column. Raises KeyError, IndexError or TypeError where it says
    nothing, and should."""
    value: Any = event
    try:
        for step in column.path:
            value = value[step]
    except KeyError:
        if not column.optional:
            raise
        return None
    return value


def _is_image(line: Row) -> bool:
    return "schema" not in line and FILE.name in line


def _events(line: Row) -> list[Row]:
    """The readings of a line: itself, or those of an image, each with its file."""
    if not _is_image(line):
        return [line]
    return [{FILE.name: line[FILE.name], **reading} for reading in line.get("readings", ())]


def _object(line: bytes) -> Row:
    """The JSON object of a line. Raises ValueError where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    return value


def _checked_events(line: Row) -> list[Row]:
    """The readings of a line, which can be flattened. Raises ValueError saying what is wrong."""
    try:
        events = _events(line)
    except TypeError as error:
        raise ValueError("has readings that are none") from error
    return [_checked_event(event) for event in events]


def _checked_event(event: Row) -> Row:
    if event.get("schema") != SCHEMA:
        raise ValueError(f"has schema {event.get('schema')!r}")
    for column in (FILE, *COLUMNS) if FILE.name in event else COLUMNS:
        steps = column.path[:1] if isinstance(column.path[-1], int) else column.path
        where = ".".join(map(str, steps))
        try:
            value = _value(event, column)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"has no {where}") from error
        if not (value is None and column.optional) and not _is(value, column.kind):
            raise ValueError(f"has {where} = {json.dumps(value)}")
    if not isinstance(event.get("probabilities"), dict):
        raise ValueError("has no probabilities")
    for name, value in event["probabilities"].items():
        if not _is(value, float):
            raise ValueError(f"has probabilities.{name} = {json.dumps(value)}")
    return event


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    if kind is datetime:
        return isinstance(value, str) and _is_moment(value)
    if kind is int:
        return isinstance(value, int) and abs(value) < 2**63
    if kind is float:
        return _is(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, kind)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


@contextmanager
def _table_path(target: Path, source: Path) -> Iterator[Path]:
    """`atomic_path` for a table, which must not take the place of `source`."""
    with sink_errors(target):
        if target.exists():
            if target.samefile(source):
                raise ConfigError(f"{target}: is IN itself; accepted is another file")
            if not target.is_file():
                raise ConfigError(f"{target}: is no file; accepted is a file, new or to replace")
        with atomic_path(target) as part:
            yield part
