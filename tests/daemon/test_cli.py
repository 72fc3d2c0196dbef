"""The commands as a user types them: what they print, what they leave, how they end."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression import LABELS
from tests.affectd import environment
from tests.inside import inside
from tests.media import write_clip
from tests.shared import MODELS, VIDEO, needs_shared

COMMANDS = [
    [],
    ["run"],
    ["check"],
    ["video"],
    ["image"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["events"],
    ["events", "to-csv"],
    ["events", "to-parquet"],
    ["train"],
    ["evaluate"],
    ["calibrate"],
    ["bench"],
    ["version"],
]
LIGHT = (
    '[detector]\nbackend = "haar"\n[expression]\nenabled = false\n'
    '[[stream]]\nname = "unused"\nurl = "unused.mp4"\n'
)

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """A configuration that loads no model."""
    path = tmp_path / "light.toml"
    path.write_text(LIGHT)
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_a_terminal_and_shows_an_example(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = inside(capsys, *command, "--help")
    assert done.code == 0
    assert done.out[1].startswith(f" Usage: {' '.join(['affectd', *command])} ")
    assert len(done.out) <= 24
    assert max(map(len, done.out)) <= 80
    if command not in ([], ["models"], ["events"]):
        assert any(line.startswith(f" Example: affectd {' '.join(command)}") for line in done.out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run"], "Missing argument 'CONFIG'."),
        (["video", "--forec", "a", "b"], "No such option: --forec"),
        (["image", "a.png"], "Missing option '--out'."),
        (["train", "circle", "--recipe", "r", "--data", "d", "--out", "o"], "'circle' is not"),
        (["evaluate", "expression", "--data", "d", "--split", "x"], "'x' is not one of 'train'"),
        (["evaluate", "expression", "--data", "d", "--tta", "x"], "'x' is not one of 'none'"),
    ],
)
def test_arguments_that_are_none(capsys: Capsys, arguments: list[str], said: str) -> None:
    done = inside(capsys, *arguments)
    assert done.code == 2
    assert said in "\n".join(done.err)


def test_version(capsys: Capsys) -> None:
    done = inside(capsys, "version")
    assert done.code == 0
    assert [line.split()[0] for line in done.out[:3]] == ["affectd", "python", "torch"]


def test_a_configuration_that_validates(capsys: Capsys, light: Path) -> None:
    assert inside(capsys, "check", light) == (0, [f"{light}: valid; streams: unused"], [])


# --- video -----------------------------------------------------------------------------------


def test_video_replaces_nothing_unasked(tmp_path: Path, capsys: Capsys, light: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=3)
    target, events = tmp_path / "out.mp4", tmp_path / "out.jsonl"
    whole = source.read_bytes()
    for path in (target, events):
        path.write_text("kept")
    both: list[str | Path] = [source, target, "--events", events, "--config", light]

    done = inside(capsys, "video", *both)
    said = "exists; accepted is a new file, or --force to replace it"
    assert done == (2, [], [f"affectd: {target}: {said}"])
    done = inside(capsys, "video", source, tmp_path / "new.mp4", *both[2:])
    assert done == (2, [], [f"affectd: {events}: {said}"])
    done = inside(capsys, "video", tmp_path / "absent.mp4", *both[1:], "--force")
    assert done == (2, [], [f"affectd: {tmp_path}/absent.mp4: there is no such file"])
    done = inside(capsys, "video", source, source, "--config", light, "--force")
    assert done == (2, [], [f"affectd: {source}: is IN itself; accepted is another file"])
    done = inside(capsys, "video", source, target, "--events", target, "--force")
    assert done.err == [f"affectd: {target}: is OUT already; accepted for --events is another file"]
    done = inside(capsys, "video", source, tmp_path, "--config", light, "--force")
    assert done.err == [f"affectd: {tmp_path}: exists and is no file; accepted is a new file"]
    assert source.read_bytes() == whole
    assert target.read_text() == events.read_text() == "kept"

    assert inside(capsys, "video", *both, "--force").code == 0
    assert _frames(target) == 3
    assert not events.exists()  # There was no face to read.


@needs_shared
def test_video_of_a_face_with_its_readings(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    source, target, events = VIDEO / "lbax4n.mpg", tmp_path / "o.mp4", tmp_path / "o.jsonl"
    done = inside(capsys, "video", source, target, "--events", events)
    assert done == (0, [], [f"75 frames written to {target}"])
    assert _frames(target) == 75
    assert len(events.read_text().splitlines()) >= 70


# --- images ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face() -> NDArray[np.uint8]:
    """A picture of one face, BGR [288, 360, 3]."""
    with av.open(VIDEO / "sbia1a.mpg") as container:
        frame = next(container.decode(video=0))
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


@needs_shared
def test_images_good_and_bad(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, face: NDArray[np.uint8]
) -> None:
    """
    1. A folder, and single files beside it: every format, grey, odd, in a folder within, of one
       name twice; among them some that are no image.
    2. Each good one has its copy with the face marked, and its line of JSON; each bad one is
       named, on standard error and in its line.
    """
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    photos, out = tmp_path / "photos", tmp_path / "read"
    (photos / "inner").mkdir(parents=True)
    grey = face[:, :, 1]
    good: dict[str, NDArray[np.generic]] = {
        "a.png": face,
        "b.jpg": face,
        "c.webp": face,
        "d.tiff": face,
        "deep.png": grey.astype(np.uint16) * 257,
        "grey.jpg": grey,
        "grey.png": grey,
        "inner/100%d of: b.jpg": face,
        "odd.PNG": face[:255, :321],
    }
    for name, pixels in good.items():
        encoded = cv2.imencode(Path(name).suffix.lower(), pixels)[1]
        (photos / name).write_bytes(encoded.tobytes())
    bad = {
        "empty.png": "the file is empty",
        "junk.jpg": "holds no picture that can be decoded",
        "tiny.bmp": "is 1x1; accepted are pictures of 16 to 8192 px a side",
    }
    (photos / "empty.png").touch()
    (photos / "junk.jpg").write_bytes(b"no image" * 50)
    (photos / "tiny.bmp").write_bytes(cv2.imencode(".bmp", face[:1, :1])[1].tobytes())
    (photos / "notes.txt").write_text("not looked at")
    single, absent = tmp_path / "b.jpg", tmp_path / "absent.jpg"
    single.write_bytes((photos / "b.jpg").read_bytes())

    done = inside(capsys, "image", photos, single, absent, "--out", out, "--json")

    assert done.code == 1
    lines = {line["file"]: line for line in map(json.loads, done.out)}
    wanted = [*(str(photos / name) for name in (*good, *bad)), str(single), str(absent)]
    assert sorted(lines) == sorted(wanted)
    for name in good:
        (reading,) = lines[str(photos / name)]["readings"]
        assert reading["label"] in (*LABELS, "unknown")
        assert reading["frame_px"] == ([320, 254] if name == "odd.PNG" else [360, 288])
    for name, said in bad.items():
        assert said in lines[str(photos / name)]["error"]
    assert lines[str(absent)]["error"] == f"{absent}: there is no such file"
    errors = [line["error"] for line in lines.values() if "error" in line]
    assert sorted(done.err) == sorted(f"affectd: {error}" for error in errors)

    names = [n if n.endswith(".jpg") else f"{n}.jpg" for n in good]
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert written == sorted([*names, "b-2.jpg"])
    for name, original in (("a.png", face), ("b.jpg", face), ("grey.png", np.dstack([grey] * 3))):
        copy = cv2.imread(str(out / name if name == "b.jpg" else out / f"{name}.jpg"))
        changed = cv2.absdiff(copy, original)
        assert changed[:60, :100].mean() < 4.0  # Nothing is drawn there.
        x, y, _, height = lines[str(photos / name)]["readings"][0]["box_px"]
        assert changed[y : y + height, x : x + 2].mean() > 10.0  # The box is.


def test_images_that_would_be_lost_and_folders_without_any(
    tmp_path: Path, capsys: Capsys, light: Path
) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes())
    before = image.read_bytes()
    (tmp_path / "none").mkdir()
    done = inside(capsys, "image", image, "--out", tmp_path)
    assert done == (2, [], [f"affectd: {image}: lies in --out itself; accepted is another folder"])
    assert image.read_bytes() == before
    done = inside(capsys, "image", image, tmp_path / "none", "--out", tmp_path / "out")
    assert done.code == 2
    assert done.err[0].startswith(f"affectd: {tmp_path}/none: no image in it; accepted: .jpg, ")
    assert not (tmp_path / "out").exists()
    done = inside(capsys, "image", image, "--out", tmp_path / "out", "--config", light)
    assert done == (0, [f"{image}: no face → {tmp_path}/out/a.jpg"], [])


# --- models and readings ---------------------------------------------------------------------


def test_models(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(tmp_path))
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(b"another file")
    done = inside(capsys, "models", "list")
    assert done.code == 0
    states = {line.split()[0]: line.split()[1:] for line in done.out}
    assert states["yunet"] == ["mismatch", "face_detection_yunet_2026may.onnx"]
    assert states["blazeface-full"][0] == "missing"
    assert states["Detectors:"] == [str(tmp_path)]
    done = inside(capsys, "models", "pull", "yunnet")
    said = "affectd: 'yunnet' is no model; accepted: blazeface-short, blazeface-full, yunet"
    assert done == (2, [], [said])


@needs_shared
def test_models_that_are_there_are_not_pulled_again(
    capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    done = inside(capsys, "models", "pull", "yunet")
    assert done == (0, [], [f"yunet: {MODELS / 'face_detection_yunet_2026may.onnx'}"])


def test_readings_with_a_broken_line(tmp_path: Path, capsys: Capsys) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text('{"schema": 1, "stre\n')
    done = inside(capsys, "events", "to-csv", source, target)
    said = "is not JSON; accepted is one reading of schema 1 a line, as affectd writes them"
    assert done == (1, [], [f"affectd: {source}, line 1: {said}"])
    assert not target.exists()


# --- training --------------------------------------------------------------------------------

RECIPE = (
    'architecture = "vgg10"\nepochs = 100000\nbatch = 16\n'
    "options = { widths = [4, 4, 4, 4], hidden = 8, dropout = 0.0 }\n"
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FER2013's layout with 40 faces a class, of noise."""
    root = tmp_path_factory.mktemp("faces")
    rng = np.random.default_rng(0)
    for index, label in enumerate(LABELS):
        for top, prefix, number in (("train", "Training", 40), ("test", "PublicTest", 2)):
            folder = root / top / label
            folder.mkdir(parents=True)
            for item in range(number):
                pixels = rng.integers(0, 256, (48, 48), np.uint8)
                cv2.imwrite(str(folder / f"{prefix}_{index}{item:03}.jpg"), pixels)
    return root


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECIPE.replace("batch", "bach"), "unknown key bach; did you mean batch?"),
        (
            RECIPE.replace("vgg10", "vgg11"),
            "architecture is 'vgg11'; accepted: vgg10, resnet17, resnet25, resnet18, joint",
        ),
    ],
)
def test_training_by_a_wrong_recipe(
    tmp_path: Path, capsys: Capsys, faces: Path, text: str, said: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text)
    where: list[str | Path] = ["--recipe", recipe, "--data", faces, "--out", tmp_path / "out"]
    done = inside(capsys, "train", "expression", *where)
    assert done == (2, [], [f"affectd: {recipe}: {said}"])


def test_training_on_data_or_into_a_folder_that_cannot_be_used(
    tmp_path: Path, capsys: Capsys, faces: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    data = shutil.copytree(faces, tmp_path / "data")
    shutil.rmtree(data / "train" / "angry")
    what: list[str | Path] = ["--recipe", recipe, "--data", data]
    done = inside(capsys, "train", "expression", *what, "--out", tmp_path / "out")
    assert done.code == 1
    assert f"affectd: {data}: no Training images for angry; accepted" in done.err[-1]
    done = inside(capsys, "train", "expression", *what, "--out", recipe / "out")
    assert done.code == 2
    assert done.err == [
        f"affectd: {recipe}/out cannot be written (Not a directory); "
        "accepted for --out is a folder that affectd may write to"
    ]


def test_a_bad_image_is_left_out_of_training_and_named_or_refused(
    tmp_path: Path, capsys: Capsys, faces: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    data = shutil.copytree(faces, tmp_path / "data")
    (data / "train" / "sad" / "Training_x.jpg").write_text("no image")
    first = sorted((data / "train" / "sad").glob("Training_4*"))[0]
    shutil.copy(first, first.with_name("Training_y.jpg"))
    what: list[str | Path] = ["--recipe", recipe, "--data", data, "--out", tmp_path / "out"]
    done = inside(capsys, "train", "expression", *what, "--max-minutes", "0")
    told = " ".join(done.err)
    assert "(1 copy left out)" in told
    assert "; 1 skipped that are no 48x48 image: train/sad/Training_x.jpg" in told
    assert done.err[-1].startswith("Stopped early")
    done = inside(capsys, "train", "expression", *what, "--strict")
    assert done.code == 1
    assert done.err[-1] == (
        f"affectd: {data}: train/sad/Training_x.jpg is no image; accepted are 48x48 images"
    )


# --- Ctrl-C ----------------------------------------------------------------------------------


@contextmanager
def started(folder: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, since a signal reaches the whole of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "daemon", *map(str, arguments)],
        cwd=folder,
        env=environment(OMP_NUM_THREADS="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def interrupt(process: subprocess.Popen[str], when: Callable[[], bool]) -> str:
    """Send SIGINT as soon as `when` is so; returns what was printed."""
    end_s = time.monotonic() + 90.0
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end_s
        time.sleep(0.05)  # a process of its own gives no event to wait on
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=30)
    return printed


def test_ctrl_c_leaves_a_video_that_plays(tmp_path: Path, light: Path) -> None:
    target = tmp_path / "out.mp4"
    url = "demo://x?size=320x240&fps=10&seconds=3600"
    with started(tmp_path, "video", url, target, "--config", light) as process:
        printed = interrupt(process, lambda: target.exists() and target.stat().st_size > 50_000)
    assert process.returncode == 130
    assert printed.splitlines() == [f"Interrupted; {target} holds the frames until here"]
    assert _frames(target) > 10


def test_ctrl_c_leaves_a_training_that_goes_on(tmp_path: Path, faces: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = tmp_path / "out"
    where: list[str | Path] = ["--recipe", "recipe.toml", "--data", faces, "--out", "out"]
    with started(tmp_path, "train", "expression", *where) as process:
        printed = interrupt(process, (out / "log.csv").exists)
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "Stopped early; go on with --resume --out out"
    assert "Traceback" not in printed
    assert (out / "last.pt").is_file()
    assert not (out / "best.safetensors").exists()


def _frames(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))
