"""A sink that fails: who hears of it, what is lost, and how it comes back."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from daemon.config.sink_settings import EventsSinkSettings, Mp4SinkSettings
from daemon.errors import Reason, SinkError
from daemon.sinks.base import Output
from daemon.sinks.events import EventsFile
from daemon.sinks.writer import Writer
from tests.daemon.outputs import mp4, output, reading
from tests.daemon.sinks.writers import WAIT_S, Bench, Gated
from tests.waiting import wait_until


def test_a_sink_that_fails_comes_back_by_itself(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """1. A file stands where the folder should be. 2. It goes. 3. Every reading is there."""
    path = tmp_path / "folder" / "readings.jsonl"
    path.parent.write_text("in the way")
    sink = EventsFile(EventsSinkSettings(kind="events", path=path))
    with caplog.at_level(logging.INFO, "affectd.sink"):
        writer = bench.writer(sink, "events")
        for seq in range(50):
            writer.put(output(seq, readings=[reading(seq)]))
        labels = {"sink": "events", "reason": Reason.NOT_WRITABLE}
        wait_until(lambda: bench.value("sink_errors_total", **labels) >= 3)
        assert bench.value("sink_up", sink="events") == 0
        path.parent.unlink()
        wait_until(lambda: bench.value("sink_up", sink="events") == 1)
        writer.put(output(50, readings=[reading(50)]))
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) == 51)
        assert writer.close(WAIT_S)
    assert path.read_text().splitlines() == [reading(seq).to_json() for seq in range(51)]
    # On a slow machine "works again" may follow.
    assert [record.levelname for record in caplog.records][:2] in (["ERROR"], ["ERROR", "INFO"])
    assert str(path) in caplog.text
    assert writer.error is None
    assert bench.value("sink_up", sink="events") == 0


def test_a_file_that_cannot_be_written_is_down_before_there_is_a_reading(
    bench: Bench, tmp_path: Path
) -> None:
    """1. A folder stands where the file should be. 2. It goes."""
    path = tmp_path / "readings.jsonl"
    path.mkdir()
    writer = bench.writer(EventsFile(EventsSinkSettings(kind="events", path=path)), "events")
    writer.put(output(0))
    wait_until(lambda: bench.heard)
    assert bench.heard == [False]
    path.rmdir()

    def is_up() -> bool:
        writer.put(output(1))
        return bench.value("sink_up", sink="events") == 1

    wait_until(is_up)
    assert path.read_bytes() == b""


def test_what_failed_last_is_written_when_the_sink_comes_back(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "readings.jsonl"
    path.parent.write_text("in the way")
    writer = bench.writer(EventsFile(EventsSinkSettings(kind="events", path=path)), "events")
    writer.put(output(7, readings=[reading(7)]))
    labels = {"sink": "events", "reason": Reason.NOT_WRITABLE}
    wait_until(lambda: bench.value("sink_errors_total", **labels) >= 1)
    path.parent.unlink()
    assert writer.close(WAIT_S)
    assert path.read_text() == reading(7).to_json() + "\n"


@pytest.mark.usefixtures("good_at_once")
@pytest.mark.parametrize("keep_all", [False, True])
def test_while_a_sink_is_down_its_stream_goes_on(bench: Bench, keep_all: bool) -> None:
    sink = Gated()
    sink.gate.set()
    sink.fault = SinkError(Reason.DISK_FULL, "no room left")
    writer = bench.writer(sink, keep_all=keep_all)
    given = 0

    def give(count: int) -> None:
        nonlocal given
        for _ in range(count):
            writer.put(output(given))
            given += 1

    def is_up_again() -> bool:
        give(1)  # The sink may have failed at all that waited.
        return bench.value("sink_up", sink="gated") == 1

    give(100)
    wait_until(lambda: bench.value("sink_errors_total", sink="gated", reason="disk_full") >= 2)
    sink.fault = None
    wait_until(is_up_again)
    assert writer.close(WAIT_S)
    assert sink.seqs[-1] == given - 1
    lost = bench.dropped("sink_gated", "down") + bench.dropped("sink_gated", "slow")
    assert lost == given - len(sink.seqs)
    assert bench.dropped("sink_gated", "down") >= 2
    assert sink.closes == 1 + bench.value("sink_errors_total", sink="gated", reason="disk_full")


def test_without_retry_the_error_reaches_the_caller(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = mp4(Mp4SinkSettings(kind="mp4", path=tmp_path / "file" / "x.mp4"))
    writer = bench.writer(sink, "mp4", keep_all=True, retry=False)
    writer.put(output(0))
    wait_until(lambda: writer.error is not None)
    with pytest.raises(SinkError, match="cannot be written"):
        writer.put(output(1))
    assert writer.close(WAIT_S)


def test_an_error_of_the_last_moment_is_kept_too(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    sink = EventsFile(EventsSinkSettings(kind="events", path=tmp_path / "file" / "x.jsonl"))
    writer = bench.writer(sink, "events", keep_all=True, retry=False)
    writer.put(output(0, readings=[reading(0)]))
    assert writer.close(WAIT_S)
    assert isinstance(writer.error, SinkError)
    assert bench.dropped("sink_events", "down") == 1


def test_one_that_fails_to_the_end_keeps_nobody_and_its_losses_are_counted(bench: Bench) -> None:
    sink = Gated("readings")
    sink.gate.set()
    sink.fault = SinkError(Reason.DISK_FULL, "no room left")
    writer = bench.writer(sink, first_delay_s=600.0)
    writer.put(output(0, readings=[reading(0), reading(1)]))
    wait_until(lambda: bench.heard)
    assert not writer.wants  # Nothing need be encoded for it.
    writer.put(output(1, readings=[reading(2)]))
    assert writer.close(20.0)
    assert bench.dropped("sink_gated", "down") == 3
    assert writer.error is None


def test_pictures_that_cannot_be_encoded_while_it_is_down_are_no_fault_of_later(
    bench: Bench,
) -> None:
    sink = Gated("readings")
    sink.gate.set()
    sink.fault = SinkError(Reason.DISK_FULL, "no room left")
    writer = bench.writer(sink, first_delay_s=600.0)
    writer.put(output(0, readings=[reading(0)]))
    wait_until(lambda: bench.heard)
    writer.fail(SinkError(Reason.ENCODE_ERROR, "it cannot be encoded"))
    sink.fault = None
    assert writer.close(20.0)
    assert len(sink.written) == 1
    assert bench.value("sink_errors_total", sink="gated", reason="encode_error") == 0


@pytest.mark.usefixtures("good_at_once")
def test_once_it_has_worked_a_fault_is_as_the_first(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told again, and the next try is soon."""
    sink = Gated()
    sink.gate.set()
    writer = bench.writer(sink)

    def has(name: str, least: float, **labels: str) -> bool:
        writer.put(output(0))
        return bench.value(name, sink="gated", **labels) >= least

    with caplog.at_level(logging.INFO, "affectd.sink"):
        for _ in range(2):
            errors = bench.value("sink_errors_total", sink="gated", reason="disk_full")
            sink.fault = SinkError(Reason.DISK_FULL, "no room left")
            wait_until(partial(has, "sink_errors_total", errors + 2, reason="disk_full"))
            sink.fault = None
            wait_until(lambda: has("sink_up", 1))
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"] * 2
    assert writer._backoff.take_s() == 0.01


def test_a_bug_in_a_sink_is_traced_once_and_counted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Gated()
    sink.gate.set()
    sink.fault = ZeroDivisionError("a bug")
    writer = bench.writer(sink)
    for seq in range(3):
        writer.put(output(seq))
    wait_until(lambda: bench.value("sink_errors_total", sink="gated", reason="internal") == 3)
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None
    assert bench.dropped("sink_gated", "down") == 3
    assert writer.close(WAIT_S)


@pytest.mark.usefixtures("good_at_once")
def test_who_asked_hears_when_the_sink_goes_up_and_down(bench: Bench, tmp_path: Path) -> None:
    heard: list[tuple[bool, Reason | None, str | None]] = []
    sink = Gated()
    sink.gate.set()
    writer = Writer(
        sink,
        "lobby",
        "gated",
        keep_all=True,
        metrics=bench.metrics,
        stop=bench.stop,
        on_state=lambda up, reason, error: heard.append((up, reason, error)),
        first_delay_s=0.01,
    )
    bench.writers.append(writer)
    writer.start()
    writer.put(output(0))
    writer.put(output(1))
    wait_until(lambda: len(sink.written) == 2)
    sink.fault = SinkError(Reason.DISK_FULL, "no room")
    writer.put(output(2))
    wait_until(lambda: len(heard) == 2)
    sink.fault = ValueError("a bug")
    writer.put(output(3))
    wait_until(lambda: len(heard) == 3)
    sink.fault = None
    writer.put(output(4))
    wait_until(lambda: heard[-1][0])
    assert heard[:3] == [
        (True, None, None),
        (False, Reason.DISK_FULL, "no room"),
        (False, Reason.INTERNAL, "ValueError: a bug"),
    ]


class Full(Gated):
    """Takes one picture after each opening, as a full disk takes the head of a recording."""

    def write(self, output: Output) -> bool:
        if len(self.written) > self.closes:
            self.fault = SinkError(Reason.DISK_FULL, "no room")
        return super().write(output)

    def close(self) -> None:
        super().close()
        self.fault = None


def test_a_sink_that_fails_again_at_once_was_not_up_in_between(bench: Bench) -> None:
    sink = Full()
    sink.gate.set()
    writer = bench.writer(sink, keep_all=True)

    def has_failed() -> bool:
        writer.put(output(0))
        return len(bench.heard) >= 4

    wait_until(has_failed)
    assert len(sink.written) >= 3
    assert bench.value("sink_errors_total", sink="gated", reason="disk_full") >= 3
    assert bench.heard[:4] == [True, False, False, False]


@pytest.mark.parametrize(("good_after_s", "holds_s"), [(600.0, 0.0), (0.0, 600.0)])
def test_a_sink_that_ends_well_soon_after_a_fault_was_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, good_after_s: float, holds_s: float
) -> None:
    """Its file is whole, and is to show as ended. Before that nobody knows, for as long as it may
    keep pictures to itself."""
    monkeypatch.setattr("daemon.sinks.writer.GOOD_AFTER_S", good_after_s)
    sink = Gated()
    sink.gate.set()
    sink.fault = SinkError(Reason.NOT_WRITABLE, "not mounted")
    writer = bench.writer(sink, keep_all=True, holds_s=holds_s)
    writer.put(output(0))
    wait_until(lambda: bench.heard == [False])
    sink.fault = None
    writer.put(output(1))
    writer.put(output(2))
    wait_until(lambda: len(sink.written) == 2)
    assert bench.heard == [False]
    assert writer.close(60.0)
    assert bench.heard == [False, True]
