"""Newest wins for live streams, back-pressure for files."""

from __future__ import annotations

import threading

import av
import pytest

from daemon.frame import Frame
from daemon.mailbox import FILE_FRAMES, Mailbox


def _frame(seq: int) -> Frame:
    return Frame("s", seq, seq / 25, 0.0, av.VideoFrame(16, 16, "yuv420p"))


@pytest.mark.parametrize("room", [None, 3])
def test_live_the_newest_frames_replace_the_unread_ones_and_are_counted(room: int | None) -> None:
    drops: list[int] = []
    box = Mailbox[Frame](keep_all=False, on_drop=lambda: drops.append(1), room=room)
    for seq in range(5):
        assert box.put(_frame(seq), threading.Event())
    kept = range(5)[-(room or 1) :]
    got = [box.get(0.0) for _ in kept]
    assert [frame and frame.seq for frame in got] == list(kept)
    assert len(drops) == 5 - len(kept)
    assert box.get(0.0) is None
    assert not box.ended


def test_file_every_frame_comes_in_order_and_the_writer_waits_for_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No longer than there is none: a reader that is fast waits for no tick of the clock."""
    monkeypatch.setattr("daemon.mailbox._STOP_TICK_S", 600.0)
    drops: list[int] = []
    box = Mailbox[Frame](keep_all=True, on_drop=lambda: drops.append(1))
    written: list[int] = []

    def write() -> None:
        for seq in range(100):
            assert box.put(_frame(seq), threading.Event())
            written.append(seq)
            assert seq - len(read) <= FILE_FRAMES + 1
        box.close()

    read: list[int] = []
    writer = threading.Thread(target=write, name="writer")
    writer.start()
    while not box.ended:
        frame = box.get(1.0)
        if frame is not None:
            read.append(frame.seq)
    writer.join(60.0)
    assert not writer.is_alive()
    assert read == written == list(range(100))
    assert not drops


def test_a_full_box_lets_go_of_its_writer_on_stop_and_on_close() -> None:
    for release in ("stop", "close"):
        box = Mailbox[Frame](keep_all=True, on_drop=lambda: None)
        stop = threading.Event()
        for seq in range(FILE_FRAMES):
            assert box.put(_frame(seq), stop)
        answers: list[bool] = []
        writer = threading.Thread(
            target=lambda box=box, stop=stop, answers=answers: answers.append(
                box.put(_frame(99), stop)
            ),
            name="writer",
        )
        writer.start()
        writer.join(0.05)
        assert writer.is_alive()
        if release == "stop":
            stop.set()
        else:
            box.close()
        writer.join(60.0)
        assert answers == [False]


def test_a_writer_that_waits_for_room_is_seen_to_turn() -> None:
    """However slow its reader: a file's stream that starts anew after a fault, say."""
    box = Mailbox[Frame](keep_all=True, on_drop=lambda: None)
    stop, beats = threading.Event(), 0

    def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 2:
            stop.set()

    for seq in range(FILE_FRAMES):
        assert box.put(_frame(seq), stop, beat)
    assert not box.put(_frame(99), stop, beat)
    assert beats == 2


def test_waking_the_reader_costs_no_item() -> None:
    box = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    box.wake()
    reader = threading.Thread(target=box.get, args=(600.0,), name="reader", daemon=True)
    reader.start()
    reader.join(60.0)
    assert not reader.is_alive()
    box.put(_frame(1), threading.Event())
    box.wake()
    got = box.get(60.0)
    assert got is not None
    assert got.seq == 1
    reader = threading.Thread(target=box.get, args=(600.0,), name="reader", daemon=True)
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()  # Woken once, it waits again.
    box.wake()
    reader.join(60.0)
    assert not reader.is_alive()


def test_close_wakes_the_reader_and_leaves_what_is_inside() -> None:
    box = Mailbox[Frame](keep_all=False, on_drop=lambda: None)
    got: list[Frame | None] = []
    reader = threading.Thread(target=lambda: got.append(box.get(600.0)), name="reader", daemon=True)
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    box.close()
    reader.join(60.0)
    assert got == [None]
    assert box.ended

    other = Mailbox[Frame](keep_all=True, on_drop=lambda: None)
    other.put(_frame(1), threading.Event())
    other.close()
    assert other.closed
    assert not other.ended
    assert not other.put(_frame(2), threading.Event())
    last = other.get(0.0)
    assert last is not None
    assert last.seq == 1
    assert other.ended
