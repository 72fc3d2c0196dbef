"""Learning from a trained net, and going on from one."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.errors import CheckpointError, RecipeError
from classifiers.expression import LABELS, data, provenance
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import accuracy, classify
from classifiers.expression.joint import Joint, Member, save
from classifiers.expression.training.interrupt import Interrupted
from classifiers.expression.training.recipe import Distillation, read
from classifiers.expression.training.run import Run
from classifiers.expression.training.train import train
from tests.classifiers.bars import PLAN
from tests.fer import load_split
from tests.nets import OPTIONS, alike, needs_openvino, save_tiny


@pytest.fixture(scope="module")
def teacher(fer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = train(PLAN, fer, tmp_path_factory.mktemp("teacher"))
    assert weights is not None
    return weights


@pytest.fixture(scope="module")
def mislabelled(fer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same faces to train on, each under the name of the next class."""
    root = tmp_path_factory.mktemp("mislabelled")
    (root / "test").symlink_to(fer / "test")
    (root / "train").mkdir()
    for index, label in enumerate(LABELS):
        (root / "train" / LABELS[(index + 1) % 7]).symlink_to(fer / "train" / label)
    return root


@pytest.mark.parametrize("views", ["same", "ten_crop"])
def test_a_student_believes_its_teacher_and_not_the_labels(
    fer: Path,
    teacher: Path,
    mislabelled: Path,
    tmp_path: Path,
    views: Literal["same", "ten_crop"],
) -> None:
    plan = replace(PLAN, mixup=0.2, distillation=Distillation(str(teacher), share=1.0, views=views))
    weights = train(plan, mislabelled, tmp_path)
    assert weights is not None
    public = load_split(fer, "public")
    student = ExpressionClassifier.load(weights, device="cpu")
    assert accuracy(classify(student, public), public) > 3 / 7
    record = checkpoint.read_record(weights)
    assert record.recipe["distillation"]["share"] == 1.0
    assert record.learnt_from == {str(teacher): checkpoint.read_record(teacher).sha256}


def test_a_teacher_reads_once_also_for_a_run_that_goes_on(
    fer: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = replace(PLAN, distillation=Distillation(str(teacher), views="ten_crop"))
    faces = load_split(fer, "train")
    first = Run(plan, faces, "cpu")
    assert first.teacher
    first.teacher.read()
    first.one_step(first.order())
    first.store(tmp_path / "last.pt")
    first.one_step(first.order())

    monkeypatch.setattr(ExpressionClassifier, "predict", None)  # It is not to read again.
    second = Run(plan, faces, "cpu")
    second.restore(tmp_path / "last.pt")
    assert second.teacher
    second.teacher.read()
    second.one_step(second.order())
    for name, value in first.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name]), name


@needs_openvino
@pytest.mark.parametrize("views", ["same", "ten_crop"])
def test_a_teacher_that_reads_all_faces_says_what_by(
    fer: Path, tmp_path: Path, views: Literal["same", "ten_crop"]
) -> None:
    """With `same` torch reads each batch, and no engine is made."""
    tiny = save_tiny(tmp_path / "tiny.safetensors")  # without activations
    plan = replace(PLAN, distillation=Distillation(str(tiny), views=views))
    told: list[str] = []
    Run(plan, load_split(fer, "train"), "cpu", log=told.append)
    assert len(told) == (views == "ten_crop")


def test_a_run_does_not_go_on_with_another_teacher(
    fer: Path, teacher: Path, tmp_path: Path
) -> None:
    """1. A run is stopped. 2. What its teacher is called by becomes another net."""
    named = tmp_path / "teacher.safetensors"
    for suffix in (".safetensors", ".json"):
        shutil.copy(teacher.with_suffix(suffix), named.with_suffix(suffix))
    plan = replace(PLAN, distillation=Distillation(str(named)))
    train(plan, fer, tmp_path / "out", max_minutes=0.0)
    save_tiny(named)
    with pytest.raises(CheckpointError, match="was taught by another net; resume with its own"):
        train(plan, fer, tmp_path / "out", resume=True)


def test_ctrl_c_ends_the_teachers_reading_which_goes_on(
    fer: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Ctrl-C in the second batch. 2. What is left is read, in the same batches."""
    plan = replace(PLAN, epochs=1, distillation=Distillation(str(teacher), views="ten_crop"))
    whole = Run(plan, load_split(fer, "train"), "cpu").teacher
    assert whole
    whole.read()
    sizes: list[int] = []
    predict = ExpressionClassifier.predict

    def interrupted(self: ExpressionClassifier, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        sizes.append(len(faces))
        if len(sizes) == 2:
            signal.raise_signal(signal.SIGINT)
        return predict(self, faces)

    monkeypatch.setattr(ExpressionClassifier, "predict", interrupted)
    with pytest.raises(Interrupted):
        train(plan, fer, tmp_path)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["step"] == 0
    assert len(state["taught"]) == sum(sizes) < len(whole.said)

    shares: list[tuple[float, str]] = []
    assert train(plan, fer, tmp_path, resume=True, on_share=lambda *said: shares.append(said))
    assert sum(sizes) == len(whole.said)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert torch.equal(state["taught"], whole.said)
    reading = [share for share, text in shares if text == "the teacher reads all faces"]
    assert reading == sorted(reading)
    assert reading[0] > sizes[2] / len(whole.said)
    assert reading[-1] == 1.0
    assert shares[len(reading)] == (0.0, "scoring holdout, none")


@pytest.mark.parametrize("way", ["start", "teacher", "joint"])
def test_weights_of_other_data_are_noted(
    fer: Path, teacher: Path, mislabelled: Path, tmp_path: Path, way: str
) -> None:
    weights = teacher
    if way == "joint":
        weights = tmp_path / "joint.json"
        member = Member(str(teacher), checkpoint.read_record(teacher).sha256, 1.0)
        save(weights, Joint("joint", (member,), alike(1.0), 0.3, "holdout", "none", "", {}, ""))
    plan = replace(PLAN, distillation=Distillation(str(weights)))
    if way == "start":
        plan = replace(PLAN, start=str(weights))
    said: dict[Path, list[str]] = {fer: [], mislabelled: []}
    for source, lines in said.items():
        out = tmp_path / source.name
        assert train(plan, source, out, max_minutes=0.0, log=lines.append) is None
    told = [[line for line in lines if "was trained on data" in line] for lines in said.values()]
    assert not told[0]
    assert len(told[1]) == 1
    assert str(teacher) in told[1][0]
    assert "it has learnt most of this holdout" in told[1][0]


def test_other_data_that_a_net_learnt_from_stays_in_its_record(
    fer: Path, teacher: Path, mislabelled: Path, tmp_path: Path
) -> None:
    """1. A run begins with weights of other data, is stopped and goes on. 2. Another begins with
    what it left, on the data of the first, and a third on its own."""
    own, other = (data.read(source).fingerprint() for source in (fer, mislabelled))
    plan, out = replace(PLAN, epochs=1, start=str(teacher)), tmp_path / "out"
    assert train(plan, mislabelled, out, max_minutes=0.0) is None
    weights = train(plan, mislabelled, out, resume=True)
    assert weights is not None
    record = checkpoint.read_record(weights)
    assert record.data_sha256 == f"{own}+{other}"
    assert record.learnt_from == {str(teacher): checkpoint.read_record(teacher).sha256}
    assert f"begins with {own[:7]}, that of --data" in provenance.warning(weights, other)
    assert provenance.joined([weights, teacher], own) == f"{other}+{own}"
    assert provenance.joined([weights], other) == f"{own}+{other}"
    assert provenance.joined([teacher], own) == own


def test_a_run_can_start_from_trained_weights(fer: Path, teacher: Path) -> None:
    run = Run(replace(PLAN, start=str(teacher)), load_split(fer, "train"), "cpu")
    fresh = Run(PLAN, load_split(fer, "train"), "cpu")
    expected = run.net.state_dict()
    checkpoint.load_into(teacher, fresh.net, checkpoint.read_record(teacher))
    for name, value in fresh.net.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_what_a_run_started_from_may_be_gone_when_it_goes_on(fer: Path, tmp_path: Path) -> None:
    start, out = save_tiny(tmp_path / "start.safetensors"), tmp_path / "out"
    plan = replace(PLAN, options=OPTIONS, start=str(start))
    assert train(plan, fer, out, max_minutes=0.0) is None
    begun = torch.load(out / "last.pt", weights_only=True)["net"]
    start.unlink()
    start.with_suffix(".json").unlink()
    assert train(plan, fer, out, max_minutes=0.0, resume=True) is None
    for name, value in torch.load(out / "last.pt", weights_only=True)["net"].items():
        assert torch.equal(value, begun[name]), name


def test_weights_that_do_not_fit_or_are_no_weights_are_named(fer: Path, teacher: Path) -> None:
    faces = load_split(fer, "train")
    other = replace(PLAN, options={**PLAN.options, "hidden": 16}, start=str(teacher))
    with pytest.raises(CheckpointError, match=r"best\.safetensors has .* accepted: the same"):
        Run(other, faces, "cpu")
    with pytest.raises(CheckpointError, match="'nobody' is no net; accepted: default"):
        Run(replace(PLAN, start="nobody"), faces, "cpu")
    with pytest.raises(CheckpointError, match="'nobody' is no net; accepted: default"):
        Run(replace(PLAN, distillation=Distillation("nobody")), faces, "cpu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('views = "twelve"\nteacher = "default"', "distillation.views is 'twelve'; accepted: same"),
        ("share = 0.5", "distillation.*teacher"),
        ('teacher = "default"\nshare = 1.5', "distillation.share is 1.5; accepted: 0 to 1"),
    ],
)
def test_a_wrong_distillation_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'architecture = "vgg10"\nepochs = 2\n[distillation]\n{text}\n')
    with pytest.raises(RecipeError, match=said):
        read(path)
