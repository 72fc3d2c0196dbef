"""`affectd check --connect` with real sources, and with those that do not come."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemon.config.settings import StreamSettings
from daemon.sources.base import Source
from tests.clock import Clock
from tests.daemon.captures import Scripted
from tests.daemon.commands.interrupted import interrupt, started
from tests.inside import Done, inside, write_config
from tests.media import write_clip
from tests.rtsp import RtspServer, needs_gstreamer
from tests.tls import certificate, needs_openssl, tls_before

PASSWORD = "p@ss word/1"
Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this machine, by which a warning might come."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))


def config(folder: Path, **urls: str) -> Path:
    """A stream for each; a URL may be followed by more keys, each on a line."""
    streams = []
    for name, url in urls.items():
        first, _, more = url.partition("\n")
        streams.append(f'[[stream]]\nname = "{name}"\nurl = "{first}"\n{more}\n')
    return write_config(folder, "\n".join(streams))


def connect(capsys: Capsys, path: Path) -> Done:
    """What comes after the first line, in order of the streams' names: it comes side by side."""
    done = inside(capsys, "check", path, "--connect")
    assert done.out[0].startswith(f"{path}: valid; streams: ")
    assert "p@ss" not in "".join((*done.out, *done.err))
    return done._replace(out=sorted(done.out[1:]))


@contextmanager
def silent(count: int) -> Iterator[list[str]]:
    """Servers that accept and say nothing."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        yield [f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam" for server in servers]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_what_comes_says_what_it_is(tmp_path: Path, capsys: Capsys) -> None:
    clip = write_clip(tmp_path / "clip.mp4", width=320, height=240, fps=30)
    path = config(
        tmp_path,
        clip=str(clip),
        drawn="demo://x?size=640x360&fps=15",
        turned=f"{clip}\nrotate = 90",
    )
    assert connect(capsys, path) == (
        0,
        [
            "clip: h264 320x240, 30 fps",
            "drawn: demo 640x360, 15 fps",
            "turned: h264 240x320, 30 fps",
        ],
        [],
    )


def test_what_does_not_come_says_why(tmp_path: Path, capsys: Capsys) -> None:
    text, fifo, port = tmp_path / "text.mp4", tmp_path / "fifo", closed_port()
    text.write_text("no video")
    os.mkfifo(fifo)
    path = config(
        tmp_path,
        demo="demo://x?seconds=1",
        door=f"rtsp://viewer:p@ss@127.0.0.1:{port}/main",
        fifo=str(fifo),
        long=f"{tmp_path}/{'n' * 300}",
        none=f"{tmp_path}/none.mp4",
        text=str(text),
    )
    done = connect(capsys, path)
    shown = f"rtsp://viewer:***@127.0.0.1:{port}/main"
    cut = "is no video that libav can read, or its beginning or its index is cut off"
    pipe = "is a pipe; what is read of it here would be missing later"
    assert (done.code, done.err) == (1, [])
    assert done.out == [
        "demo: demo 1280x720, 25 fps",
        f"door: unreachable (connect_refused): {shown}: the connection was refused",
        f"fifo: unreachable (unsupported): {fifo}: {pipe}",
        f"long: unreachable (not_found): {tmp_path}/{'n' * 300}: File name too long",
        f"none: unreachable (not_found): {tmp_path}/none.mp4: there is no such file",
        f"text: unreachable (unsupported): {text}: {cut}",
    ]


def test_a_file_whose_pictures_are_broken(tmp_path: Path, capsys: Capsys) -> None:
    """It opens, and has a size and a rate."""
    clip = write_clip(tmp_path / "clip.mp4", container_options={"movflags": "faststart"})
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = bytes(len(data) - start)
    clip.write_bytes(data)
    done = connect(capsys, config(tmp_path, clip=str(clip)))
    said = f"clip: unreachable (decode_error): {clip}: holds no picture that can be decoded"
    assert done == (1, [said], [])


def test_a_fault_of_our_own_is_told_and_what_was_opened_is_closed(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Scripted(Clock(), 1, None)

    def opener(stream: StreamSettings, *, stop: threading.Event) -> Source:
        if stream.name == "bad":
            raise RuntimeError("no memory for p@ss")
        return source

    monkeypatch.setattr("daemon.commands.connect.open_source", opener)
    path = config(tmp_path, bad="rtsp://viewer:p@ss@127.0.0.1/main", good="demo://x")
    said = "bad: unreachable (internal): RuntimeError: no memory for ***"
    assert connect(capsys, path) == (1, [said, "good: 16x16"], [])
    assert source.closed == 1


@needs_gstreamer
@needs_openssl
def test_cameras(tmp_path: Path, capsys: Capsys) -> None:
    """By TCP, by UDP, with a wrong password, and with a certificate of its own, trusted and not."""
    with (
        RtspServer("--fps", "15", "--unshared", user="viewer", password=PASSWORD) as server,
        tls_before(server.port, certificate(tmp_path, "localhost")) as tls_port,
    ):
        good = server.url()
        safe = good.replace("rtsp://", "rtsps://").replace(f"127.0.0.1:{server.port}", "{}")
        safe = safe.format(f"localhost:{tls_port}")
        path = config(
            tmp_path,
            lax=f"{safe}\ntls_verify = false",
            strict=safe,
            tcp=f"{good}\nrotate = 270",
            udp=f'{good}\ntransport = "udp"',
            wrong=server.url(password="geheim"),
        )
        done = connect(capsys, path)
    assert done.code == 1
    strict, wrong = done.out.pop(1), done.out.pop()
    assert done.out == [
        "lax: h264 320x240, 15 fps",
        "tcp: h264 240x320, 15 fps",
        "udp: h264 320x240, 15 fps",
    ]
    assert strict.startswith("strict: unreachable (tls): rtsps://viewer:***@localhost:")
    assert wrong.startswith("wrong: unreachable (auth_failed): rtsp://viewer:***@127.0.0.1:")
    assert wrong.endswith("the user or the password is wrong (401)")


def test_ten_that_are_silent_take_no_longer_than_one(tmp_path: Path, capsys: Capsys) -> None:
    with silent(10) as urls:
        streams = {f"s{at}": f"{url}\nstall_timeout_s = 4.0" for at, url in enumerate(urls)}
        began_s = time.monotonic()
        done = connect(capsys, config(tmp_path, **streams))
        assert time.monotonic() - began_s < 20.0
    assert done.code == 1
    assert [line.partition(": rtsp")[0] for line in done.out] == [
        f"s{at}: unreachable (timeout)" for at in range(10)
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(tmp_path: Path, number: int) -> None:
    """While a camera keeps it waiting; what came before stays printed."""
    with silent(1) as urls:
        path = config(tmp_path, drawn="demo://x?size=160x120", silent=urls[0])
        with started(tmp_path, "check", path, "--connect") as process:
            assert process.stdout is not None
            first = [process.stdout.readline() for _ in range(2)]
            assert first[1] == "drawn: demo 160x120, 25 fps\n"
            began_s = time.monotonic()
            assert interrupt(process, lambda: True, number) == ""
            assert time.monotonic() - began_s < 5.0
    assert process.returncode == 128 + number
