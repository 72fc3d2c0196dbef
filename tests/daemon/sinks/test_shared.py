"""One encoder for several sinks: what each gets of it, and what none has to suffer from another."""

from __future__ import annotations

import itertools
import socket
import threading
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from daemon.config.sink_settings import (
    HlsSinkSettings,
    Mp4SinkSettings,
    RtspSinkSettings,
    SinkSettings,
)
from daemon.errors import Reason, SinkError
from daemon.frame import plane
from daemon.sinks import backlog
from daemon.sinks.backlog import QUEUE_FRAMES, QUEUE_PACKETS
from daemon.sinks.base import Output, Packet
from daemon.sinks.encode import shared
from daemon.sinks.encode.stream_encoder import StreamEncoder
from daemon.sinks.make import group_by_encoding
from daemon.sinks.playlist import Playlist
from tests.daemon.outputs import output, picture
from tests.daemon.sinks.sharing import decoded, fed, pixels, sharing
from tests.daemon.sinks.writers import Gated
from tests.rtsp import RtspServer, needs_gstreamer
from tests.waiting import wait_until

WAIT_S = 60.0
NOISE = np.random.default_rng(0).integers(16, 235, (16, 48, 64), np.uint8)


def noisy(seq: int, *, slate: bool = False, pts_s: float | None = None) -> Output:
    """A picture that two encoders of different quality would not show alike."""
    image = picture(seq)
    plane(image, 0)[:] = np.roll(NOISE[seq % 16], seq // 16, axis=1)
    return output(seq, image=image, slate=slate, pts_s=pts_s)


def mp4(path: Path, **more: object) -> Mp4SinkSettings:
    return Mp4SinkSettings.model_validate({"kind": "mp4", "path": path, **more})


def rtsp(url: str) -> RtspSinkSettings:
    return RtspSinkSettings(kind="rtsp", url=SecretStr(url), timeout_s=WAIT_S)


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues that no busy machine fills: what a live stream loses then is not the question."""
    monkeypatch.setattr(shared, "QUEUE_FRAMES", 10_000)
    monkeypatch.setattr(backlog, "QUEUE_PACKETS", 10_000)


def segments(playlist: Playlist) -> list[bytes]:
    """What the playlist names of its last run, one after the other, as files that play. Waits
    until there is something."""
    found: list[bytes] = []

    def is_there() -> bool:
        found[:] = named(playlist)
        return bool(found)

    wait_until(is_there, WAIT_S)
    return found


def named(playlist: Playlist) -> list[bytes]:
    """As `segments`; none if there is nothing yet, or if they went while they were fetched."""
    text = (playlist.text() or "").rpartition("#EXT-X-MAP")[2]
    header = playlist.file(text.partition('URI="')[2].partition('"')[0])
    names = [line for line in text.splitlines() if line.endswith(".m4s")]
    parts = [playlist.file(name) for name in names]
    if header is None or None in parts:
        return []
    return [header + part for part in parts if part is not None]


def read(url: str, count: int, into: list[bytes]) -> None:
    with av.open(url, options={"rtsp_transport": "tcp"}, timeout=WAIT_S) as container:
        for image in container.decode(video=0):
            into.append(pixels(image))
            if len(into) == count:
                return


def reader(url: str, count: int) -> tuple[threading.Thread, list[bytes]]:
    seen: list[bytes] = []
    thread = threading.Thread(target=read, args=(url, count, seen), name="reader")
    thread.start()
    return thread, seen


def has_run(seen: list[bytes], recorded: list[bytes], length: int = 8) -> bool:
    """Whether so many in a row are the recorded ones: the server's own UDP may lose some."""
    at = {image: number for number, image in enumerate(recorded)}
    known = [at.get(image, -2 * len(recorded)) for image in seen]
    steps = "".join("1" if b - a == 1 else "0" for a, b in itertools.pairwise(known))
    return "1" * (length - 1) in steps


def test_who_agrees_shares(tmp_path: Path) -> None:
    x = tmp_path / "x.mp4"
    configs: list[SinkSettings] = [
        mp4(x),
        HlsSinkSettings(kind="hls"),
        rtsp("rtsp://h/x"),
        mp4(x, segment_s=60, keep_days=3),
        mp4(x, crf=30),
        mp4(x, preset="medium"),
        mp4(x, encoder="libx264"),
        mp4(x, fragment_s=0.5),
        HlsSinkSettings(kind="hls", segment_s=2),
        mp4(x, fragment_s=2),
    ]
    groups = [list(group) for group in group_by_encoding(configs)]
    assert groups == [[0, 1, 2, 3], [4], [5], [6], [7], [8, 9]]


@needs_gstreamer
@pytest.mark.usefixtures("roomy")
def test_a_recording_hls_and_a_push_show_the_same_pictures_of_one_encoder(tmp_path: Path) -> None:
    with RtspServer("--record") as server:
        configs = [mp4(tmp_path / "x.mp4"), HlsSinkSettings(kind="hls"), rtsp(server.url("/in"))]
        with sharing(configs) as made:
            assert len(made.encoders) == 1
            made.playlist.text()  # Somebody watches.
            with fed(made, noisy):
                wait_until(lambda: made.is_up("rtsp"), WAIT_S)
                thread, pushed = reader(server.url("/out"), 30)
                thread.join(WAIT_S)
                assert len(pushed) == 30
                parts = segments(made.playlist)
        assert made.encoder_names == ["libx264"]
    count = made.encoded()
    served = [image for part in parts for image in decoded(part)]
    recorded = decoded(tmp_path / "x.mp4")
    assert len(recorded) == count
    assert len(set(recorded)) == count >= 30
    assert len(served) >= 25
    begin = recorded.index(served[0])
    assert recorded[begin : begin + len(served)] == served
    assert has_run(pushed, recorded)


@needs_gstreamer
@pytest.mark.usefixtures("roomy")
def test_a_server_that_dies_and_returns_is_nothing_to_the_others(tmp_path: Path) -> None:
    """1. A recording and a push share an encoder. 2. The server dies: the push is down. 3. It is
    back: readers get whole pictures again. 4. The recording has every picture that was encoded."""
    with RtspServer("--record") as server:
        with sharing([mp4(tmp_path / "x.mp4"), rtsp(server.url("/in"))]) as made:
            with fed(made, noisy):
                wait_until(lambda: made.is_up("rtsp") and made.is_up("mp4"), WAIT_S)
                server.stop()
                refused = partial(made.value, "sink_errors_total", sink="rtsp")
                wait_until(lambda: refused(reason=Reason.CONNECT_REFUSED) >= 2, WAIT_S)
                assert made.is_up("mp4")
                server.start()
                wait_until(lambda: made.is_up("rtsp"), WAIT_S)
                thread, pushed = reader(server.url("/out"), 40)
                thread.join(WAIT_S)
                assert len(pushed) == 40
            assert made.value("frames_dropped_total", stage="sink_rtsp", reason="down") > 0
        assert made.encoder_names == ["libx264"]
    assert made.value("frame_age_seconds_count", sink="mp4") == made.encoded()
    recorded = decoded(tmp_path / "x.mp4")
    assert len(recorded) == made.encoded()
    assert has_run(pushed, recorded)


def test_settings_that_differ_have_encoders_of_their_own(tmp_path: Path) -> None:
    configs = [mp4(tmp_path / "fine.mp4", crf=10), mp4(tmp_path / "coarse.mp4", crf=45)]
    with sharing(configs, live=False) as made:
        for seq in range(30):
            made.put(noisy(seq))
    assert made.encoded() == 60
    fine, coarse = decoded(tmp_path / "fine.mp4"), decoded(tmp_path / "coarse.mp4")
    assert (len(fine), len(coarse)) == (30, 30)
    assert set(fine).isdisjoint(coarse)
    sizes = [(tmp_path / name).stat().st_size for name in ("fine.mp4", "coarse.mp4")]
    assert sizes[0] > 2 * sizes[1]


def test_a_slow_sink_loses_its_own_and_goes_on_with_a_keyframe(tmp_path: Path) -> None:
    slow = Gated("packets")
    total = 2 * QUEUE_PACKETS + 20
    with sharing([mp4(tmp_path / "x.mp4")], [slow]) as made:
        for seq in range(total):
            made.put(noisy(seq))
            wait_until(lambda seq=seq: made.value("frame_age_seconds_count", sink="mp4") > seq)  # type: ignore[misc]
            assert slow.entered.wait(WAIT_S)
        slow.gate.set()
    assert made.lost("mp4") == 0
    assert len(decoded(tmp_path / "x.mp4")) == total
    pts = [packet.pts // 3600 for packet in slow.written]
    assert pts[0] == 0
    begin = pts[1]
    assert slow.written[1].is_keyframe
    assert total - QUEUE_PACKETS <= begin < total - QUEUE_PACKETS + 25
    assert pts[1:] == list(range(begin, total))
    assert made.lost("gated") == total - len(pts)


@pytest.mark.usefixtures("roomy")
def test_what_comes_after_a_fault_begins_with_a_keyframe(tmp_path: Path) -> None:
    sink = Gated("packets")
    sink.gate.set()
    with sharing([mp4(tmp_path / "x.mp4")], [sink]) as made, fed(made, noisy, every_s=0.01):
        wait_until(lambda: len(sink.written) >= 10)
        sink.fault = SinkError(Reason.END_OF_STREAM, "the server closed the connection")
        wait_until(
            lambda: made.value("sink_errors_total", sink="gated", reason="end_of_stream") > 1
        )
        before, sink.fault = len(sink.written), None
        wait_until(lambda: len(sink.written) > before + 5, WAIT_S)
    assert sink.written[before].is_keyframe
    steps = np.diff([packet.pts for packet in sink.written[before:]])
    assert set(steps) == {3600}
    assert made.lost("gated") == made.encoded() - len(sink.written)
    assert len(decoded(tmp_path / "x.mp4")) == made.encoded()


def test_a_file_waits_for_its_slowest_sink_and_loses_nothing(tmp_path: Path) -> None:
    slow = Gated("packets")
    given: list[int] = []
    with sharing([mp4(tmp_path / "x.mp4", preset="medium")], [slow], live=False) as made:

        def give() -> None:
            for seq in range(300):
                made.put(noisy(seq))
                given.append(seq)

        giver = threading.Thread(target=give, name="give")
        giver.start()
        assert slow.entered.wait(WAIT_S)
        at_most = QUEUE_FRAMES + QUEUE_PACKETS + 60  # and what the encoder looks ahead
        giver.join(1.0)
        assert giver.is_alive()
        assert len(given) < at_most
        slow.gate.set()
        giver.join(WAIT_S)
        assert len(given) == 300
    assert made.lost("mp4") == made.lost("gated") == 0
    assert len(slow.written) == 300
    assert len(decoded(tmp_path / "x.mp4")) == 300


@pytest.mark.usefixtures("good_at_once")
@pytest.mark.parametrize("live", [True, False])
def test_a_picture_that_cannot_be_encoded_is_an_error_of_each_sink(
    tmp_path: Path, live: bool
) -> None:
    """1. A picture in a format that H.264 does not have. 2. Both are down, for that. 3. Pictures
    that can be encoded: both are up again by themselves."""
    sink = Gated("packets")
    sink.gate.set()
    with sharing([mp4(tmp_path / "x.mp4")], [sink], live=live) as made:
        made.put(output(0, image=av.VideoFrame(16, 16, "rgb24")))
        for label in ("mp4", "gated"):
            errors = partial(made.value, "sink_errors_total", sink=label, reason="encode_error")
            wait_until(lambda errors=errors: errors() >= 1)  # type: ignore[misc]
            assert made.lost(label) == 1
        assert list(tmp_path.iterdir()) == []
        with fed(made, noisy):
            wait_until(lambda: made.is_up("mp4") and made.is_up("gated"), WAIT_S)
    assert sink.written[0].is_keyframe
    assert set(made.encoder_names) == {"libx264"}


@pytest.mark.usefixtures("roomy")
def test_nothing_is_encoded_for_those_who_want_nothing(tmp_path: Path) -> None:
    with sharing([HlsSinkSettings(kind="hls")]) as made:
        assert not made.is_up("hls")
        for seq in range(20):
            made.put(noisy(seq))
        wait_until(lambda: made.is_up("hls"))  # Nothing is amiss.
        with fed(made, lambda seq: noisy(seq + 20)):
            parts = segments(made.playlist)
            watched = made.encoded()
        assert made.encoder_names == ["libx264"]
    assert watched >= 25
    assert made.lost("hls") == 0
    assert len(decoded(parts[0])) == 25


def test_a_slate_is_for_readers_and_the_recording_goes_on_after_it(tmp_path: Path) -> None:
    sink = Gated("packets")
    sink.gate.set()
    configs = [mp4(tmp_path / "x.mp4"), mp4(tmp_path / "part.mp4", segment_s=3600)]
    with sharing(configs, [sink], live=False) as made:
        for seq in range(50):
            made.put(noisy(seq, slate=10 <= seq < 13))
    assert len(sink.written) == 50
    real = [packet for packet in sink.written if not packet.slate]
    assert [packet.pts // 3600 for packet in real if packet.is_keyframe] == [0, 13, 38]
    whole = decoded(tmp_path / "x.mp4")
    assert len(whole) == 47
    parts = sorted(tmp_path.glob("part-*.mp4"), key=lambda path: path.stat().st_ino)
    joined = [image for part in parts for image in decoded(part)]
    assert (len(parts), len(joined)) == (2, 47)
    assert sorted(joined) == sorted(whole)


@pytest.mark.usefixtures("good_at_once")
def test_a_write_that_does_not_come_back_stops_no_stream(tmp_path: Path) -> None:
    """1. A file stream's sink hangs. 2. Its pictures go on to the other sink, and it shows as
    down. 3. It comes back, and goes on with a keyframe."""
    hung = Gated("packets")
    with sharing([mp4(tmp_path / "x.mp4")], [hung], live=False, hung_s={"gated": 0.5}) as made:
        for seq in range(QUEUE_PACKETS * 3):
            made.put(noisy(seq))
        assert made.value("sink_errors_total", sink="gated", reason="timeout") == 1
        assert not made.is_up("gated")
        hung.gate.set()
        wait_until(lambda: made.is_up("gated"), WAIT_S)
        assert made.writers[-1].wants
        for seq in range(QUEUE_PACKETS * 3, QUEUE_PACKETS * 4):
            made.put(noisy(seq))
    assert len(decoded(tmp_path / "x.mp4")) == QUEUE_PACKETS * 4
    assert hung.written[1].is_keyframe
    assert hung.written[-1].pts >= QUEUE_PACKETS * 3 * 3600
    assert made.lost("gated") == QUEUE_PACKETS * 4 - len(hung.written)


@pytest.mark.usefixtures("good_at_once")
def test_an_encoder_that_does_not_come_back_is_an_error_of_each_sink(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. A live stream's encoder hangs: its sinks are down, the stream is not held up. 2. It comes
    back: so do they, by themselves."""
    go = threading.Event()
    encode = StreamEncoder.encode

    def held(encoder: StreamEncoder, output: Output) -> list[Packet]:
        assert go.wait(WAIT_S)
        return encode(encoder, output)

    # A fake in that, since no encoder here hangs at a test's command.
    monkeypatch.setattr(StreamEncoder, "encode", held)
    monkeypatch.setattr(shared, "HUNG_S", 0.2)
    with sharing([mp4(tmp_path / "x.mp4"), mp4(tmp_path / "y.mp4")]) as made, fed(made, noisy):
        for label in ("mp4", "mp4-2"):
            errors = partial(made.value, "sink_errors_total", sink=label, reason="timeout")
            wait_until(lambda errors=errors: errors() >= 1, WAIT_S)  # type: ignore[misc]
            assert not made.is_up(label)
        go.set()
        wait_until(lambda: made.is_up("mp4") and made.is_up("mp4-2"), WAIT_S)
    assert len(decoded(tmp_path / "x.mp4")) > 0


def test_a_silent_server_holds_up_no_file(tmp_path: Path) -> None:
    """The server accepts and says nothing, and the push would wait for it longer than this."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = SecretStr(f"rtsp://127.0.0.1:{server.getsockname()[1]}/in")
        silent = RtspSinkSettings(kind="rtsp", url=url, timeout_s=5.0)
        with sharing([mp4(tmp_path / "x.mp4"), silent], live=False, hung_s={"rtsp": 0.3}) as made:
            for seq in range(QUEUE_PACKETS * 3):
                made.put(noisy(seq))
            # Once for the sink that does not come back; on a slow machine the push says so too.
            assert made.value("sink_errors_total", sink="rtsp", reason="timeout") >= 1
    assert len(decoded(tmp_path / "x.mp4")) == QUEUE_PACKETS * 3
    assert made.lost("mp4") == 0


def test_without_retry_the_first_error_ends_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    configs = [mp4(tmp_path / "file" / "x.mp4"), mp4(tmp_path / "y.mp4")]

    with sharing(configs, live=False, retry=False) as made:

        def give() -> None:
            for seq in range(10_000):
                made.put(noisy(seq))

        with pytest.raises(SinkError, match="cannot be written"):
            give()
        assert isinstance(made.writers[0].error, SinkError)
        assert made.writers[1].error is None
