from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.config.sink_settings import EventsSinkSettings
from daemon.errors import Reason, SinkError
from daemon.reading import Reading
from daemon.sinks import events
from daemon.sinks.events import EventsFile
from tests.affectd import ROOT
from tests.daemon.outputs import output, reading


def make(path: Path) -> EventsFile:
    return EventsFile(EventsSinkSettings(kind="events", path=path))


def seqs(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_each_frame_is_on_disk_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "readings.jsonl"
    sink = make(path)
    assert not sink.write(output(0))
    assert path.read_bytes() == b""
    assert sink.write(output(1, readings=[reading(1), reading(1)]))
    assert path.read_text() == 2 * (reading(1).to_json() + "\n")
    assert sink.write(output(2, readings=[reading(2)]))
    assert seqs(path) == [1, 1, 2]
    sink.close()
    sink.close()


def test_appends_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"
    path.write_text('{"schema": 1, "stream": "lob')
    for seq in (1, 2):
        sink = make(path)
        sink.write(output(seq, readings=[reading(seq)]))
        sink.close()
    lines = path.read_text().splitlines()
    assert lines == ['{"schema": 1, "stream": "lob', reading(1).to_json(), reading(2).to_json()]


@pytest.mark.parametrize("how", ["renamed", "deleted", "cut"])
def test_a_rotated_file_begins_anew(tmp_path: Path, how: str) -> None:
    path, old = tmp_path / "readings.jsonl", tmp_path / "readings.jsonl.1"
    sink = make(path)
    sink.write(output(1, readings=[reading(1)]))
    if how == "renamed":
        path.rename(old)
    elif how == "deleted":
        path.unlink()
    else:
        path.write_bytes(b"")
    sink.write(output(2, readings=[reading(2)]))
    sink.close()
    assert seqs(path) == [2]
    assert not old.exists() or seqs(old) == [1]


@pytest.mark.parametrize("anew", [True, False])
def test_a_rotated_file_is_let_go_though_there_is_nothing_to_read(
    tmp_path: Path, anew: bool
) -> None:
    """Deleted and still open it would keep its disk."""
    path, old = tmp_path / "readings.jsonl", tmp_path / "readings.jsonl.1"
    sink = make(path)
    sink.write(output(1, readings=[reading(1)]))
    path.rename(old)
    if anew:
        path.touch()
    assert not sink.write(output(2))
    assert path.exists()
    assert old.resolve() not in [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    sink.write(output(3, readings=[reading(3)]))
    sink.close()
    assert (seqs(old), seqs(path)) == ([1], [3])


def test_two_streams_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "readings.jsonl"

    def write(first: int) -> None:
        sink = make(path)
        for seq in range(first, first + 200):
            sink.write(output(seq, readings=[reading(seq)] * 3))
        sink.close()

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seqs(path)) == sorted(3 * [*range(200), *range(1000, 1200)])


def test_a_line_that_another_stream_is_writing_is_not_taken_for_one_left_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. One stream has written half a line. 2. Another opens the file, by another name, and waits.
    3. Both lines are whole, and nothing is between them."""
    path, link = tmp_path / "readings.jsonl", tmp_path / "link.jsonl"
    path.touch()
    link.symlink_to(path)
    write, is_half, may_go_on = os.write, threading.Event(), threading.Event()

    def by_halves(descriptor: int, data: bytes) -> int:
        if is_half.is_set() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            return write(descriptor, data)
        done = write(descriptor, data[:50])
        is_half.set()
        assert may_go_on.wait(60)
        return done

    monkeypatch.setattr(os, "write", by_halves)
    sinks = make(path), make(link)
    first, second = (
        threading.Thread(target=sink.write, args=(output(seq, readings=[reading(seq)]),))
        for seq, sink in enumerate(sinks, 1)
    )
    first.start()
    assert is_half.wait(60)
    second.start()
    second.join(0.1)
    may_go_on.set()
    for thread, sink in zip((first, second), sinks, strict=True):
        thread.join()
        sink.close()
    assert seqs(path) == [1, 2]


@pytest.mark.parametrize("readings", [[], [reading(0)]])
@pytest.mark.parametrize("path", ["file/readings.jsonl", "folder", "/proc/affectd/readings.jsonl"])
def test_a_place_that_cannot_be_written_is_named_though_there_is_nothing_to_read(
    tmp_path: Path, path: str, readings: list[Reading]
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    place = tmp_path / path
    with pytest.raises(SinkError, match="accepted is a path in a folder that affectd") as hit:
        make(place).write(output(0, readings=readings))
    assert str(place) in str(hit.value)
    assert hit.value.reason is Reason.NOT_WRITABLE


def test_a_pipe_that_nobody_reads_is_told_at_once_and_taken_when_somebody_does(
    tmp_path: Path,
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sink = make(pipe)
    for readings in ([], [reading(0)]):
        with pytest.raises(SinkError, match="/pipe: nobody reads from this pipe") as hit:
            sink.write(output(0, readings=readings))
        assert hit.value.reason is Reason.NOT_WRITABLE
        sink.close()
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert sink.write(output(1, readings=[reading(1), reading(2)]))
        assert os.read(reader, 65536).decode().splitlines() == [
            reading(1).to_json(),
            reading(2).to_json(),
        ]
    finally:
        os.close(reader)
    with pytest.raises(SinkError, match="nobody reads from this pipe"):
        sink.write(output(3, readings=[reading(3)]))
    sink.close()


def test_a_reader_that_takes_nothing_any_more_gets_no_half_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "READER_S", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    sink = make(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def fill() -> None:
        for seq in range(10_000):
            sink.write(output(seq, readings=[reading(seq)] * 3))

    try:
        with pytest.raises(SinkError, match=r"nothing was read from it for 0\.2 s") as hit:
            fill()
        assert hit.value.reason is Reason.TIMEOUT
        taken = os.read(reader, 1 << 20).decode()
    finally:
        os.close(reader)
    assert taken.endswith("\n")
    found = [json.loads(line)["seq"] for line in taken.splitlines()]
    assert len(found) > 50
    assert found == [number // 3 for number in range(len(found))]


_FULL_DISK = """
import resource, sys
from pathlib import Path
from daemon.errors import SinkError
from daemon.config.sink_settings import EventsSinkSettings
from daemon.sinks.events import EventsFile
from tests.daemon.outputs import output, reading

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
sink = EventsFile(EventsSinkSettings(kind="events", path=Path(sys.argv[1])))
for seq in range(100):
    try:
        sink.write(output(seq, readings=[reading(seq)]))
    except SinkError as error:
        print(error.reason, seq)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        sink.write(output(seq, readings=[reading(seq)]))
"""


def test_no_room_left_leaves_no_half_line(tmp_path: Path) -> None:
    """The limit on a file's size is the full disk that needs no root."""
    path = tmp_path / "readings.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[0] == Reason.DISK_FULL
    assert len(done.stdout.splitlines()) == 1
    assert seqs(path) == list(range(100))
