"""Pushing to a real RTSP server: what arrives there, each way to fail, and who has to wait."""

from __future__ import annotations

import itertools
import signal
import socket
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from pydantic import SecretStr

from daemon.config.sink_settings import RtspSinkSettings
from daemon.errors import Reason, SinkError
from daemon.frame import plane
from daemon.sinks.base import Output
from daemon.sinks.push import Push
from tests.daemon.outputs import Encoded, luma_of, output, picture
from tests.rtsp import RtspServer, needs_gstreamer
from tests.tls import certificate, needs_openssl

USER, PASSWORD = "view@er", "p@ss:w/rd#1?%&ü x"
TICK_S = 0.02
WAIT_S = 60.0


def push(url: str, **more: object) -> Encoded:
    config = RtspSinkSettings.model_validate(
        {"kind": "rtsp", "url": SecretStr(url), "timeout_s": WAIT_S, **more}
    )
    return Encoded(config, Push(config))


def fault(url: str, timeout_s: float = WAIT_S) -> SinkError:
    sink = push(url, timeout_s=timeout_s)
    with pytest.raises(SinkError) as caught:
        sink.write(output(0))
    sink.close()
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)
    return caught.value


class Reader(threading.Thread):
    """Reads /out of a server until it has `count` pictures. GStreamer refuses a reader that comes
    while the one before is being put away: it asks again."""

    def __init__(self, url: str, count: int, **options: str) -> None:
        super().__init__(name="reader")
        self.pictures: list[av.VideoFrame] = []
        self._url, self._count = url, count
        self._options = {"rtsp_transport": "tcp", **options}

    def run(self) -> None:
        end_s = time.monotonic() + WAIT_S
        while True:
            try:
                self._read()
                return
            except av.error.HTTPServerError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(TICK_S)

    def _read(self) -> None:
        with av.open(self._url, options=self._options, timeout=WAIT_S) as container:
            for image in container.decode(video=0):
                self.pictures.append(image)
                if len(self.pictures) == self._count:
                    return


@needs_gstreamer
@pytest.mark.parametrize("options", [(), ("--digest",)])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_reader_of_the_server_sees_what_was_pushed(
    options: tuple[str, ...], transport: str
) -> None:
    with RtspServer("--record", *options, user=USER, password=PASSWORD) as server:
        sink = push(server.url("/in"), transport=transport)
        sink.write(output(0))
        reader = Reader(server.url("/out"), 30)
        reader.start()
        for seq in itertools.count(1):
            sink.write(output(seq))
            reader.join(TICK_S)
            if not reader.is_alive():
                break
        sink.close()
    sizes = {(image.width, image.height) for image in reader.pictures}
    assert sizes == {(64, 48)}
    lumas = [int(np.median(plane(image, 0))) for image in reader.pictures]
    # Eight in a row, wherever they are: the server itself uses UDP, which may lose some.
    known = [luma_of(number) for number in range(30 + 8)]
    runs = [pytest.approx(known[begin : begin + 8], abs=2) for begin in range(30)]
    assert any(lumas[at : at + 8] == run for at in range(30 - 7) for run in runs)


@needs_gstreamer
def test_a_source_that_pauses_is_not_taken_for_a_server_that_does() -> None:
    with RtspServer("--record") as server:
        sink = push(server.url("/in"), timeout_s=2.0)
        sink.write(output(0))
        time.sleep(3.0)  # Longer than the server may take.
        assert sink.write(output(1))
        sink.close()


@needs_gstreamer
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_sent_to_the_whole_group_does_not_end_a_publication(number: int) -> None:
    """As by Ctrl-C and by systemd's stop: affectd ends it, with its last picture."""
    with RtspServer("--record") as server:
        config = RtspSinkSettings(kind="rtsp", url=SecretStr(server.url("/in")))
        made = Push(config)
        sink = Encoded(config, made)
        sink.write(output(0))
        assert made._publication is not None
        process = made._publication._process
        process.send_signal(number)
        sink.close()
    assert process.returncode not in (-number, 1)


@needs_gstreamer
def test_another_size_is_published_anew() -> None:
    with RtspServer("--record") as server:
        sink = push(server.url("/in"))
        for seq in range(5):
            sink.write(output(seq))
        large = picture(3, width=128, height=96)
        sink.write(output(5, image=large))
        reader = Reader(server.url("/out"), 3)
        reader.start()
        for seq in itertools.count(6):
            sink.write(output(seq, image=large))
            reader.join(TICK_S)
            if not reader.is_alive():
                break
        sink.close()
    assert {(image.width, image.height) for image in reader.pictures} == {(128, 96)}


@needs_gstreamer
def test_each_refusal_has_its_reason() -> None:
    with RtspServer("--record", user=USER, password=PASSWORD) as server:
        assert fault(server.url("/in", PASSWORD + "x")).reason is Reason.AUTH_FAILED
        assert fault(server.url("/attic")).reason is Reason.NOT_FOUND
        server.freeze()
        silent = fault(server.url("/in"), timeout_s=1.0)
    assert silent.reason is Reason.TIMEOUT
    assert "no answer within 1 s" in str(silent)
    assert fault(server.url("/in")).reason is Reason.CONNECT_REFUSED


@needs_gstreamer
@needs_openssl
def test_rtsps_looks_at_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1. One that the server made itself is refused. 2. With tls_verify = false it will do. 3. It
    is trusted if the system does so, 4. but not under another name, and 5. not another one."""
    own, other = certificate(tmp_path, "localhost"), certificate(tmp_path, "other")
    with RtspServer("--record", "--tls", *map(str, own), user=USER, password=PASSWORD) as server:
        url = server.url("/in", start="rtsps://localhost")
        refused = fault(url)
        assert refused.reason is Reason.TLS
        assert "tls_verify = false" in str(refused)
        arrives(server, push(url, tls_verify=False), tls_verify="0")
        monkeypatch.setenv("SSL_CERT_FILE", str(own[0]))
        arrives(server, push(url), tls_verify="1", ca_file=str(own[0]))
        assert fault(server.url("/in", start="rtsps://127.0.0.1")).reason is Reason.TLS
        assert fault(server.url("/in", PASSWORD + "x", "rtsps://localhost")).reason is (
            Reason.AUTH_FAILED
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(other[0]))
        assert fault(url).reason is Reason.TLS


def arrives(server: RtspServer, sink: Encoded, **tls: str) -> None:
    sink.write(output(0))
    reader = Reader(server.url("/out", start="rtsps://localhost"), 3, **tls)
    reader.start()
    for seq in itertools.count(1):
        sink.write(output(seq))
        reader.join(TICK_S)
        if not reader.is_alive():
            break
    sink.close()
    assert len(reader.pictures) == 3


@needs_gstreamer
def test_tls_where_none_is_spoken() -> None:
    with RtspServer("--record") as server:
        assert fault(server.url("/in", start="rtsps://localhost")).reason is Reason.TLS


def test_a_host_name_that_is_unknown() -> None:
    assert fault("rtsps://u:p%40ss@nowhere.invalid/in").reason is Reason.NOT_FOUND
    assert fault("rtsp://u:p%40ss@nowhere.invalid/in").reason is Reason.NOT_FOUND


def test_a_silent_server_is_given_up_after_its_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began_s = time.monotonic()
        silent = fault(f"rtsp://u:p%40ss@127.0.0.1:{server.getsockname()[1]}/in", timeout_s=1.0)
        assert time.monotonic() - began_s >= 1.0
    assert silent.reason is Reason.TIMEOUT


def test_nothing_in_the_process_waits_while_a_server_is_silent() -> None:
    """PyAV connects with the interpreter in its hand: that must be another process's. Here the
    server, a thread of this one, could not hang up then, and the push would have to time out."""

    def hang_up() -> None:
        connection, _ = server.accept()
        with connection:
            for _ in range(20):
                time.sleep(TICK_S)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, name="hang up")
        thread.start()
        left = fault(f"rtsp://u:p%40ss@127.0.0.1:{server.getsockname()[1]}/in", timeout_s=30.0)
        thread.join()
    assert left.reason is not Reason.TIMEOUT


def begun(url: str, first: Output) -> Encoded:
    """A push with little patience whose first picture is there, though the server may be slow."""
    end_s = time.monotonic() + WAIT_S
    while True:
        sink = push(url, timeout_s=2.0)
        try:
            sink.write(first)
            return sink
        except SinkError:
            if time.monotonic() > end_s:
                raise


@needs_gstreamer
def test_a_server_that_takes_nothing_any_more_is_found() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    images = [picture(width=640, height=480) for _ in range(2)]
    plane(images[0], 0)[:], plane(images[1], 0)[:] = noise, 255 - noise
    with RtspServer("--record") as server:
        sink = begun(server.url("/in"), output(0, image=images[0]))
        server.freeze()

        def fill() -> None:
            for seq in range(1, 2000):
                sink.write(output(seq, image=images[seq % 2]))

        with pytest.raises(SinkError) as caught:
            fill()
        sink.close()
    assert caught.value.reason is Reason.TIMEOUT
    assert "took nothing for 2 s" in str(caught.value)


@needs_gstreamer
def test_nothing_in_the_process_waits_while_a_server_takes_nothing() -> None:
    """What thaws the server again is a thread of this process."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640), np.uint8)
    images = [picture(width=640, height=480) for _ in range(2)]
    plane(images[0], 0)[:], plane(images[1], 0)[:] = noise, 255 - noise
    written = 0

    def thaw() -> None:
        before = -1
        while written != before:  # until a write stands still
            before = written
            time.sleep(0.5)
        server.thaw()

    with RtspServer("--record") as server:
        sink = push(server.url("/in"))
        sink.write(output(0, image=images[0]))
        server.freeze()
        thread = threading.Thread(target=thaw, name="thaw")
        thread.start()
        while thread.is_alive():
            written += 1
            sink.write(output(written, image=images[written % 2]))
        sink.close()
        thread.join()


def command(process: Path) -> bytes:
    """Its command line; nothing if it has just ended."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@needs_gstreamer
def test_no_argument_shows_the_password() -> None:
    with RtspServer("--record", user="u", password="geheim") as server:
        sink = push(server.url("/in"))
        sink.write(output(0))
        commands = [
            command(process) for process in Path("/proc").iterdir() if process.name.isdecimal()
        ]
        sink.close()
    publishers = [command for command in commands if b"publisher.py" in command]
    assert publishers
    assert not any(b"geheim" in command or b"rtsp://" in command for command in publishers)
