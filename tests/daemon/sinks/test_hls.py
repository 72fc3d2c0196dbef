"""The hls sink and its playlist: what readers are told, and what they get."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field

import av
import numpy as np
import pytest

from daemon.config.sink_settings import HlsSinkSettings
from daemon.errors import SinkError
from daemon.frame import plane
from daemon.sinks.encode.stream_encoder import LONGEST_GAP_S, StreamEncoder
from daemon.sinks.hls import HlsSegments
from daemon.sinks.playlist import KEPT, LISTED, STALE_S, WANTED_S, Playlist
from tests.daemon.outputs import Encoded, luma_of, output, picture

BEGAN_S = 1_795_262_400.0  # 2026-11-21T12:00:00Z


@dataclass
class Watched:
    """A sink whose clock goes by the pictures that it is given, and a reader of its playlist."""

    config: HlsSinkSettings = field(default_factory=lambda: HlsSinkSettings(kind="hls", crf=10))
    now_s: float = 0.0
    seq: int = 0

    def __post_init__(self) -> None:
        self.playlist = Playlist(clock=lambda: BEGAN_S, monotonic=lambda: self.now_s)
        self.sink = Encoded(self.config, HlsSegments(self.config, self.playlist))

    def give(self, count: int = 1, *, every_s: float = 0.04, width: int = 64) -> bool:
        """Pictures `every_s`; whether the last one was written."""
        written = False
        for _ in range(count):
            self.now_s += every_s
            image = picture(self.seq, width=width)
            written = self.sink.write(
                output(self.seq, pts_s=self.now_s, captured_s=BEGAN_S + self.now_s, image=image)
            )
            self.seq += 1
        return written

    def watch(self, count: int, *, every_s: float = 0.04, width: int = 64) -> None:
        """As `give`, the playlist asked for all the time."""
        for _ in range(count):
            self.playlist.text()
            self.give(every_s=every_s, width=width)

    def lines(self) -> list[str]:
        text = self.playlist.text()
        assert text is not None
        return text.splitlines()

    def told(self, tag: str) -> list[str]:
        return [line.split(":", 1)[1] for line in self.lines() if line.startswith(f"#{tag}:")]

    def names(self) -> list[str]:
        return [line for line in self.lines() if not line.startswith("#")]

    def media(self, name: str) -> bytes:
        content = self.playlist.file(name)
        assert content is not None
        return content

    def decode(self, header: str, *names: str) -> list[av.VideoFrame]:
        data = b"".join(map(self.media, (header, *names)))
        with av.open(io.BytesIO(data)) as container:
            return list(container.decode(video=0))


def test_segments_of_a_second_each_begin_with_a_keyframe() -> None:
    watched = Watched()
    watched.watch(25 * 4 + 1)
    assert watched.told("EXT-X-TARGETDURATION") == ["1"]
    assert [float(length.rstrip(",")) for length in watched.told("EXTINF")] == [1.0] * 4
    assert watched.told("EXT-X-PROGRAM-DATE-TIME")[0] == "2026-11-21T12:00:00.040Z"
    assert watched.lines().count("#EXT-X-DISCONTINUITY") == 1
    (header,) = re.findall(r'#EXT-X-MAP:URI="([^"]*)"', "\n".join(watched.lines()))
    for index, name in enumerate(watched.names()):
        frames = watched.decode(header, name)
        assert len(frames) == 25
        assert frames[0].key_frame
        lumas = [int(np.median(plane(frame, 0))) for frame in frames]
        assert lumas == pytest.approx([luma_of(25 * index + n) for n in range(25)], abs=2)
    whole = watched.decode(header, *watched.names())
    assert [float(f.time) for f in whole] == pytest.approx([n * 0.04 for n in range(100)], abs=1e-4)


def test_old_segments_leave_the_list_and_then_memory() -> None:
    watched = Watched()
    seen: list[str] = []
    for _ in range(40):
        watched.watch(25)
        if watched.seq > 25:
            seen += [name for name in watched.names() if name not in seen]
            assert len(watched.names()) <= LISTED
            first = watched.names()[0]
            assert watched.told("EXT-X-MEDIA-SEQUENCE") == [first.removesuffix(".m4s")]
    numbers = [int(name.removesuffix(".m4s")) for name in seen]
    assert numbers == list(range(numbers[0], numbers[0] + 39))
    kept = [name for name in seen if watched.playlist.file(name) is not None]
    assert kept == seen[-KEPT:]
    # The one tag, at the very first segment, has left the list.
    assert "#EXT-X-DISCONTINUITY" not in watched.lines()
    runs = [name for name in watched.lines() if "EXT-X-MAP" in name]
    assert runs == [f'#EXT-X-MAP:URI="init-{watched.told("EXT-X-DISCONTINUITY-SEQUENCE")[0]}.mp4"']


def test_headers_leave_memory_with_their_segments() -> None:
    """A camera that comes and goes brings one each time."""
    playlist = Playlist()
    for _ in range(100):
        playlist.begin(b"header", 1)
        playlist.add(b"media", 1.0, 0.0)
    assert len(playlist._headers) <= KEPT + 1


def test_a_new_size_is_a_discontinuity_with_a_header_of_its_own() -> None:
    watched = Watched()
    watched.watch(60)
    watched.watch(60, width=96)
    text = "\n".join(watched.lines())
    before, _, after = text.rpartition("#EXT-X-DISCONTINUITY\n")
    old, new = (re.findall(r'URI="([^"]*)"', part)[0] for part in (before, after))
    assert old != new
    names_before, names_after = (
        [line for line in part.splitlines() if line.endswith(".m4s")] for part in (before, after)
    )
    frames = watched.decode(old, *names_before)
    assert ({frame.width for frame in frames}, len(frames)) == ({64}, 60)
    frames = watched.decode(new, *names_after)
    assert ({frame.width for frame in frames}, len(frames)) == ({96}, 50)
    assert frames[0].time == pytest.approx(60 * 0.04, abs=1e-4), "time goes on"
    # 60 pictures are two segments and a short third one.
    assert [float(length.rstrip(",")) for length in watched.told("EXTINF")] == pytest.approx(
        [1.0, 1.0, 0.4, 1.0, 1.0]
    )


@pytest.mark.parametrize("every_s", [0.3, 0.7, 1.0, 1.4, 2.6, 9.0, 12.0])
def test_slow_and_late_pictures_leave_no_long_segment(every_s: float) -> None:
    watched = Watched()
    watched.watch(12, every_s=every_s)
    lengths_s = [float(length.rstrip(",")) for length in watched.told("EXTINF")]
    assert len(lengths_s) >= 2
    assert all(1.0 <= length_s < 1.5 for length_s in lengths_s)
    assert watched.told("EXT-X-TARGETDURATION") == ["1"]
    assert len(watched.told("EXT-X-PROGRAM-DATE-TIME")) == len(lengths_s)


def test_a_late_picture_brings_no_more_segments_than_a_reader_sees() -> None:
    watched = Watched()
    watched.watch(26)
    last = int(watched.names()[-1].removesuffix(".m4s"))
    watched.watch(1, every_s=LONGEST_GAP_S)
    numbers = [int(name.removesuffix(".m4s")) for name in watched.names()]
    assert len(numbers) > 8
    assert last + 1 in numbers


def test_after_a_long_gap_something_new_begins() -> None:
    watched = Watched()
    watched.watch(30)
    watched.watch(1, every_s=LONGEST_GAP_S + 1)
    watched.watch(30)
    assert watched.lines().count("#EXT-X-DISCONTINUITY") == 2


@pytest.mark.parametrize(
    ("segment_s", "expected"),
    [(1.0, [[1.0, 1.0, 1.0, 1.0, 1.0, 0.4], [1.5], [1.0]]), (10.0, [[5.4], [10.2]])],
)
def test_what_was_before_a_pause_is_there_and_lasts_as_the_playlist_says(
    segment_s: float, expected: list[list[float]]
) -> None:
    """Two pauses that are not filled, and between them one picture."""
    watched = Watched(HlsSinkSettings(kind="hls", crf=10, segment_s=segment_s))
    watched.watch(135)
    watched.watch(2, every_s=LONGEST_GAP_S + 0.2)
    watched.watch(30)
    runs = lasting(watched)
    assert len(runs) == len(expected)
    for told_s, lengths_s in zip(runs, expected, strict=True):
        assert told_s == pytest.approx(lengths_s, abs=1e-4)
        assert all(length_s < segment_s + 0.5 for length_s in told_s)


@pytest.mark.parametrize("segment_s", [1.0, 10.0])
def test_a_burst_after_a_pause_lasts_as_the_playlist_says(segment_s: float) -> None:
    """The first picture's own length is that of the pause; those that follow tell better."""
    watched = Watched(HlsSinkSettings(kind="hls", crf=10, segment_s=segment_s))
    for _ in range(4):
        watched.watch(1, every_s=LONGEST_GAP_S + 1)
        watched.watch(4)
    assert lasting(watched) == [pytest.approx([0.2], abs=1e-4)] * 3


def lasting(watched: Watched) -> list[list[float]]:
    """How long the segments of each run are by the playlist, in seconds; their media is as long."""
    found = []
    for run in "\n".join(watched.lines()).split("#EXT-X-DISCONTINUITY\n")[1:]:
        told_s = [float(length) for length in re.findall(r"#EXTINF:([^,]*),", run)]
        names = re.findall(r"init-\d+\.mp4|\d+\.m4s", run)
        with av.open(io.BytesIO(b"".join(map(watched.media, names)))) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
            lasts_s = sum(float((packet.duration or 0) * packet.time_base) for packet in packets)
        assert lasts_s == pytest.approx(sum(told_s), abs=1e-4)
        found.append(told_s)
    return found


def test_a_size_of_one_picture_is_no_discontinuity() -> None:
    """Its run has no segment; each that was listed keeps the number of those before it."""
    watched = Watched()
    watched.watch(60)
    watched.watch(1, width=96)
    numbers: dict[str, int] = {}
    for _ in range(40):
        watched.watch(25)
        (number,) = map(int, watched.told("EXT-X-DISCONTINUITY-SEQUENCE"))
        for line in watched.lines():
            number += line == "#EXT-X-DISCONTINUITY"
            if line.endswith(".m4s"):
                assert numbers.setdefault(line, number) == number


def test_the_target_holds_for_segments_of_before_a_reload_too() -> None:
    watched = Watched(HlsSinkSettings(kind="hls", segment_s=4.0))
    watched.watch(25 * 9)
    watched.config = HlsSinkSettings(kind="hls", segment_s=1.0)
    watched.sink.close()
    watched.sink = Encoded(watched.config, HlsSegments(watched.config, watched.playlist))
    watched.watch(60)
    assert watched.told("EXT-X-TARGETDURATION") == ["4"]
    watched.watch(25 * 20)
    assert watched.told("EXT-X-TARGETDURATION") == ["1"]


def test_nothing_is_encoded_while_nobody_asks_and_what_is_old_is_never_shown() -> None:
    watched = Watched()
    assert not watched.give(50)
    assert watched.playlist.text() is None
    assert watched.give(60), "somebody asked"
    first = watched.names()
    assert not watched.give(round(WANTED_S / 0.04) + 2)
    numbers = range(int(first[0][:-4]), int(first[0][:-4]) + 100)
    kept = [n for n in numbers if watched.playlist.file(f"{n}.m4s") is not None]
    assert kept == [], "nobody asks for them"
    assert watched.playlist.text() is None
    watched.watch(60)
    assert int(watched.names()[0][:-4]) > int(first[-1][:-4])
    assert watched.lines().count("#EXT-X-DISCONTINUITY") == 1


def test_what_was_under_way_when_the_last_reader_left_is_never_shown() -> None:
    """The encoder ends then, and the sink hears nothing until somebody asks again."""
    config, playlist = HlsSinkSettings(kind="hls"), Playlist()
    playlist.text()
    encoder, sink = StreamEncoder(config, live=True), HlsSegments(config, playlist)
    for began_s in (0.0, 30.0):
        for seq in range(12):
            for packet in encoder.encode(output(seq, pts_s=began_s + seq / 10)):
                assert sink.write(packet)
        encoder.finish()
    assert re.findall(r"EXTINF:([^,]*),", playlist.text() or "") == ["1.00000", "1.00000"]


def test_a_source_that_stops_leaves_no_picture_that_passes_for_new() -> None:
    watched = Watched()
    watched.watch(60)
    watched.now_s += STALE_S + 1
    assert watched.playlist.text() is None


def test_numbers_go_on_when_the_sink_is_made_anew() -> None:
    """As a reload and a failed encoder do."""
    watched = Watched()
    watched.watch(30)
    before = watched.names()
    watched.sink.close()
    watched.sink = Encoded(watched.config, HlsSegments(watched.config, watched.playlist))
    watched.watch(60)
    assert watched.names()[: len(before)] == before
    numbers = [int(name.removesuffix(".m4s")) for name in watched.names()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert watched.lines().count("#EXT-X-DISCONTINUITY") == 2


def test_numbers_go_on_when_affectd_starts_again() -> None:
    watched = Watched()
    watched.watch(25 * 8)
    last = int(watched.names()[-1].removesuffix(".m4s"))
    later = Playlist(clock=lambda: BEGAN_S + 9, monotonic=lambda: watched.now_s)
    assert later.text() is None
    later.begin(b"header", 1)
    later.add(b"media", 1.0, BEGAN_S + 9)
    assert later.text() is not None
    assert later.file(f"{last}.m4s") is None
    (number,) = re.findall(r"(\d+)\.m4s", later.text() or "")
    assert int(number) > last


@pytest.mark.parametrize("began_s", [0.0, BEGAN_S, 2**31 - 100.0])
def test_numbers_go_on_though_more_than_one_a_second_was_used(began_s: float) -> None:
    """As each return from a slate does. Some players count no further than 31 bits."""

    def number(playlist: Playlist) -> int:
        playlist.text()
        playlist.begin(b"header", 1)
        playlist.add(b"media", 1.0, began_s)
        return int(re.findall(r"SEQUENCE:(\d+)", playlist.text() or "")[0])

    before = Playlist(clock=lambda: began_s)
    numbers = [number(before) for _ in range(100)]
    assert number(Playlist(clock=lambda: began_s + 60.0)) > numbers[-1]
    assert 0 <= numbers[-1] < 2**31


def test_a_picture_that_libav_does_not_take_is_a_fault_and_the_next_keyframe_begins_anew() -> None:
    """Time goes back, which no sink is given."""
    config, playlist = HlsSinkSettings(kind="hls"), Playlist()
    playlist.text()
    encoder, sink = StreamEncoder(config, live=True), HlsSegments(config, playlist)
    packets = [
        packet for seq in range(12) for packet in encoder.encode(output(seq, pts_s=seq / 10))
    ]
    assert all(sink.write(packet) for packet in packets)
    with pytest.raises(SinkError, match=r"hls sink: it cannot be encoded \(Invalid argument\)"):
        sink.write(packets[1])
    assert not sink.write(packets[11])
    assert sink.write(packets[0])
