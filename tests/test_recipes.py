"""The examples of the guides, run as they stand there on what affectd wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.expression import LABELS
from classifiers.expression.prior import TRAINED
from classifiers.expression.weight_files import locate, record_of
from tests.affectd import ROOT
from tests.daemon.outputs import reading
from tests.inside import inside, write_config
from tests.media import write_clip
from tests.nets import save_tiny
from tests.shared import MODELS, VIDEO, needs_shared
from tests.test_docs import blocks

Capsys = pytest.CaptureFixture[str]
Scope = dict[str, Any]


def run(*beginnings: str, page: str = "events.md") -> Scope:
    """Run a guide's examples that begin so, one after the other; returns what they define."""
    pd = pytest.importorskip("pandas")
    known = [text for language, text in blocks(ROOT / "docs" / page) if language == "python"]
    scope: Scope = {"pd": pd}
    for beginning in beginnings:
        (text,) = [text for text in known if text.startswith(beginning)]
        exec(text, scope)
    return scope


def varied(folder: Path, pts_ms: list[int]) -> Path:
    """A recording of a face whose pictures lie as far apart as `pts_ms` says."""
    with av.open(str(VIDEO / "lbax4n.mpg")) as clip:
        pictures = [image.to_ndarray(format="rgb24") for image in clip.decode(video=0)]

    def paint(index: int, rgb: NDArray[np.uint8]) -> None:
        rgb[:] = pictures[index]

    return write_clip(
        folder / "varied.mp4", width=360, height=288, frames=len(pts_ms), pts=pts_ms, paint=paint
    )


@pytest.fixture
def reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose net is loaded at once, beside detectors that find faces."""
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    monkeypatch.chdir(tmp_path)
    net = save_tiny(tmp_path / "net.safetensors")
    return write_config(tmp_path, f'[expression]\nweights = "{net}"\nengine = "torch"\n')


@needs_shared
def test_shares_of_time_leave_out_nothing_of_a_variable_frame_rate(
    tmp_path: Path, capsys: Capsys, reads: Path
) -> None:
    """
    1. Every third picture stands for long: all of the recording counts.
    2. The same where only every second picture is looked at.
    3. A reading that is gone, as of a face that was missed, is not counted for: twice the usual
       distance is left of it.
    """
    pts = np.cumsum([0, *[20, 20, 400] * 9]).tolist()
    clip, lines = varied(tmp_path, pts), tmp_path / "readings.jsonl"

    def shown_s(*, gone: int | None = None) -> float:
        kept = [line for line in lines.read_text().splitlines() if json.loads(line)["seq"] != gone]
        lines.write_text("".join(f"{line}\n" for line in kept))
        assert inside(capsys, "events", "to-parquet", lines, "videos.parquet").code == 0
        scope = run('readings = pd.read_parquet("videos.parquet")', "frames = ")
        return float(scope["readings"]["shown_s"].sum())

    def read() -> None:
        done = inside(capsys, "video", clip, "--events", lines, "--config", reads, "--force")
        assert done.code == 0, done.err

    read()
    whole_s = pts[-1] / 1000
    assert shown_s() == pytest.approx(whole_s + 0.02)  # The last reading counts for the usual.
    assert shown_s(gone=2) == pytest.approx(whole_s + 0.02 - 0.42 + 2 * 0.02)
    reads.write_text(reads.read_text() + "[detector]\nevery = 2\n")
    read()
    assert shown_s() == pytest.approx((pts[26] + 420) / 1000)


def test_shares_of_time_of_a_live_stream(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames a second apart; of the first face two are missing, and it was away for a night."""
    monkeypatch.chdir(tmp_path)
    seen = [reading(seq) for seq in (0, 1, 2, 5, 6)]
    seen += [replace(reading(seq), tracked_since_s=1_770_040_000.0) for seq in (40_001, 40_002)]
    Path("lobby.jsonl").write_text("".join(one.to_json() + "\n" for one in seen))
    assert inside(capsys, "events", "to-parquet", "lobby.jsonl", "lobby.parquet").code == 0
    faces = 'readings = pd.read_parquet("lobby.parquet")\nfaces'
    scope = run(faces, "frames = ")
    assert scope["readings"]["shown_s"].tolist() == [1, 1, 2, 1, 1, 1, 1]


def test_rates_a_minute_go_by_the_time_with_a_face(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """130 s at one frame a second, of which every second is looked at; from 30 s to 90 s nobody is
    there. Two smiles in the first minute, one in the second, which goes on in the third."""
    monkeypatch.chdir(tmp_path)
    rows = [(s, s, 1 - s % 2, int(not 30 <= s < 90)) for s in range(130)]
    lines = ["seq,media_time_s,looked,faces", *(",".join(map(str, row)) for row in rows)]
    Path("frames.csv").write_text("\n".join(lines))
    happy = {0, 2, 10, *range(100, 130)}
    seen = [
        replace(reading(s, live=False), media_time_s=s, label="happy" if s in happy else "sad")
        for s, _, looked, faces in rows
        if looked and faces
    ]
    Path("session.jsonl").write_text("".join(one.to_json() + "\n" for one in seen))
    assert inside(capsys, "events", "to-csv", "session.jsonl", "session.csv").code == 0
    table = run("import pandas as pd\n\nframes")["table"]
    assert table["lasts_s"].tolist() == [60, 60, 10]
    assert table["missing_%"].tolist() == pytest.approx([50, 50, 0])
    assert table["smiles_a_minute"].tolist() == [4, 2, 0]


def test_the_other_examples_run(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sad = dict.fromkeys(reading(1).probabilities, 0.0) | {"sad": 1.0}
    small = replace(reading(1), label="unknown", unknown="small", probabilities=sad)
    Path("lobby.jsonl").write_text(f"{reading(0).to_json()}\n{small.to_json()}\n")
    for kind in ("csv", "parquet"):
        assert inside(capsys, "events", f"to-{kind}", "lobby.jsonl", f"lobby.{kind}").code == 0
    run("import csv", "import pandas as pd\n\nreadings")
    printed = capsys.readouterr().out
    assert printed.startswith("[('happy', 1), ('unknown', 1)]")
    assert "0.94" in printed


@needs_shared
def test_a_prior_may_come_afterwards(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The labels and probabilities of a run with one, from a run without; the shares in training
    and `unknown_below` that the guide prints are those of the code."""
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    monkeypatch.chdir(tmp_path)
    clip = VIDEO / "sbia1a.mpg"
    prior = write_config(tmp_path, "[expression.prior]\nneutral = 0.5\n")
    assert inside(capsys, "video", clip, "--events", "session.jsonl").code == 0
    assert inside(capsys, "video", clip, "--events", "prior.jsonl", "--config", prior).code == 0
    assert inside(capsys, "events", "to-csv", "session.jsonl", "session.csv").code == 0
    scope = run("import pandas as pd\n\nTRAINED", page="evaluation.md")
    assert scope["TRAINED"] == dict(zip(LABELS, TRAINED.tolist(), strict=True))
    assert scope["UNKNOWN_BELOW"] == record_of(locate("default")).unknown_below
    wanted = [json.loads(line) for line in Path("prior.jsonl").read_text().splitlines()]
    found = scope["readings"]
    assert found["label"].tolist() == [event["label"] for event in wanted]
    for label in LABELS:
        shares = [event["probabilities"][label] for event in wanted]
        assert found[f"p_{label}"].tolist() == pytest.approx(shares, abs=1e-5)
