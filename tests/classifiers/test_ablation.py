"""The ablation, whole, on little: every row is there, no net is trained twice."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest

from classifiers.expression import LABELS
from classifiers.expression.architectures import build
from tests.bench import ablation
from tests.bench.parts.ablation_page import Name, Row, Setting, page
from tests.classifiers.bars import write_bars

RECIPE = """
architecture = "{architecture}"
options = {{ widths = {widths} }}
epochs = 9
batch = 32
learning_rate = 0.05
label_smoothing = 0.05
ema_decay = 0.9
[augmentation]
shift = 0.02
erase = 0.0
"""
WIDTHS = {"vgg10": [8, 8, 16, 16], "resnet17": [4, 4, 8, 8, 16, 16]}


@pytest.mark.slow
def test_every_row_is_there_and_no_net_is_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Stop at once. 2. Run to the end. 3. Run again, which must train nothing, but read all."""
    fer = write_bars(tmp_path / "fer", train=40, public=6)
    for name, widths in WIDTHS.items():
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(architecture=name, widths=widths))
    out = tmp_path / "out" / "ablation.md"
    command = ["--data", str(fer), "--out", str(out), "--epochs", "4"]
    command += ["--recipe", str(tmp_path / "vgg10.toml"), str(tmp_path / "resnet17.toml")]

    assert ablation.main([*command, "--seed", "3", "4", "--max-minutes", "0"]) == []
    late = "Not trained yet: vgg10, cross entropy, augmentation none, seed 3; vgg10"
    assert late in out.read_text()
    assert "| vgg10 |" not in out.read_text()

    found = ablation.main([*command, "--seed", "3"])
    first, second = tables(out)
    rows = first[1:]
    assert [tuple(row[:4]) for row in rows] == [
        (net, loss, augmentation, crops)
        for net, loss, augmentation in [
            ("vgg10", "cross entropy", "none"),
            ("vgg10", "adaptive", "none"),
            ("vgg10", "cross entropy", "all"),
            ("vgg10", "smoothed cross entropy", "all"),
            ("vgg10", "adaptive", "all"),
            ("vgg10", "adaptive at twice the rate", "all"),
            ("resnet17", "cross entropy", "all"),
            ("joint", "cross entropy", "all"),
        ]
        for crops in ("1", "2", "4", "10")
    ]
    assert "One seed was trained of each" in out.read_text()
    assert "Joint of seed 3: " in out.read_text()
    assert second[0][3:] == [*(f"{label} (6)" for label in LABELS), "mean"]
    assert [row[:3] for row in second[1:]] == [row[:3] for row in rows if row[3] == "10"]
    for row in found:
        assert 0.0 <= row.accuracy <= 1.0
        assert row.unseen == row.accuracy  # no picture stands twice here
        assert statistics.mean(row.recalls) == pytest.approx(row.accuracy)  # classes are as large
        assert row.minutes > 0.0
    one, two, four, ten = found[:4]
    assert ten.flops == 10 * one.flops
    assert two.flops < four.flops < 4 * one.flops  # first layers are shared
    net = build("vgg10", {"widths": WIDTHS["vgg10"]})
    assert one.parameters == sum(p.numel() for p in net.parameters())
    assert "--seed 3" in out.read_text()
    assert "Not trained" not in out.read_text()

    capsys.readouterr()
    monkeypatch.setattr(ablation, "flops", lambda record, tta: 5_000_000)
    again = ablation.main([*command, "--seed", "3"])
    assert "epoch" not in capsys.readouterr().err
    assert [row.accuracy for row in again] == [row.accuracy for row in found]
    assert [row.minutes for row in again] == [row.minutes for row in found]
    assert {row[5] for row in tables(out)[0][1:29]} == {"5"}


def test_seeds_become_one_line() -> None:
    """With their mean, each of them, and how far they lie apart."""
    name, other = Name("vgg10", "adaptive", "all"), Name("resnet17", "adaptive", "all")
    recalls = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    first = Row(name, 1, 10, 4000, 2_000_000, 1.0, 0.60, 0.59, tuple(recalls), 3.0)
    second = replace(first, seed=2, ms_per_face=2.0, accuracy=0.62, unseen=0.60, minutes=4.0)
    one_view = replace(first, crops=1, accuracy=0.3)
    lone = replace(first, name=other)
    rows = [first, one_view, lone, replace(second, recalls=(0.2, *recalls[1:]))]
    setting = Setting("a command", "a machine", 64, (5,) * 7, 30, ("Joint of seed 1: 1 a",), ())
    text = page(rows, setting)
    first_table, recalls_of = tables(text)
    assert first_table[1] == [
        *("vgg10", "adaptive", "all", "10", "4,000", "2", "1.50"),
        *("61.0% (60.0, 62.0)", "59.5% (59.0, 60.0)", "3.5"),
    ]
    assert [row[3] for row in first_table[1:]] == ["10", "1", "10"]
    assert first_table[3][7] == "60.0%"
    assert recalls_of[1][3:] == [*("10.0%", "10.0%", "20.0%", "30.0%", "40.0%", "50.0%", "60.0%"),
                                 "31.4%"]  # fmt: skip
    assert "deviates by 1.4 points" in text  # of 60 and 62
    assert "Joint of seed 1: 1 a." in text


def tables(written: Path | str) -> list[list[list[str]]]:
    """The cells of each table of a page, row by row, its head first."""
    found = []
    text = written if isinstance(written, str) else written.read_text()
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("| ")]
        if lines:
            found.append([[cell.strip() for cell in line.strip("|").split("|")] for line in lines])
    return found
