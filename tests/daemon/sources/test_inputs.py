"""Ways in besides files and plain RTSP: UDP, TLS, motion JPEG and HLS, graphics cards."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.codec.hwaccel import hwdevices_available

from daemon.errors import Reason, SourceError
from daemon.frame import Frame, plane
from daemon.sources import decoder, video
from daemon.sources.network import BY_TCP, Network
from daemon.sources.video import VideoSource
from daemon.trials import Trials
from tests.daemon.sources.videos import WAIT_S, playing
from tests.faults.proxy import Proxy
from tests.inside import inside
from tests.media import write_clip
from tests.rtsp import RtspServer, needs_gstreamer
from tests.tls import certificate, needs_openssl, tls_before

pytestmark = pytest.mark.usefixtures("patient")

FPS = 10
ABSENT = [name for name in decoder.DEVICES if not decoder.works(name)]
needs_an_absent_one = pytest.mark.skipif(not ABSENT, reason="every decoder works here")


def source(url: str, network: Network = BY_TCP, *, stall_timeout_s: float = WAIT_S) -> VideoSource:
    return VideoSource(
        "s",
        url,
        live=True,
        stop=threading.Event(),
        stall_timeout_s=stall_timeout_s,
        network=network,
    )


def some(made: VideoSource, count: int) -> list[Frame]:
    frames = list(itertools.islice(made.frames(), count))
    made.close()
    return frames


def fault(url: str, network: Network = BY_TCP, *, stall_timeout_s: float = WAIT_S) -> SourceError:
    with pytest.raises(SourceError) as caught:
        some(source(url, network, stall_timeout_s=stall_timeout_s), 10**6)
    assert "p@ss" not in str(caught.value)
    return caught.value


@needs_gstreamer
def test_pictures_by_udp_and_a_stall_of_them() -> None:
    with RtspServer() as server:
        first, frames = playing(server.url(), network=Network(transport="udp"), stall_timeout_s=4.0)
        assert first[0].image.width == 320
        server.freeze()
        frozen_s = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED
        assert time.monotonic() - frozen_s < 40.0


@needs_gstreamer
@pytest.mark.parametrize("answer", range(4), ids=["OPTIONS", "DESCRIBE", "SETUP", "PLAY"])
def test_a_server_that_dies_in_the_middle_of_an_answer(answer: int) -> None:
    """It is neither one that sends no video nor one that forbids: the connection was lost, as the
    server shows that stands in its place."""
    with RtspServer() as server, Proxy(server.port) as proxy:
        url = f"rtsp://127.0.0.1:{proxy.port}/cam"
        proxy.break_at(answer)
        assert fault(url).reason is Reason.END_OF_STREAM
        assert proxy.done["cut"] == 1
        proxy.break_at(answer)
        server.stop()
        assert fault(url).reason in (Reason.CONNECT_REFUSED, Reason.END_OF_STREAM)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_server_that_accepts_and_says_nothing(scheme: str, transport: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began_s = time.monotonic()
        url = f"{scheme}://u:p%40ss@127.0.0.1:{server.getsockname()[1]}/cam"
        silent = fault(url, Network(transport=transport), stall_timeout_s=1.0)  # type: ignore[arg-type]
        assert silent.reason is Reason.TIMEOUT
        assert time.monotonic() - began_s < 40.0


@needs_gstreamer
@needs_openssl
def test_a_certificate_that_the_camera_made_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. It is refused. 2. With tls_verify = false it will do. 3. It is trusted if the system does
    so. 4. Not for another host's name."""
    own = certificate(tmp_path, "localhost")
    with RtspServer(user="u", password="p@ss") as server:
        address = "rtsps://u:p%40ss@localhost:{}/cam"
        with tls_before(server.port, own) as port:
            refused = fault(address.format(port))
            assert refused.reason is Reason.TLS
            assert "tls_verify = false" in str(refused)
            unverified = Network(tls_verify=False)
            playing(address.format(port), network=unverified, stall_timeout_s=WAIT_S, pictures=3)
            monkeypatch.setenv("SSL_CERT_FILE", str(own[0]))
            playing(address.format(port), stall_timeout_s=WAIT_S, pictures=3)
        other = certificate(tmp_path, "other")
        monkeypatch.setenv("SSL_CERT_FILE", str(other[0]))
        with tls_before(server.port, other) as port:
            assert fault(address.format(port)).reason is Reason.TLS


@needs_gstreamer
def test_more_patience_with_a_stream_than_with_opening_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """libav knows one time-out for both. 1. A server that says nothing is given up soon. 2. One
    that falls silent while it is read is given as long as it was promised."""
    monkeypatch.setattr(video, "OPEN_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began_s = time.monotonic()
        url = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/cam"
        assert fault(url, stall_timeout_s=120.0).reason is Reason.TIMEOUT
        assert time.monotonic() - began_s < 60.0
    monkeypatch.setattr(video, "OPEN_TIMEOUT_S", 2.5)
    with RtspServer() as server:
        _, frames = playing(server.url(), stall_timeout_s=5.0)
        began_s = time.monotonic()
        server.freeze()
        with pytest.raises(SourceError, match="nothing came for 5 s"):
            list(frames)
        assert time.monotonic() - began_s > 4.0


class WebCamera:
    """Serves /video as motion JPEG while `is_on`, and the files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.is_on = True
        self.over = threading.Event()
        self.asked: list[str] = []
        camera = self

        class Answer(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked.append(self.path)
                if self.path != "/video":
                    super().do_GET()
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):
                    for number in itertools.count():
                        if camera.is_on:
                            self.wfile.write(part(number))
                        if camera.over.wait(1.0 / FPS):
                            return

            def log_message(self, *args: object) -> None:
                pass

        answer = partial(Answer, directory=str(folder))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="web camera")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def __enter__(self) -> WebCamera:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def part(number: int) -> bytes:
    image = np.full((120, 160), 20 + 10 * number % 200, np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
    return head % len(jpeg) + jpeg + b"\r\n"


def test_motion_jpeg_in_its_own_time_and_a_stall_of_it(tmp_path: Path) -> None:
    with WebCamera(tmp_path) as camera:
        made = source(camera.url("/video"))
        frames = made.frames()
        before_s = time.monotonic()
        first = next(frames)
        after_s = time.monotonic()
        seen = list(itertools.islice(frames, 19))
        before_last_s = time.monotonic()
        seen.append(next(frames))
        took_s = seen[-1].pts_s - first.pts_s
        # libav alone would say 0.8 s, whatever passed.
        assert before_last_s - after_s - 0.3 < took_s < time.monotonic() - before_s + 0.3
        assert (first.image.width, first.image.height) == (160, 120)
        lumas = [int(np.median(plane(frame.image, 0))) for frame in seen[:5]]
        assert [b - a for a, b in itertools.pairwise(lumas)] == pytest.approx([10] * 4, abs=2)
        made.close()
        _, frames = playing(camera.url("/video"), stall_timeout_s=3.0)
        camera.is_on = False
        with pytest.raises(SourceError) as caught:
            list(frames)
        assert caught.value.reason is Reason.STALLED


def test_hls_that_grows(tmp_path: Path) -> None:
    """1. Some segments are there. 2. The reader begins near the end. 3. More come: it goes on.
    4. None come: that is found."""
    clip = write_clip(tmp_path / "clip.mp4", frames=200, fps=25, options={"g": "25"})
    gone_on = threading.Event()
    over = threading.Event()
    seen: list[Frame] = []

    def grow() -> None:
        more = 0
        with (
            av.open(str(clip)) as given,
            av.open(
                str(tmp_path / "live.m3u8"),
                "w",
                format="hls",
                container_options={"hls_time": "1", "hls_list_size": "4"},
            ) as playlist,
        ):
            stream = playlist.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is None:
                    break
                if float(packet.pts * packet.time_base) >= 4.0:
                    gone_on.set()
                    while more > len(seen) and not over.wait(0.01):
                        pass  # The reader is late: what it reads next must stay in the list.
                    over.wait(0.03)
                    more += 1
                packet.stream = stream
                playlist.mux(packet)
            over.wait(2 * WAIT_S)

    grower = threading.Thread(target=grow, name="grow")
    with WebCamera(tmp_path) as camera:
        grower.start()
        try:
            assert gone_on.wait(WAIT_S)
            made = source(camera.url("/live.m3u8"), stall_timeout_s=8.0)
            began_s = time.monotonic()
            # Whichever comes first, libav calls it an end or our own time-out a stall.
            with suppress(SourceError):
                for frame in made.frames():
                    seen.append(frame)  # one by one: the other thread looks
            assert time.monotonic() - began_s < WAIT_S
        finally:
            over.set()
            grower.join()
    assert len(seen) >= 100
    steps = {round(b.pts_s - a.pts_s, 3) for a, b in itertools.pairwise(seen)}
    assert steps == {0.04}


def test_of_several_qualities_the_largest_is_read_and_no_other_fetched(tmp_path: Path) -> None:
    sizes = {"small": (64, 48), "large": (256, 192), "middle": (128, 96)}
    lines = ["#EXTM3U"]
    for name, (width, height) in sizes.items():
        clip = write_clip(tmp_path / f"{name}.mp4", width=width, height=height, frames=75)
        with av.open(str(clip)) as given, av.open(str(tmp_path / f"{name}.m3u8"), "w") as out:
            stream = out.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={width * height}", f"{name}.m3u8"]
    (tmp_path / "all.m3u8").write_text("\n".join([*lines, ""]))
    with WebCamera(tmp_path) as camera:
        url = camera.url("/all.m3u8")
        frames = list(VideoSource("s", url, live=False, stop=threading.Event()).frames())
        segments = [path for path in camera.asked if path.endswith(".ts")]
    assert {(frame.image.width, frame.image.height) for frame in frames} == {(256, 192)}
    assert len(frames) == 75
    # Of each the first is looked at to know what it holds.
    assert [path for path in segments if "large" not in path] == ["/small0.ts", "/middle0.ts"]


@pytest.mark.parametrize("name", ["clip.m3u8", "clip.mp4"])
def test_what_lies_ready_on_a_server_comes_at_its_own_pace(tmp_path: Path, name: str) -> None:
    """Else the newest picture of each segment would win, and the others be lost."""
    clip = write_clip(tmp_path / "clip.mp4", frames=26, fps=25)
    with av.open(str(clip)) as given, av.open(str(tmp_path / "clip.m3u8"), "w") as playlist:
        stream = playlist.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                playlist.mux(packet)
    with WebCamera(tmp_path) as camera:
        made = source(camera.url(f"/{name}"), stall_timeout_s=8.0)
        began_s = time.monotonic()
        assert len(list(made.frames())) == 26
        assert time.monotonic() - began_s >= 25 / 25


def test_decoders_are_tried_before_they_are_relied_on(tmp_path: Path) -> None:
    """What a device gives is compared with what the processor gives, where there is one."""
    clip = write_clip(tmp_path / "x.mp4", frames=12, width=320, height=240)

    def lumas(name: str) -> list[int]:
        made = VideoSource("s", str(clip), live=False, stop=threading.Event(), decoder=name)
        return [int(plane(frame.image, 0).mean()) for frame in made.frames()]

    expected = lumas("software")
    assert len(expected) == 12
    for name in ("auto", *decoder.DEVICES):
        assert lumas(name) == pytest.approx(expected, abs=1)
    assert decoder.accelerator("software") is None
    for name in decoder.DEVICES:
        assert name in hwdevices_available() or not decoder.works(name)
        assert (decoder.accelerator(name) is not None) == decoder.works(name)
        assert (name in decoder.working()) == decoder.works(name)


def test_a_codec_that_a_named_decoder_does_not_know_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The device itself is not asked of such a codec, so none need be here."""
    clip = write_clip(tmp_path / "x.mkv", codec="ffv1", frames=3)
    monkeypatch.setattr(decoder, "works", lambda device: True)
    for name in ("cuda", "auto"):
        made = VideoSource("s", str(clip), live=False, stop=threading.Event(), decoder=name)
        assert len(list(made.frames())) == 3
    assert caplog.messages == ["stream s: cuda does not decode ffv1; the processor does instead"]


@needs_an_absent_one
def test_a_named_decoder_that_does_not_work_is_an_error_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who would rather have the processor says "auto"."""
    path = tmp_path / "affectd.toml"
    text = '[[stream]]\nname = "a"\nurl = "rtsp://cam/x"\n[[stream]]\nname = "b"\n'
    path.write_text(f'{text}url = "rtsp://cam/y"\ndecoder = "{ABSENT[0]}"\n')
    done = inside(capsys, "check", path)
    accepted = ", ".join(["software", "auto", *decoder.working()])
    assert done.code == 2
    assert done.err == [
        f"affectd: {path}: stream[1].decoder: {ABSENT[0]} does not work here; accepted: {accepted}"
    ]
    path.write_text(f'{text}url = "rtsp://cam/y"\ndecoder = "auto"\n')
    assert inside(capsys, "check", path).code == 0


def test_a_scene_that_cannot_be_drawn_is_an_error_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "affectd.toml"
    path.write_text('[[stream]]\nname = "a"\nurl = "demo://x?width=640"\n')
    done = inside(capsys, "check", path)
    assert (done.code, done.err) == (
        2,
        [
            f"affectd: {path}: stream[0].url: demo:// has no option 'width'; "
            "accepted are faces, fps, seconds, seed, size"
        ],
    )


def test_a_camera_that_is_off_puts_no_graphics_card_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A trial at each retry would find the card full one day."""
    tried: list[str] = []

    def passes(device: str) -> bool:
        tried.append(device)
        return True

    monkeypatch.setattr(decoder, "_trials", Trials(passes))
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{unheard.getsockname()[1]}/x"
        for _ in range(2):
            with pytest.raises(SourceError) as caught:
                VideoSource("s", url, live=True, stop=threading.Event(), decoder="cuda")
            assert caught.value.reason is Reason.CONNECT_REFUSED
    assert tried == ["cuda"]


@pytest.mark.skipif("cuda" not in ABSENT, reason="a graphics card is here that cannot be lost")
@pytest.mark.skipif("cuda" not in hwdevices_available(), reason="this PyAV has no CUDA")
def test_a_graphics_card_that_goes_away_leaves_it_to_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The trial at the start is a fake, since no card here can be taken away: it says that CUDA
    works. 1. Opening fails, which puts the trial in doubt. 2. The next time the processor decodes.
    """
    clip = write_clip(tmp_path / "x.mp4", frames=3)
    tried, trial = [True], decoder._passes_trial
    answers = Trials(lambda device: tried.pop() if tried else trial(device))
    monkeypatch.setattr(decoder, "_trials", answers)

    def film() -> VideoSource:
        return VideoSource("s", str(clip), live=False, stop=threading.Event(), decoder="cuda")

    with pytest.raises(SourceError):
        film()
    assert len(list(film().frames())) == 3
    assert "decoder cuda works no more; the processor decodes instead" in caplog.text
