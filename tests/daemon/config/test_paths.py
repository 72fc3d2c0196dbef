"""What can be a source or a file, and what is told of the rest: never a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.config.reading import STREAM, faults, read


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("rtsp;//cam/x", "names no host; accepted is rtsp://HOST/PATH"),
        ("rtsp//cam/x", "names no host; accepted is rtsp://HOST/PATH"),
        ("  ", "is empty; accepted are a file, /dev/videoN or a URL"),
        (" rtsp://cam/x", "begins or ends with a blank; accepted is the same without"),
        ("rtsp://cam/x ", "begins or ends with a blank; accepted is the same without"),
        (
            " clip.mp4",
            "begins or ends with a blank; accepted is the same without, or ./NAME for a file",
        ),
        ("10.0.0.7:554/main", "is a URL without its scheme and //"),
        ("viewer@nvr.lan/main", "is a URL without its scheme and //"),
        ("u:geheim@cam/main", "is a URL without its scheme and //"),
        ("u:geheim@10.0.0.7:554", "is a URL without its scheme and //"),
        ("u:geheim@nvr.lan", "is a URL without its scheme and //"),
        ("file:/x.mp4", "is a URL without its scheme and //"),
        ("~/x.mp4", "names no file; accepted is its path, without ~"),
        ("clips/", "names no file; accepted is its path, without ~"),
        ("file://", "names no file; accepted is its path, without ~"),
        ("v4l2://", "names no device; accepted is v4l2:///dev/videoN"),
        ("v4l2://video0", "names no device; accepted is v4l2:///dev/"),
        ("video0", "did you mean /dev/video0? Accepted for a file is ./vid"),
    ],
)
def test_what_can_be_no_source(tmp_path: Path, url: str, line: str) -> None:
    (found,) = faults(tmp_path, f"[[stream]]\nname = 'a'\nurl = '{url}'\n")
    assert found.startswith(f"stream[0].url: {line}")
    assert "geheim" not in found


@pytest.mark.parametrize("path", ["", "/", "..", "recordings/", "~/lobby.mp4", "a\\u0000b"])
@pytest.mark.parametrize("kind", ["mp4", "events"])
def test_a_path_that_is_of_no_file(tmp_path: Path, kind: str, path: str) -> None:
    text = f'[[stream.sink]]\nkind = "{kind}"\npath = "{path}"\n'
    (line,) = faults(tmp_path, STREAM + text)
    assert line.startswith(f"stream[0].sink[0].path: found '{path.replace('u0000', 'x00')}', ")
    assert "accepted is the path of a file, without ~" in line


@pytest.mark.parametrize(
    "url",
    [
        *("2026-11-20T12:00:00.mp4", "2026.11.20T12:00/clip.mp4", "C:/clip.mp4", "demo:1.mp4"),
        *(
            "clip@home.mov",
            "12:00@home.mp4",
            "events@2024/lobby",
            "by-host/me@10.0.0.7/x.mp4",
            "10.0.0.7/x.mp4",
            "./10.0.0.7:554/x",
        ),
        *("./ clip.mp4", "clip.mp4 ", "me@home/clip.mp4"),
        *("./video0", "video0.mp4", "/srv/me@nvr.lan/x.mp4", "rtsp/x.mp4", "file:///srv/x.mp4"),
        *("v4l2:///dev/v4l/by-id/usb-cam:1.0", "/dev/v4l/by-path/pci-0:14.0-usb-0:1:1.0"),
    ],
)
def test_a_file_may_have_an_odd_name_and_is_to_come(tmp_path: Path, url: str) -> None:
    (stream,) = read(tmp_path, f"[[stream]]\nname = 'a'\nurl = '{url}'").settings.stream
    assert stream.url.get_secret_value() == url


URLS = ["rtsp://u:geheim@10.0.0.9/x.mp4", " mqtt://u:geheim@nas/x", "rtsp;//u:geheim@nas/x.mp4"]


@pytest.mark.parametrize("url", [*URLS, "u:geheim@10.0.0.9/x.mp4"])
def test_a_url_where_a_path_belongs_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    sinks = [f"[[stream.sink]]\nkind = '{kind}'\npath = '{url}'\n" for kind in ("mp4", "events")]
    tables = f"models.dir = '{url}'\nexpression.weights = '{url}'\n{STREAM}{''.join(sinks)}"
    path = "is a URL; accepted is a path, with ./ before one like a URL"
    file = "is a URL; accepted is a file's path, with ./ before one like a URL"
    assert faults(tmp_path, tables) == [
        f"models.dir: {path}",
        f"expression.weights: {path}",
        f"stream[0].sink[0].path: {file}",
        f"stream[0].sink[1].path: {file}",
    ]


def test_a_password_is_not_shown_of_what_is_taken_for_a_path(tmp_path: Path) -> None:
    sink = "[[stream.sink]]\nkind = 'mp4'\npath = 'u:geheim@nas'\n"
    (line,) = faults(tmp_path, STREAM + sink)
    assert line.startswith("stream[0].sink[0].path: found 'u:***@nas', accepted is")


@pytest.mark.parametrize("path", ["/home/me/recordings", "lobby.mkv", ".mp4"])
def test_a_recording_that_is_not_named_as_mp4(tmp_path: Path, path: str) -> None:
    text = f'[[stream.sink]]\nkind = "mp4"\npath = "{path}"\n'
    (line,) = faults(tmp_path, STREAM + text)
    accepted = "accepted is the path of a file in .mp4, .m4v, .mov"
    assert line == f"stream[0].sink[0].path: found '{path}', {accepted}"


def test_a_path_may_begin_at_a_home_that_is_there(tmp_path: Path) -> None:
    text = "models.dir = '~{0}/models'\nexpression.weights = '~{0}/net.safetensors'\n" + STREAM
    settings = read(tmp_path, text.format("")).settings
    assert settings.models.dir == str(Path.home() / "models")
    assert settings.expression.weights == str(Path.home() / "net.safetensors")
    said = "and nobody of that name has a home here"
    assert faults(tmp_path, text.format("nosuchuser")) == [
        f"models.dir: found '~nosuchuser/models', {said}",
        f"expression.weights: found '~nosuchuser/net.safetensors', {said}",
    ]
