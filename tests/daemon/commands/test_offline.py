"""What `affectd image` and `affectd video` leave behind in memory: nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from detectors.haar import Haar
from tests.inside import inside, write_light
from tests.nets import save_tiny


@pytest.mark.parametrize("command", ["image", "video"])
def test_detectors_are_closed_and_threads_ended(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """A detector of MediaPipe that is open when the interpreter ends cannot be closed any more."""
    closed: list[Haar] = []
    monkeypatch.setattr(Haar, "close", lambda detector: closed.append(detector))
    net = save_tiny(tmp_path / "net.safetensors")
    light = write_light(tmp_path)
    on = f'weights = "{net}"\nengine = "torch"'
    light.write_text(light.read_text().replace("enabled = false", on))
    source = tmp_path / "a.png"
    cv2.imwrite(str(source), np.zeros((64, 64), np.uint8))
    before = {*threading.enumerate()}
    what: list[str | Path] = [source, "--json"]
    if command == "video":
        what = ["demo://x?faces=1&size=320x240&fps=5&seconds=1", "--events", tmp_path / "a.jsonl"]
    done = inside(capsys, command, *what, "--config", light)
    assert done.code == 0, done.err
    assert len(closed) == 2  # that of the models' trial, and that which looked
    assert {*threading.enumerate()} <= before
