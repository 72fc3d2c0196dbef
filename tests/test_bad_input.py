"""What a user may get wrong: one line says what it is and what is accepted, and nothing else
suffers. Each case as it is met, through the command itself."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.affectd import LIGHT, STREAM, Daemon
from tests.inside import inside, write_config
from tests.media import write_clip
from tests.nets import save_tiny

Capsys = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[detector]\nbacknd = "haar"', "detector.backnd: unknown key; did you mean backend?"),
        (
            '[expression]\nmax_batch = "16"',
            'expression.max_batch: found "16", accepted is a whole number',
        ),
        (STREAM, "stream[0].name and stream[1].name are both 'lobby'; each must have its own"),
        (
            "[daemon]\ntoken = '${AFFECTD_NOT_SET}'",
            "daemon.token: the environment variable AFFECTD_NOT_SET is not set",
        ),
    ],
)
def test_a_configuration_that_does_not_validate(
    tmp_path: Path, capsys: Capsys, command: str, text: str, line: str
) -> None:
    path = write_config(tmp_path, f"{text}\n{STREAM}")
    assert inside(capsys, command, path) == (2, [], [f"affectd: {path}: {line}"])


def test_a_secret_whose_file_is_not_there_may_come(tmp_path: Path, capsys: Capsys) -> None:
    """As from a disk that is mounted late: only where all else is right."""
    secret = tmp_path / "token"
    token = f"daemon.token = '${{file:{secret}}}'"
    path = write_config(tmp_path, f"{token}\n{STREAM}")
    said = f"affectd: {path}: daemon.token: ${{file:{secret}}}: {secret}: No such file or directory"
    assert inside(capsys, "check", path) == (2, [], [said])
    assert inside(capsys, "run", path) == (1, [], [said])
    path = write_config(tmp_path, f"{token}\n[overlay]\nbars = 1\n{STREAM}")
    assert inside(capsys, "run", path).code == 2


def test_every_fault_of_a_configuration_has_its_line(tmp_path: Path, capsys: Capsys) -> None:
    path = write_config(tmp_path, f"[detectr]\n[overlay]\nbars = 1\n{STREAM}")
    done = inside(capsys, "check", path)
    assert done.code == 2
    assert sorted(done.err) == [
        f"affectd: {path}: detectr: unknown key; did you mean detector?",
        f"affectd: {path}: overlay.bars: found 1, accepted is true or false",
    ]


def absent(path: Path) -> None:
    """Nothing is written."""


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("one line of text\n" * 100)


def sound(path: Path) -> None:
    write_clip(path, audio=True, video=False)


def dot(path: Path) -> None:
    write_clip(path, width=1, height=1, frames=3, codec="ffv1", pix_fmt="gray")


def vast(path: Path) -> None:
    write_clip(
        path, width=8000, height=8000, frames=1, paint=None, codec="mjpeg", pix_fmt="yuvj420p"
    )


def too_vast(path: Path) -> None:
    write_clip(path, width=8320, height=64, frames=1, codec="mjpeg", pix_fmt="yuvj420p")


def odd(path: Path) -> None:
    write_clip(path, width=161, height=121, frames=5, pix_fmt="yuv444p")


def half(path: Path) -> None:
    """Frames come, and then the file breaks off."""
    write_clip(path, frames=100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


SIZES = "accepted are pictures of 16 to 8192 px a side"
# What makes the file, its ending, the reason, what is said of it, the exit code of `video`.
BAD: list[tuple[Callable[[Path], None], str, str, str, int]] = [
    (absent, ".mp4", "not_found", ": there is no such file", 2),
    (empty, ".mp4", "unsupported", ": the file is empty", 2),
    (text, ".mp4", "unsupported", ": is no video that libav can read", 2),
    (sound, ".mp4", "no_video", ": has no video track (it has audio)", 2),
    (dot, ".mkv", "unsupported", f" is 1x1; {SIZES}", 2),
    (too_vast, ".mkv", "unsupported", f" is 8320x64; {SIZES}", 2),
    (half, ".mp4", "unsupported", "its index is cut off", 2),
    (half, ".mkv", "decode_error", ": is cut: it ends at 1.9 s of 4.0 s", 1),
]


@pytest.mark.parametrize(("make", "ending", "reason", "said", "code"), BAD)
def test_video_names_a_source_that_is_no_good(
    tmp_path: Path,
    capsys: Capsys,
    make: Callable[[Path], None],
    ending: str,
    reason: str,
    said: str,
    code: int,
) -> None:
    source, target = tmp_path / f"in{ending}", tmp_path / "out.mp4"
    make(source)
    light = write_config(tmp_path, LIGHT + STREAM)
    done = inside(capsys, "video", source, target, "--config", light)
    assert done.code == code
    assert done.err[-1].startswith(f"affectd: {source}")
    assert said in done.err[-1]
    # A source that breaks off leaves what came before.
    assert (done.err[:-1] == [f"48 frames written to {target}"]) == target.exists() == (code == 1)


@pytest.mark.parametrize(("make", "frames"), [(odd, 5), (vast, 1)])
def test_video_takes_odd_and_vast_pictures(
    tmp_path: Path, capsys: Capsys, make: Callable[[Path], None], frames: int
) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mp4"
    make(source)
    light = write_config(tmp_path, LIGHT + STREAM)
    done = inside(capsys, "video", source, target, "--config", light)
    assert done == (0, [], [f"{frames} frames written to {target}"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "IN: is empty; accepted are a file, /dev/videoN or a URL"),
        ("gopher://h/x", "IN: scheme gopher:// is unknown; accepted: rtsp, rtsps, "),
        ("demo://x?size=big", "demo:// option size='big': accepted is WIDTHxHEIGHT"),
        ("rtsp://viewer:hunter2@127.0.0.1:1/cam", "rtsp://"),
    ],
)
def test_video_names_an_address_that_is_none(
    tmp_path: Path, capsys: Capsys, source: str, said: str
) -> None:
    done = inside(capsys, "video", source, tmp_path / "out.mp4")
    (line,) = done.err
    assert line.startswith(f"affectd: {said}")
    assert "hunter2" not in line
    assert done.code == (1 if "127.0.0.1" in source else 2)


def test_faulty_streams_are_down_with_their_reason_while_another_goes_on(
    tmp_path: Path, capsys: Capsys
) -> None:
    """
    1. One daemon with every faulty source, an odd and a vast one, and a sound one whose sinks
       cannot write.
    2. Each faulty one is down, or ended where it was cut, and says why; the others were read.
    3. The sinks say why, once, and the stream beside them lives.
    4. A second daemon on its port is refused.
    """
    streams, expected = [], {}
    for index, (make, ending, reason, said, code) in enumerate(BAD):
        name = f"{make.__name__}{index}"
        make(tmp_path / f"{name}{ending}")
        streams.append(f'[[stream]]\nname = "{name}"\nurl = "{name}{ending}"\n')
        expected[name] = ("down" if code == 2 else "ended", reason, f"{name}{ending}", said)
    for make in (odd, vast):
        make(tmp_path / f"{make.__name__}.mkv")
        streams.append(f'[[stream]]\nname = "{make.__name__}"\nurl = "{make.__name__}.mkv"\n')
    (tmp_path / "taken").touch()
    streams.append(
        '[[stream]]\nname = "good"\nurl = "demo://good?size=160x120&fps=5"\n'
        '[[stream.sink]]\nkind = "mp4"\npath = "taken/good.mp4"\n'
        '[[stream.sink]]\nkind = "mjpeg"\n'
    )
    with Daemon(tmp_path, LIGHT + "".join(streams)) as daemon:
        found = {}

        def settled() -> bool:
            found.update({s["name"]: s for s in daemon.get("/api/streams").json()["streams"]})
            done = all(found[name]["state"] == state[0] for name, state in expected.items())
            good = found["good"]["frames"] > 5 and found["good"]["state"] == "live"
            ended = {found["odd"]["state"], found["vast"]["state"]} == {"ended"}
            return done and good and ended and "taken/good.mp4" in daemon.log

        daemon.wait_for(settled, "every stream to show what it is")
        daemon.wait_for_metric('affectd_sink_up{sink="mjpeg",stream="good"} 1.0')
        metrics = daemon.get("/metrics").text
        port = daemon.url.rpartition(":")[2]
        second = tmp_path / "second.toml"
        second.write_text(f'[daemon]\nlisten = "127.0.0.1:{port}"\n{LIGHT}{STREAM}')
        refused = inside(capsys, "run", second)
        code, _ = daemon.end()
    assert code == 0
    for name, (_, reason, file, said) in expected.items():
        assert found[name]["reason"] == reason
        assert found[name]["last_error"].startswith(file)
        assert said in found[name]["last_error"]
    assert (found["odd"]["frames"], found["vast"]["frames"]) == (5, 1)
    assert (found["odd"]["last_error"], found["vast"]["last_error"]) == (None, None)
    assert 'affectd_sink_up{sink="mp4",stream="good"} 0.0' in metrics
    (line,) = [line for line in daemon.log.splitlines() if "taken/good.mp4" in line]
    assert "good: mp4 sink: taken/good.mp4 cannot be written (taken is not a folder); acc" in line
    assert "Traceback" not in daemon.log
    assert refused.code == 1
    assert refused.err[-1] == (
        f"affectd: [daemon] listen = 127.0.0.1:{port}: the address is in use by another program; "
        "stop it, or choose another port"
    )


def test_a_port_that_is_taken(tmp_path: Path, capsys: Capsys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = inside(
            capsys, "run", write_config(tmp_path, f"daemon.listen = '{address}'\n{STREAM}")
        )
    # Not 2, which would keep systemd from trying again when the address is free.
    assert done.code == 1
    assert f"[daemon] listen = {address}: the address is in use by another" in done.err[-1]


@pytest.mark.parametrize("which", ["mp4", "events", "image"])
def test_an_output_that_cannot_be_written(tmp_path: Path, capsys: Capsys, which: str) -> None:
    (tmp_path / "taken").touch()
    inner = tmp_path / "taken" / "inner.mp4"
    net = save_tiny(tmp_path / "small.safetensors")
    weights = f'[detector]\nbackend = "haar"\n[expression]\nweights = "{net}"\nengine = "torch"\n'
    clip = "demo://x?faces=1&size=320x240&fps=5&seconds=5"
    arguments: dict[str, list[str | Path]] = {
        "mp4": ["video", clip, inner],
        "events": ["video", clip, tmp_path / "out.mp4", "--events", inner],
        "image": ["image", tmp_path / "a.png", "--out", inner],
    }
    done = inside(capsys, *arguments[which], "--config", write_config(tmp_path, weights + STREAM))
    (line,) = done.err
    assert f"{inner} cannot be written (" in line
    assert re.search(r"(is not a folder|Not a directory)\); accepted .* may write to$", line)
    assert done.code == 2
