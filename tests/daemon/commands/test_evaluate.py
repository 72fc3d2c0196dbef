"""`affectd evaluate` as users meet it: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from classifiers.expression import LABELS, data
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation import scores
from classifiers.expression.evaluation.measure import classify, losses
from tests.affectd import ROOT, affectd
from tests.classifiers.bars import write_bars
from tests.fer import load_split
from tests.inside import inside
from tests.nets import save_joint, save_tiny

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made data set; two of its PublicTest images stand in Training too."""
    root = write_bars(tmp_path_factory.mktemp("bars"), train=30, public=4)
    for index, (part, label) in enumerate((("train", "angry"), ("train", "happy"))):
        source = load_split(root, "train").files
        first = next(name for name in source if f"/{label}/" in name)
        copy = root / "test" / label / f"PublicTest_9{index}.jpg"
        copy.write_bytes((root / part / label / Path(first).name).read_bytes())
    return root


def test_everything_at_once(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    own = {"none": 0.9, "flip": 1.1, "scales": 1.2, "ten_crop": 1.3}
    first = save_tiny(tmp_path / "a.safetensors", temperature=own)
    second = save_tiny(tmp_path / "b.safetensors", 4)
    table, folder = tmp_path / "new" / "p.csv", tmp_path / "new" / "report"
    done = inside(
        capsys,
        *("evaluate", "expression", "--data", bars, "--weights", first, "--tta", "none"),
        *("--predictions", table, "--report", folder, "--corruptions", "--against", second),
    )
    assert done.code == 0, done.err
    report = json.loads((folder / "report.json").read_text())
    assert report["plain"]["images"] == 30
    assert report["subject"]["in_training"] == 2
    assert report["not_in_training"]["images"] == 28
    assert report["subject"]["command"].startswith("affectd evaluate expression --data ")
    assert len(report["subject"]["sha256"]) == 64
    assert report["subject"]["temperature"] == own["none"]
    assert report["subject"]["split_sha256"] == load_split(bars, "public").fingerprint()
    assert report["subject"]["versions"]["torch"] == version("torch")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"] for row in rows} == set(load_split(bars, "public").files)
    right = sum(row["label"] == row["predicted"] for row in rows) / len(rows)
    assert report["plain"]["accuracy"] == pytest.approx(right)
    said = "\n".join(done.out)
    for words in (f"{100 * right:.2f} %", "24 px face", "roll ±30°", "McNemar", *LABELS):
        assert words in said
    names = [line["name"] for line in report["corruptions"]]
    markdown = (folder / "report.md").read_text()
    assert len(names) == 13
    assert all(f"| {name} |" in markdown for name in names)
    losses_of = [f"{report[part]['nll']:.4f}" for part in ("plain", "not_in_training")]
    assert losses_of[0] != losses_of[1]
    assert f"| NLL | {' | '.join(losses_of)} |" in markdown
    assert ["NLL", *losses_of] in [line.split() for line in done.out]
    for line in report["corruptions"]:
        assert line["lost"] == pytest.approx(right - line["accuracy"])
    aims = [line for line in report["corruptions"] if line["aim"] is not None]
    for line in aims:
        met = "met" if line["met"] else "missed"
        cost = (
            f"{100 * line['lost']:.2f} ± {100 * line['error']:.2f} | {100 * line['aim']:g}: {met}"
        )
        assert cost in markdown
    device = report["subject"]["device"]
    assert device in ("cpu", "cuda")
    assert re.fullmatch(f"tiny-.{{7}}, none, torch float32 on {device}", report["against"]["other"])
    for key, images in (("against", 30), ("against_not_in_training", 28)):
        counts = ("both_right", "only_first", "only_second", "both_wrong")
        assert sum(report[key][count] for count in counts) == images
    faces, unseen = load_split(bars, "public"), data.read(bars).unseen("public")
    ours, theirs = (
        classify(ExpressionClassifier.load(weights, tta="none"), faces)[unseen]
        for weights in (first, second)
    )
    rest = scores.compare(ours, theirs, faces.labels[unseen], report["against"]["other"])
    assert report["against_not_in_training"] == asdict(rest)
    verdicts = [line for line in done.out if "McNemar" in line]
    assert [line.partition(": ")[0] for line in verdicts] == ["all", "not in training"]
    assert all(line in markdown for line in verdicts)


def test_one_view_against_ten(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    weights = save_tiny(tmp_path / "a.safetensors")
    what = ("evaluate", "expression", "--data", bars, "--weights", weights, "--tta", "none")
    done = inside(capsys, *what, "--against", weights, "--against-tta", "ten_crop")
    assert done.code == 0, done.err
    faces = load_split(bars, "public")
    ten = classify(ExpressionClassifier.load(weights, tta="ten_crop"), faces)
    (line,) = [line for line in done.out if line.startswith("all: ")]
    assert ", ten_crop, torch float32 on " in line
    assert f" against {losses(ten, faces.labels).mean():.4f}, " in line


@pytest.mark.parametrize("option", [("--against-tta", "none"), ("--against-engine", "torch")])
def test_what_is_of_the_other_net_needs_one(capsys: Capsys, option: tuple[str, str]) -> None:
    done = inside(capsys, "evaluate", "expression", "--data", "nowhere", *option)
    said = f"affectd: {option[0]} is of the net that --against names; accepted: with it"
    assert done == (2, [], [said])


def test_of_the_holdout_nothing_was_learnt(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    weights = save_tiny(tmp_path / "a.safetensors")
    for split, column in (("holdout", True), ("train", False)):
        folder = tmp_path / split
        done = inside(
            capsys,
            *("evaluate", "expression", "--data", bars, "--weights", weights, "--tta", "none"),
            *("--split", split, "--report", folder),
        )
        assert done.code == 0, done.err
        report = json.loads((folder / "report.json").read_text())
        assert (report["not_in_training"] == report["plain"]) is column
        assert (report["not_in_training"] is None) is not column
        markdown = (folder / "report.md").read_text()
        assert ("part of FER2013's Training that no net is trained on" in markdown) is column
        assert ("were found on it, so those figures flatter" in markdown) is column
        assert ("of these images stand in FER2013's Training too" in markdown) is not column


def test_a_full_device_ends_in_a_line_that_says_what_to_do(
    bars: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no card here to fill: torch is made to say what it says there."""

    def predict(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.0 GiB.")

    monkeypatch.setattr(ExpressionClassifier, "predict", predict)
    weights = save_tiny(tmp_path / "a.safetensors")
    done = inside(capsys, "evaluate", "expression", "--data", bars, "--weights", weights)
    assert done.code == 2
    assert done.err[-1] == (
        "affectd: the memory of the device is full: end what else fills it, or take --device cpu"
    )


@pytest.mark.parametrize("fault", ["", "torch finds no CUDA device here"])
def test_a_device_is_taken_as_it_is_named(
    bars: Path, tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    # Wherever this runs.
    monkeypatch.setattr("classifiers.expression.engines.cuda.cuda_fault", lambda: fault)
    weights = save_tiny(tmp_path / "a.safetensors")
    what = ("evaluate", "expression", "--data", bars, "--weights", weights, "--tta", "none")
    done = inside(capsys, *what, "--device", "cpu")
    assert done.out[0].endswith("torch float32 on cpu"), done.err
    if fault:
        said = f"affectd: --device is cuda, but {fault}; accepted: auto, cpu"
        assert inside(capsys, *what, "--device", "cuda") == (2, [], [said])


def test_weights_of_other_data_are_told(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    own = data.read(bars).fingerprint()
    weights = save_tiny(tmp_path / "own.safetensors", data_sha256=own)
    other = save_tiny(tmp_path / "other.safetensors", data_sha256="f" * 64)
    what = ("evaluate", "expression", "--data", bars, "--weights", weights, "--against", other)
    done = inside(capsys, *what, "--tta", "none", "--report", tmp_path / "both")
    assert done.code == 0, done.err
    (warning,) = [line for line in done.err if line.startswith("WARNING")]
    assert warning.startswith(f"WARNING: {other} was trained on data")
    assert warning.endswith("; it may have learnt images that the column 'not in training' counts")
    report = json.loads((tmp_path / "both" / "report.json").read_text())
    assert (report["subject"]["warning"], report["against_warning"]) == ("", warning)
    of_the_net, _, of_the_rival = (tmp_path / "both" / "report.md").read_text().partition("Against")
    assert "2 of these images stand in FER2013's Training too" in of_the_net
    assert f"**{warning}.**" in of_the_rival
    alone = ("--weights", other, "--split", "holdout", "--tta", "none", "--report", tmp_path / "r")
    assert inside(capsys, "evaluate", "expression", "--data", bars, *alone).code == 0
    assert json.loads((tmp_path / "r" / "report.json").read_text())["subject"]["warning"] == warning
    markdown = (tmp_path / "r" / "report.md").read_text()
    assert f"**{warning}.**" in markdown
    assert "no net is trained on" not in markdown


def test_data_may_be_without_training(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    """Faces of one's own, of which none is for training."""
    weights, folder = save_tiny(tmp_path / "a.safetensors"), tmp_path / "report"
    own = shutil.copytree(bars, tmp_path / "own")
    shutil.rmtree(own / "train")
    what = ("--weights", weights, "--tta", "none", "--report", folder)
    done = inside(capsys, "evaluate", "expression", "--data", own, *what)
    assert done.code == 0, done.err
    said = f"{own} holds no Training: what the net learnt from is not left out"
    assert said in done.err
    report = json.loads((folder / "report.json").read_text())
    assert (report["subject"]["in_training"], report["not_in_training"]) == (None, None)
    assert report["plain"]["images"] == 30
    assert "The data holds no Training" in (folder / "report.md").read_text()


def test_a_bad_image_is_skipped_and_named_or_refused(
    bars: Path, tmp_path: Path, capsys: Capsys
) -> None:
    source = shutil.copytree(bars, tmp_path / "data")
    (source / "test" / "sad" / "PublicTest_x.jpg").write_text("no image")
    weights = save_tiny(tmp_path / "a.safetensors")
    what = ("evaluate", "expression", "--data", source, "--weights", weights, "--tta", "none")
    done = inside(capsys, *what)
    assert done.code == 0, done.err
    told = " ".join((*done.out, *done.err))
    assert "1 skipped that are no 48x48 image: test/sad/PublicTest_x.jpg" in told
    assert "30 images" in told
    done = inside(capsys, *what, "--strict")
    assert done.code == 2
    assert done.out == []
    assert done.err[-1] == (
        f"affectd: {source}: test/sad/PublicTest_x.jpg is no image; accepted are 48x48 images"
    )


@pytest.mark.parametrize(
    ("option", "data", "target"),
    [
        ("--data", "own.csv", "own.csv"),
        ("--data", "folder", "folder/fer2013.csv"),
        ("--data", "folder", "folder/sad/1.png"),
        ("--data", "folder", "link.csv"),
        ("--data", "linked", "own.csv"),
        ("--data", "empty", "empty/fer2013.csv"),
        ("--weights", "folder", "a.json"),
        ("--against", "folder", "b.safetensors"),
        ("--against", "folder", "joint.json"),
        ("--against", "folder", "c.json"),
    ],
)
def test_what_is_read_is_not_replaced(
    tmp_path: Path, capsys: Capsys, option: str, data: str, target: str
) -> None:
    """Neither the data nor what belongs to a net, or to a net of a joint."""
    (tmp_path / "folder" / "sad").mkdir(parents=True)
    (tmp_path / "folder" / "sad" / "1.png").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "fer2013.csv").symlink_to("../own.csv")
    (tmp_path / "folder" / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    (tmp_path / "own.csv").write_text("emotion,pixels,Usage\n")
    (tmp_path / "link.csv").symlink_to("folder/fer2013.csv")
    nets = [save_tiny(tmp_path / f"{name}.safetensors") for name in "abc"]
    against = nets[1]
    if target in ("joint.json", "c.json"):
        against = save_joint(tmp_path / "joint.json", {nets[2].name: 1.0})
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.*")}
    file = tmp_path / target
    what = ("--data", tmp_path / data, "--weights", nets[0], "--against", against)
    done = inside(capsys, "evaluate", "expression", *what, "--predictions", file)
    said = f"affectd: {file} is a file of {option}; accepted is another file"
    assert done == (2, [], [said])
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.*")} == before


def test_what_cannot_be_written_is_said_at_once(bars: Path, tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    os.mkfifo(tmp_path / "fifo")
    for option, target in (
        ("--report", file),
        ("--report", file / "report"),
        ("--predictions", file / "p.csv"),
        ("--predictions", tmp_path),
        ("--predictions", tmp_path / "fifo"),
    ):
        done = inside(capsys, "evaluate", "expression", "--data", "nowhere", option, target)
        assert done.code == 2
        (line,) = done.err
        assert line.startswith(f"affectd: {target} ")
    assert file.read_text() == "kept"
    assert (tmp_path / "fifo").is_fifo()


def test_against_weights_of_other_labels(tmp_path: Path, capsys: Capsys) -> None:
    other = save_tiny(tmp_path / "b.safetensors", labels=["joy", *LABELS[1:]])
    done = inside(
        capsys, "evaluate", "expression", "--data", tmp_path, "--tta", "none", "--against", other
    )
    assert done.code == 2
    (line,) = done.err
    assert "b.json: labels are joy, disgust" in line
    assert f"accepted: {', '.join(LABELS)}" in line


@pytest.mark.parametrize("library", ["sklearn", "matplotlib"])
def test_without_the_extra_one_line_says_how_to_get_it(tmp_path: Path, library: str) -> None:
    """A package of that name that says it is not there, since the real one is."""
    shadow = tmp_path / "shadow" / library
    shadow.mkdir(parents=True)
    error = f"raise ModuleNotFoundError({f'No module named {library!r}'!r}, name={library!r})\n"
    (shadow / "__init__.py").write_text(error)
    done = affectd(
        *("evaluate", "expression", "--data", tmp_path, "--report", tmp_path / "report"),
        cwd=tmp_path,
        PYTHONPATH=f"{shadow.parent}:{ROOT}",
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == (
        f"affectd: this needs {library}, which is not installed: pip install 'affectd[train]'"
    )
