"""The ablation, whole, on little: every row is there, none is made twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classifiers.expression.architectures import build
from tests.bench.ablation import main
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
def test_every_row_is_there_and_none_is_made_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1. Stop at once. 2. Run to the end. 3. Run again, which must train nothing."""
    fer = write_bars(tmp_path / "fer", train=40, public=6)
    for name, widths in WIDTHS.items():
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(architecture=name, widths=widths))
    out = tmp_path / "out" / "ablation.md"
    command = ["--data", str(fer), "--out", str(out), "--epochs", "4", "--seed", "3"]
    command += ["--recipe", str(tmp_path / "vgg10.toml"), str(tmp_path / "resnet17.toml")]

    main([*command, "--max-minutes", "0"])
    assert "Not trained yet: vgg10, cross entropy, augmentation none; vgg10" in out.read_text()
    assert "| vgg10 |" not in out.read_text()

    main(command)
    lines = [line for line in out.read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
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
    known = json.loads(out.with_suffix(".json").read_text())
    kept = [row for entry in known.values() for row in entry["rows"]]
    assert len(kept) == 24
    for row in kept:
        assert 0.0 <= row["accuracy"] <= 1.0
        assert row["unseen"] == row["accuracy"]  # no picture stands twice here
        assert row["minutes"] > 0.0
    one, two, four, ten = kept[:4]
    assert ten["flops"] == 10 * one["flops"]
    assert two["flops"] < four["flops"] < 4 * one["flops"]  # first layers are shared
    net = build("vgg10", {"widths": WIDTHS["vgg10"]})
    assert one["parameters"] == sum(p.numel() for p in net.parameters())
    assert "--seed 3" in out.read_text()
    assert "Not trained" not in out.read_text()

    before = {path: path.stat().st_mtime_ns for path in out.parent.rglob("*.safetensors")}
    written = out.read_text()
    capsys.readouterr()
    main(command)
    assert capsys.readouterr().err == ""
    assert {path: path.stat().st_mtime_ns for path in out.parent.rglob("*.safetensors")} == before
    assert out.read_text() == written
