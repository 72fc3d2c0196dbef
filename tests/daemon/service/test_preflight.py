"""What `affectd check` knows of a machine before anything runs, and, beside a service, what the
daemon will refuse by what that knows."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.config.settings import (
    DetectorSettings,
    ExpressionSettings,
    ModelsSettings,
    Settings,
    StreamSettings,
)
from daemon.errors import ConfigError
from daemon.service import preflight
from tests.inside import inside
from tests.shared import MODELS, needs_shared

Capsys = pytest.CaptureFixture[str]
STREAM = '[[stream]]\nname = "door"\nurl = "demo://door"\n'
NO_EXPRESSION = "[expression]\nenabled = false\n"
OFF = ExpressionSettings(enabled=False)


def settings(
    *,
    models: ModelsSettings | None = None,
    detector: DetectorSettings | None = None,
    expression: ExpressionSettings = OFF,
) -> Settings:
    return Settings(
        stream=(StreamSettings.model_validate({"name": "x", "url": "demo://x"}),),
        models=models or ModelsSettings(),
        detector=detector or DetectorSettings(),
        expression=expression,
    )


def test_a_sink_of_events_wants_a_daemon_that_reads_faces() -> None:
    sink = {"kind": "events", "path": "door.jsonl"}
    door = StreamSettings.model_validate(
        {"name": "door", "url": "demo://door", "sink": (sink,)}, strict=False
    )
    preflight.check_reads(Settings(stream=(door,)), reads=True)
    preflight.check_reads(settings(), reads=False)
    with pytest.raises(ConfigError, match=r"^stream door: .* events .* from a restart on$"):
        preflight.check_reads(Settings(stream=(door,)), reads=False)


def test_a_model_that_may_not_be_pulled_has_to_be_there(tmp_path: Path) -> None:
    config = tmp_path / "affectd.toml"
    yunet = DetectorSettings(backend="yunet")
    found = settings(detector=yunet, models=ModelsSettings(dir=str(tmp_path), pull=False))
    with pytest.raises(ConfigError) as caught:
        preflight.check(config, found)
    model = tmp_path / "face_detection_yunet_2026may.onnx"
    assert str(caught.value) == (
        f"{config}: detector.backend: the model file {model} is not there, and models.pull = false"
    )
    # One that may be, any that will do, and one in a folder that only the service knows.
    for models, detector in (
        (ModelsSettings(dir=str(tmp_path)), yunet),
        (ModelsSettings(dir=str(tmp_path), pull=False), DetectorSettings()),
        (ModelsSettings(pull=False), yunet),
    ):
        preflight.check(config, settings(models=models, detector=detector))


def test_weights_that_cannot_be_looked_for_from_here_are_left_to_the_service(
    tmp_path: Path,
) -> None:
    """As where the working directory is a home that nobody else may enter."""
    weights = f"{'n' * 300}.safetensors"  # stands in for it: root may enter any
    preflight.check(tmp_path, settings(expression=ExpressionSettings(weights=weights)))


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


@pytest.mark.parametrize(
    ("url", "keys", "said"),
    [
        (
            "rtsp://cam/x",
            "fps = 30\ntransport = 'tcp'",
            ["fps: is for webcams, and does nothing for"],
        ),
        ("clip.mp4", "transport = 'udp'", ["transport: is for rtsp:// and rtsps://, and does"]),
        (
            "http://cam/x",
            "tls_verify = false",
            ["tls_verify: is for rtsps://, rtmps:// and https://"],
        ),
        (
            "demo://x",
            "width_px = 640\nheight_px = 480",
            ["width_px: is for w", "height_px: is for"],
        ),
        ("rtsps://cam/x", "tls_verify = false\ntransport = 'tcp'", []),
        ("rtmps://cam/x", "tls_verify = false\ndecoder = 'auto'", []),
        ("/dev/video0", "fps = 15\nwidth_px = 640\nheight_px = 480", []),
    ],
)
def test_a_key_that_the_source_does_not_go_by_is_warned_of(
    tmp_path: Path, capsys: Capsys, url: str, keys: str, said: list[str]
) -> None:
    path = tmp_path / "affectd.toml"
    path.write_text(f"{NO_EXPRESSION}[[stream]]\nname = 'a'\nurl = '{url}'\n{keys}\n")
    done = inside(capsys, "check", path)
    assert (done.code, len(done.err)) == (0, len(said))
    for line, start in zip(done.err, said, strict=True):
        assert line.startswith(f"affectd: warning: {path}: stream[0].{start}")


def test_a_folder_where_a_file_belongs(tmp_path: Path, capsys: Capsys) -> None:
    path, folder = tmp_path / "affectd.toml", tmp_path / "recordings.mp4"
    folder.mkdir()
    sinks = "".join(
        f"[[stream.sink]]\nkind = '{kind}'\npath = '{path}'\n"
        for kind, path in (("mp4", folder), ("events", folder / "x"), ("events", tmp_path))
    )
    path.write_text(f"[[stream]]\nname = 'a'\nurl = 'file://{folder}'\n{sinks}")
    is_none = "is a folder; accepted is the path of a file"
    assert inside(capsys, "check", path) == (
        2,
        [],
        [
            f"affectd: {path}: stream[0].url: is a folder; accepted is a file",
            f"affectd: {path}: stream[0].sink[0].path: {is_none}",
            f"affectd: {path}: stream[0].sink[2].path: {is_none}",
        ],
    )


def test_the_log_warns_of_it_too(tmp_path: Path, capsys: Capsys) -> None:
    path = tmp_path / "affectd.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that the run ends
        listen = f"daemon.listen = '127.0.0.1:{taken.getsockname()[1]}'\n"
        path.write_text(f"{listen}{NO_EXPRESSION}{STREAM}fps = 5\n")
        done = inside(capsys, "run", path)
    said = f"{path}: stream[0].fps: is for webcams, and does nothing for demo://"
    assert done.code == 1
    assert [line for line in done.err if said in line and "WARNING" in line.upper()]


@contextmanager
def reloading(monkeypatch: pytest.MonkeyPatch, **started_with: str) -> Iterator[None]:
    """As in a command of ExecReload=. The main process is fake: only its variables are read."""
    with subprocess.Popen(["sleep", "600"], env=started_with) as process:
        try:
            monkeypatch.setenv("MAINPID", str(process.pid))
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("knows", [True, False])
def test_variables_are_those_that_the_daemon_was_started_with(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """Whoever adds one to EnvironmentFile= has it in `check` at once, in the daemon not yet."""
    config = tmp_path / "affectd.toml"
    config.write_text(f"daemon.token = '${{DOOR_TOKEN}}'\n{STREAM}")
    if not knows:
        monkeypatch.setenv("DOOR_TOKEN", "a=b")
    with reloading(monkeypatch, **({"DOOR_TOKEN": "a=b"} if knows else {})):
        done = inside(capsys, "check", config)
    assert done.code == (0 if knows else 2)
    if not knows:
        assert "daemon.token: the environment variable DOOR_TOKEN is not set" in done.err[0]


def covering(folder: Path, *lines: str) -> Path:
    config = folder / "affectd.toml"
    config.write_text("\n".join((*lines, NO_EXPRESSION, STREAM, 'privacy = "blur"')))
    return config


def test_a_reload_that_would_cover_faces_by_haar_is_refused_and_a_start_may_pull(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AFFECTD_MODELS", raising=False)
    config = covering(tmp_path)
    assert inside(capsys, "check", config).code == 0
    with reloading(monkeypatch, STATE_DIRECTORY=str(tmp_path)):
        done = inside(capsys, "check", config)
        assert (done.code, done.out) == (1, [])
        assert 'stream door: privacy = "blur" wants a better detector' in done.err[0]
        named = covering(tmp_path, '[detector]\nbackend = "haar"')
        assert inside(capsys, "check", named).code == 0
    done = inside(
        capsys, "check", covering(tmp_path, f"models = {{dir = '{tmp_path}', pull = false}}")
    )
    assert done.code == 1
    assert f"AFFECTD_MODELS={tmp_path} affectd models pull" in done.err[0]


@needs_shared
def test_a_reload_that_covers_faces_by_a_model_that_is_there_is_none_to_refuse(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reloading(monkeypatch, AFFECTD_MODELS=str(MODELS)):
        monkeypatch.delenv("AFFECTD_MODELS", raising=False)
        assert inside(capsys, "check", covering(tmp_path)).code == 0
