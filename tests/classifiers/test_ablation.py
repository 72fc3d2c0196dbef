"""The ablation, whole, on little: every row is there, no net is trained twice."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from classifiers.expression import LABELS
from classifiers.expression.architectures import build
from tests.bench import ablation
from tests.classifiers.bars import write_bars

RECIPE = """
architecture = "{architecture}"
options = {{ widths = {widths} }}
epochs = 9
batch = 32
learning_rate = 0.05
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
    command = ["--data", str(fer), "--out", str(out), "--epochs", "4", "--seed", "3"]
    command += ["--recipe", str(tmp_path / "vgg10.toml"), str(tmp_path / "resnet17.toml")]

    assert ablation.main([*command, "--max-minutes", "0"]) == []
    assert "Not trained yet: vgg10, cross entropy, augmentation none; vgg10" in out.read_text()
    assert "| vgg10 |" not in out.read_text()

    found = ablation.main(command)
    first, second = tables(out)
    rows = first[1:]
    assert [tuple(row[:4]) for row in rows[:20]] == [
        (net, loss, augmentation, crops)
        for net, loss, augmentation in [
            ("vgg10", "cross entropy", "none"),
            ("vgg10", "cross entropy", "all"),
            ("vgg10", "adaptive", "none"),
            ("vgg10", "adaptive", "all"),
            ("resnet17", "cross entropy", "all"),
        ]
        for crops in ("1", "2", "4", "10")
    ]
    assert [row[3] for row in rows[20:]] == ["1", "2", "4", "10"]
    assert all(row[0].startswith("joint: ") for row in rows[20:])
    assert second[0][3:] == [*(f"{label} (6)" for label in LABELS), "mean"]
    assert [row[:3] for row in second[1:]] == [row[:3] for row in rows if row[3] == "10"]
    for row in found:
        assert 0.0 <= row.accuracy <= 1.0
        assert row.unseen == row.accuracy  # no picture stands twice here
        assert statistics.mean(row.recalls) == pytest.approx(row.accuracy)  # classes are as large
        assert row.net.minutes > 0.0
    one, two, four, ten = found[:4]
    assert ten.flops == 10 * one.flops
    assert two.flops < four.flops < 4 * one.flops  # first layers are shared
    net = build("vgg10", {"widths": WIDTHS["vgg10"]})
    assert one.parameters == sum(p.numel() for p in net.parameters())
    assert "--seed 3" in out.read_text()
    assert "Not trained" not in out.read_text()

    capsys.readouterr()
    monkeypatch.setattr(ablation, "_flops", lambda record, tta: 5_000_000)
    again = ablation.main(command)
    assert "epoch" not in capsys.readouterr().err
    assert [row.accuracy for row in again] == [row.accuracy for row in found]
    assert [row.net for row in again] == [row.net for row in found]  # with their minutes
    assert {row[5] for row in tables(out)[0][1:21]} == {"5"}


def tables(page: Path) -> list[list[list[str]]]:
    """The cells of each table of a page, row by row, its head first."""
    found = []
    for block in page.read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("| ")]
        if lines:
            found.append([[cell.strip() for cell in line.strip("|").split("|")] for line in lines])
    return found
