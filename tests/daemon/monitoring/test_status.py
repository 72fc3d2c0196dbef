"""What the board says of streams, and the metrics that follow it."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from daemon.errors import Reason
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import STATES, Board
from daemon.reading import FaceView
from tests.serving import BOX_PX, happy_face


class Clock:
    """Unix time that starts at 1000 and monotonic time that starts at 0, moved by hand; `set_by_s`
    is what somebody set the Unix time on by."""

    def __init__(self) -> None:
        self.passed_s = self.set_by_s = 0.0

    def unix_s(self) -> float:
        return 1000.0 + self.passed_s + self.set_by_s

    def monotonic_s(self) -> float:
        return self.passed_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    return Board(clock.unix_s, monotonic=clock.monotonic_s, redact=lambda text: f"<{text}>")


def test_a_live_stream_without_frames_shows_as_stalled_until_one_comes(
    board: Board, clock: Clock
) -> None:
    lobby = board.add("lobby", ["mjpeg"], quiet_s=5.0)
    lobby.set_state("live")
    lobby.saw(25.0, [happy_face()])
    clock.passed_s = 4.0
    lobby.frame_came()
    clock.passed_s = 9.0
    assert lobby.is_delivering()
    clock.passed_s = 9.5
    (status,) = board.streams()
    assert (status.state, status.reason, status.since_s) == ("stalled", Reason.STALLED, 1004.0)
    assert (status.faces, status.fps, status.frames) == ((), 0.0, 1)
    assert not lobby.is_delivering()
    assert status.last_frame_s == 1004.0
    clock.passed_s = 14.0
    lobby.set_state("stalled", Reason.STALLED, "no picture for 10 s")
    assert board.streams()[0].since_s == 1004.0
    lobby.set_state("live")
    lobby.saw(25.0, [happy_face()])
    lobby.frame_came()
    (status,) = board.streams()
    assert (status.state, status.reason, len(status.faces)) == ("live", None, 1)


def test_what_a_stream_saw_ages_and_is_gone_when_the_stream_hangs(
    board: Board, clock: Clock
) -> None:
    """Its source delivers all the time. A face without a reading has none that could age."""
    unread = FaceView(2, BOX_PX, None, {}, 0.0)
    lobby = board.add("lobby", [], quiet_s=5.0)
    lobby.set_state("live")
    lobby.saw(25.0, [happy_face(), unread])
    clock.passed_s = 4.0
    lobby.frame_came()
    status = board.streams()[0]
    assert [face.age_s for face in status.faces] == pytest.approx([4.05, 0.0])
    assert status.fps == 25.0
    clock.passed_s = 5.5
    status = board.streams()[0]
    assert (status.state, status.faces, status.fps) == ("live", (), 0.0)
    lobby.saw(25.0, [happy_face()])
    assert board.streams()[0].faces == (happy_face(),)


def test_a_frame_that_was_on_its_way_when_the_source_went_shows_no_face(board: Board) -> None:
    lobby = board.add("lobby", [])
    lobby.set_state("down", Reason.TIMEOUT)
    lobby.saw(25.0, [happy_face()])
    lobby.set_state("live")
    assert board.streams()[0].faces == ()


def test_a_slow_camera_is_not_stalled_between_its_pictures(board: Board, clock: Clock) -> None:
    """One picture in 12 s, with a time-out of 15 s, by which it shows when none comes. Until then
    its face is in view."""
    nest = board.add("nest", [], quiet_s=7.5)
    nest.set_state("live")
    seen = set()
    for passed_s in range(61):
        clock.passed_s = float(passed_s)
        if passed_s % 12 == 0:
            nest.frame_came()
            nest.saw(1 / 12, [happy_face()])
        status = board.streams()[0]
        seen.add((status.state, status.fps, len(status.faces)))
        assert nest.is_delivering()
    assert seen == {("live", 1 / 12, 1)}
    clock.passed_s = 60.0 + 15.1
    assert board.streams()[0].state == "stalled"


def test_the_summary_counts_states(board: Board, clock: Clock) -> None:
    assert board.summary() == "streams: none"
    for name in ("lobby", "door", "yard"):
        row = board.add(name, [])
        row.set_state("live")
    row.set_state("down", Reason.TIMEOUT, "late")
    assert board.summary() == "streams: 2 live, 1 down"


def test_a_file_is_never_stalled(board: Board, clock: Clock) -> None:
    film = board.add("film", [])
    film.set_state("live")
    clock.passed_s = 1e6
    assert board.streams()[0].state == "live"


def test_the_last_error_keeps_its_time_and_passes_the_redactor(board: Board, clock: Clock) -> None:
    """Retries that fail alike renew the error's time, not that of the state."""
    lobby = board.add("lobby", [])
    clock.passed_s = 1.0
    lobby.set_state("down", Reason.TIMEOUT, "late")
    clock.passed_s = 3.0
    lobby.set_state("down", Reason.TIMEOUT, "late")
    status = board.streams()[0]
    assert (status.since_s, status.last_error, status.last_error_s) == (1001.0, "<late>", 1003.0)
    clock.passed_s = 4.0
    lobby.set_state("live")
    lobby.set_fault("a fault")
    clock.passed_s = 5.0
    lobby.set_fault("another fault")
    status = board.streams()[0]
    assert (status.state, status.reason, status.since_s, status.last_error) == (
        "down",
        Reason.INTERNAL,
        1004.0,
        "<another fault>",
    )
    lobby.set_fault(None)
    status = board.streams()[0]
    assert (status.state, status.last_error_s) == ("live", 1005.0)


def test_a_clock_that_is_set_moves_what_was_noted_before(board: Board, clock: Clock) -> None:
    """A machine without a clock of its own gets the time of day some while after its start."""
    lobby = board.add("lobby", ["mjpeg"])
    lobby.frame_came()
    lobby.set_state("down", Reason.TIMEOUT, "late")
    door = board.add("door", [])
    door.set_state("live")
    door.set_fault("a fault")
    clock.passed_s, clock.set_by_s = 3.0, 5000.0
    lobby.set_sink("mjpeg", True)
    one, two = board.streams()
    assert (one.since_s, one.last_error_s, one.last_frame_s) == (6000.0, 6000.0, 6000.0)
    assert (one.sinks[0].since_s, two.since_s, two.last_error_s) == (6003.0, 6000.0, 6000.0)
    clock.set_by_s += 0.4
    assert board.streams() == [one, two]


def test_what_is_said_of_a_stream_that_is_gone_is_ignored(board: Board) -> None:
    lobby = board.add("lobby", [])
    board.add("door", [])
    board.remove("lobby")
    lobby.set_state("down", Reason.TIMEOUT, "late")
    lobby.saw(1.0, ())
    lobby.set_fault("a fault")
    lobby.frame_came()
    assert [status.name for status in board.streams()] == ["door"]
    assert board.stream("lobby") is None


def test_a_stream_that_begins_anew_has_forgotten_everything(board: Board) -> None:
    """Nor does it hear what is still said of the one before."""
    before = board.add("lobby", ["mjpeg"])
    before.set_state("live")
    before.set_fault("a fault")
    lobby = board.add("lobby", ["mp4"])
    lobby.set_state("live")
    before.set_fault("another fault")
    status = board.streams()[0]
    assert (status.state, status.last_error, status.sinks[0].state) == ("live", None, "waiting")
    lobby.set_fault("its own fault")
    before.set_fault(None)
    before.saw(25.0, [happy_face()])
    status = board.streams()[0]
    assert (status.state, status.last_error, status.frames) == ("down", "<its own fault>", 0)


def test_streams_stand_in_the_order_of_the_configuration(board: Board) -> None:
    for name in "abc":
        board.add(name, [])
    board.arrange(["c", "x", "a"])
    assert [status.name for status in board.streams()] == ["c", "a", "b"]


def test_metrics_say_what_the_board_says(board: Board, clock: Clock) -> None:
    """Exactly one state is 1, whatever happens; up is 1 only while frames come."""
    metrics = Metrics(CollectorRegistry())

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"stream": "lobby", **labels})

    def is_in(state: str) -> bool:
        ones = [one for one in STATES if value("affectd_stream_state", state=one) == 1.0]
        return ones == [state] and value("affectd_stream_up") == (state == "live")

    lobby = board.add("lobby", [], quiet_s=5.0)
    metrics.watch("lobby", board)
    assert is_in("connecting")
    for state in STATES:
        lobby.set_state(state)
        assert is_in(state)
    clock.passed_s = 7.0
    lobby.set_state("live")
    assert value("affectd_stream_state_since_timestamp_seconds") == 1007.0
    clock.passed_s = 20.0
    assert is_in("stalled")
    metrics.remove_stream("lobby")
    assert value("affectd_stream_up") is None
    assert value("affectd_stream_state", state="live") is None


def test_a_sink_is_waiting_then_up_then_down_with_its_reason(clock: Clock) -> None:
    board = Board(clock.unix_s, monotonic=clock.monotonic_s)
    lobby = board.add("lobby", ["mp4", "hls"])
    clock.passed_s = 1.0
    lobby.set_sink("mp4", True)
    clock.passed_s = 2.0
    lobby.set_sink("hls", False, Reason.ENCODE_ERROR, "rtsp://a:secret@b/ is broken")
    clock.passed_s = 3.0
    lobby.set_sink("hls", False, Reason.ENCODE_ERROR)
    (status,) = board.streams()
    mp4, hls = status.sinks
    assert (mp4.name, mp4.state, mp4.since_s, mp4.reason) == ("mp4", "up", 1001.0, None)
    assert (hls.name, hls.state, hls.since_s) == ("hls", "down", 1002.0)
    assert hls.reason is Reason.ENCODE_ERROR
    assert hls.last_error is not None
    assert "secret" not in hls.last_error
    lobby.set_sink("hls", True)
    hls = board.streams()[0].sinks[1]
    assert (hls.state, hls.since_s, hls.reason) == ("up", 1003.0, None)
    assert "is broken" in str(hls.last_error)
    board.add("lobby", ["hls"])
    assert [sink.state for sink in board.streams()[0].sinks] == ["waiting"]
