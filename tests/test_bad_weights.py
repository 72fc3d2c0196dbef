"""Nets that cannot be used: one line says what is wrong and what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from classifiers import checkpoint
from classifiers.expression.classifier import ExpressionClassifier
from tests.affectd import STREAM
from tests.inside import inside, write_config
from tests.nets import OPTIONS, save_tiny

Capsys = pytest.CaptureFixture[str]


def cut(weights: Path) -> str:
    weights.write_bytes(weights.read_bytes()[:-100])
    return f"{weights}: cut short or not a safetensors file"


def recordless(weights: Path) -> str:
    checkpoint.record_path(weights).unlink()
    return f"{weights}: its record small.json is missing; accepted is a .safetensors file with"


def of_another_net(weights: Path) -> str:
    record = checkpoint.record_path(weights).read_text()
    save_tiny(weights, options={**OPTIONS, "hidden": 16})
    checkpoint.record_path(weights).write_text(record)
    return f"{weights} and its record small.json do not fit: the record says vgg10"


def of_another_architecture(weights: Path) -> str:
    path = checkpoint.record_path(weights)
    path.write_text(path.read_text().replace('"vgg10"', '"resnet50"'))
    return f"{path}: expression/resnet50 is not an expression net; accepted: vgg10"


def gone(weights: Path) -> str:
    weights.unlink()
    return f"{weights}: no such weights file"


@pytest.mark.parametrize("spoil", [cut, recordless, of_another_net, of_another_architecture, gone])
def test_weights_that_cannot_be_used(
    tmp_path: Path, capsys: Capsys, spoil: Callable[[Path], str]
) -> None:
    """In a configuration that is checked, run or used, and named on the command line."""
    weights, target = save_tiny(tmp_path / "small.safetensors"), tmp_path / "out.mp4"
    target.write_text("kept")
    said = spoil(weights)
    path = write_config(
        tmp_path,
        f'[daemon]\nlisten = "127.0.0.1:0"\nlog_level = "error"\n[detector]\nbackend = "haar"\n'
        f'[expression]\nweights = "{weights}"\n{STREAM}',
    )
    commands: list[list[str | Path]] = [
        ["check", path],
        ["run", path],
        ["video", "demo://x?seconds=1", target, "--force", "--config", path],
        ["evaluate", "expression", "--data", tmp_path, "--weights", weights],
    ]
    for command in commands:
        done = inside(capsys, *command)
        assert done.code == (1 if command[0] == "run" else 2)
        (line,) = done.err
        key = f"{path}: expression.weights: " if command[1] == path else ""
        assert line.startswith(f"affectd: {key}{said}")
    assert target.read_text() == "kept"


def test_a_service_is_to_try_again_for_a_net_that_may_come(tmp_path: Path, capsys: Capsys) -> None:
    """Named from its own folder, where nothing is looked for before it starts."""
    path = write_config(
        tmp_path,
        f'[daemon]\nlisten = "127.0.0.1:0"\nlog_level = "error"\n[detector]\nbackend = "haar"\n'
        f'[expression]\nweights = "nowhere/small.safetensors"\n{STREAM}',
    )
    done = inside(capsys, "run", path)
    assert done.code == 1
    assert done.err[-1].startswith("affectd: nowhere/small.safetensors: its record small.json is")


# A service is to try again: what is not there may come.
@pytest.mark.parametrize(("command", "code"), [("check", 2), ("run", 1)])
def test_what_this_machine_lacks_for_expressions(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # wherever this runs
    path = write_config(tmp_path, f'[expression]\nweights = "defualt"\ndevice = "cuda"\n{STREAM}')
    done = inside(capsys, command, path)
    assert done.code == code
    lines = [line.removeprefix(f"affectd: {path}: expression.") for line in done.err]
    assert lines[0] == (
        "device: found cuda, but torch finds no CUDA device here; accepted: auto, cpu"
    )
    assert lines[1].startswith("weights: 'defualt' is no net; accepted: default, joint, ")
    assert len(lines) == 2


def test_a_card_that_is_not_there_is_the_configuration_s_fault(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # wherever this runs
    text = f'[detector]\nbackend = "haar"\n[expression]\ndevice = "cuda"\n{STREAM}'
    source, target = "demo://x?seconds=1", tmp_path / "out.mp4"
    done = inside(capsys, "video", source, target, "--config", write_config(tmp_path, text))
    said = "expression.device is cuda, but torch finds no CUDA device here; accepted: auto, cpu"
    assert done == (2, [], [f"affectd: {said}"])


def test_a_full_card_is_told_in_a_line(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no card here to fill: torch is made to say what it says there."""

    def load(*given: object, **how: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")

    monkeypatch.setattr(ExpressionClassifier, "load", load)
    config = write_config(tmp_path, f'[detector]\nbackend = "haar"\n{STREAM}')
    source, target = "demo://x?seconds=1", tmp_path / "out.mp4"
    done = inside(capsys, "video", source, target, "--config", config)
    said = "affectd: the memory of the device is full: end what else fills it, or set "
    assert done == (2, [], [f'{said}expression.device = "cpu"'])


def test_a_net_by_a_path_from_the_service_s_folder_may_be_anywhere(
    tmp_path: Path, capsys: Capsys
) -> None:
    path = write_config(tmp_path, f'[expression]\nweights = "nets/mine.safetensors"\n{STREAM}')
    assert inside(capsys, "check", path).code == 0


def test_weights_of_an_unknown_name(tmp_path: Path, capsys: Capsys) -> None:
    done = inside(capsys, "evaluate", "expression", "--data", tmp_path, "--weights", "best")
    assert done.code == 2
    assert "'best' is no net; accepted: " in done.err[0]
    assert done.err[0].endswith("or the path of a net's .safetensors or a joint's .json")
