"""`affectd train`: recipes and data that cannot be used, and what a signal leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from classifiers.expression import LABELS
from classifiers.expression.engines.cuda import NO_CARD
from daemon.commands import train
from tests.daemon.commands.interrupted import interrupt, started
from tests.inside import inside

Capsys = pytest.CaptureFixture[str]
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
        (RECIPE.replace("batch", "bach"), "bach is unknown; did you mean batch?"),
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


def test_training_on_a_card_that_fails(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "classifiers.expression.engines.cuda.cuda_fault", lambda: "its memory is full"
    )
    where: list[str | Path] = ["--recipe", "recipe.toml", "--data", "faces", "--out", tmp_path]
    done = inside(capsys, "train", "expression", *where, "--device", "cuda")
    assert done == (
        2,
        [],
        ["affectd: --device is cuda, but its memory is full; accepted: auto, cpu"],
    )


@pytest.mark.parametrize(
    ("fault", "warned"),
    [(NO_CARD, []), ("its memory is full", ["WARNING: its memory is full; the processor trains"])],
)
def test_training_where_there_is_no_card_or_it_fails(
    tmp_path: Path,
    capsys: Capsys,
    faces: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    warned: list[str],
) -> None:
    monkeypatch.setattr("classifiers.expression.engines.cuda.cuda_fault", lambda: fault)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    where: list[str | Path] = ["--recipe", recipe, "--data", faces, "--out", tmp_path / "out"]
    done = inside(capsys, "train", "expression", *where, "--max-minutes", "0")
    assert done.code == 0
    assert [line for line in done.err if "WARNING" in line] == warned
    assert any(line.startswith("Computes on cpu in ") for line in done.err)


def test_training_takes_the_card_that_works(
    tmp_path: Path, capsys: Capsys, faces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none here: what would train on it notes that it was asked to."""
    asked: list[str] = []
    monkeypatch.setattr("classifiers.expression.engines.cuda.cuda_fault", str)
    monkeypatch.setattr(train, "train", lambda *given, device, **more: asked.append(device))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    where: list[str | Path] = ["--recipe", recipe, "--data", faces, "--out", tmp_path / "out"]
    for device in ("auto", "cpu", "cuda"):
        assert inside(capsys, "train", "expression", *where, "--device", device).code == 0
    assert inside(capsys, "train", "expression", *where).code == 0
    assert asked == ["cuda", "cpu", "cuda", "cuda"]


@pytest.mark.parametrize("minutes", ["nan", "inf", "-1"])
def test_a_time_that_never_comes_is_refused(tmp_path: Path, capsys: Capsys, minutes: str) -> None:
    where: list[str | Path] = ["--recipe", "recipe.toml", "--data", "faces", "--out", tmp_path]
    done = inside(capsys, "train", "expression", *where, "--max-minutes", minutes)
    said = f"--max-minutes is {minutes}; accepted: a finite number, at least 0"
    assert done == (2, [], [f"affectd: {said}"])


def test_compiling_without_a_compiler(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    where: list[str | Path] = ["--recipe", recipe, "--data", "faces", "--out", tmp_path / "out"]
    nothing = {**os.environ, "PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "daemon", "train", "expression", *where, "--compile"],
        env={key: value for key, value in nothing.items() if key != "CXX"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("affectd: --compile cannot be had: ")
    assert "C++ compiler" in done.stderr
    assert done.stderr.endswith("accepted: without it\n")


def test_training_on_data_or_into_a_folder_that_cannot_be_used(
    tmp_path: Path, capsys: Capsys, faces: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    data = shutil.copytree(faces, tmp_path / "data")
    shutil.rmtree(data / "train" / "angry")
    what: list[str | Path] = ["--recipe", recipe, "--data", data]
    done = inside(capsys, "train", "expression", *what, "--out", tmp_path / "out")
    assert done.code == 2
    assert f"affectd: {data}: no Training images for angry; accepted" in done.err[-1]
    done = inside(capsys, "train", "expression", *what, "--out", recipe / "out")
    assert done.code == 2
    assert done.err == [
        f"affectd: {recipe}/out cannot be written (Not a directory); "
        "accepted is a path in a folder that affectd may write to"
    ]


def test_a_bad_image_is_left_out_of_training_and_named_or_refused(
    tmp_path: Path, capsys: Capsys, faces: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    data = shutil.copytree(faces, tmp_path / "data")
    (data / "train" / "sad" / "Training_x.jpg").write_text("no image")
    (data / "test" / "sad" / "PrivateTest_x.jpg").write_text("no image")  # which is not read
    first = sorted((data / "train" / "sad").glob("Training_4*"))[0]
    shutil.copy(first, first.with_name("Training_y.jpg"))
    what: list[str | Path] = ["--recipe", recipe, "--data", data]
    out: list[str | Path] = ["--out", tmp_path / "out"]
    other: list[str | Path] = ["--out", tmp_path / "other"]
    done = inside(capsys, "train", "expression", *what, *out, "--max-minutes", "0")
    told = " ".join(done.err)
    assert "(1 copy left out)" in told
    assert "; 1 skipped that are no 48x48 image: train/sad/Training_x.jpg" in told
    assert done.err[-1].startswith("Stopped early")
    assert done.code == 0
    done = inside(capsys, "train", "expression", *what, *out)
    assert done.code == 2
    assert done.err[-1].endswith("out holds a run already; accepted: --resume, or another --out")
    done = inside(capsys, "train", "expression", *what, *other, "--strict")
    assert done.code == 2
    assert done.err[-1] == (
        f"affectd: {data}: train/sad/Training_x.jpg is no image; accepted are 48x48 images"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_this_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Installed into a checkout of something else, which ignores it. 2. Part of that one."""

    def git(*words: str) -> str:
        who = ("-c", "user.name=n", "-c", "user.email=e@example.org")
        command = ["git", "-C", str(tmp_path), *who, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "something else")
    code = tmp_path / "train.py"
    code.write_text("")
    monkeypatch.setattr(train, "__file__", str(code))
    assert train._commit() == ""
    git("add", "train.py")
    git("commit", "-q", "-m", "it")
    assert train._commit() == git("rev-parse", "--short", "HEAD")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_training_that_goes_on(
    tmp_path: Path, faces: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    out = tmp_path / "out"
    where: list[str | Path] = ["--recipe", "recipe.toml", "--data", faces, "--out", "out"]
    with started(tmp_path, "train", "expression", *where, "--max-minutes", "600") as process:
        printed = interrupt(process, (out / "log.csv").exists, number)
    assert process.returncode == code
    assert printed.splitlines()[-1] == "Stopped early; go on with --resume --out out"
    assert "Traceback" not in printed
    assert (out / "last.pt").is_file()
    assert not (out / "best.safetensors").exists()
