"""What OpenVINO leaves behind in a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino", reason="the extra `cpu` is not installed")

CODE = """
import signal
from classifiers.expression.classifier import ExpressionClassifier
nets = [
    ExpressionClassifier.load("vgg10-small", device="cpu", tta="none", engine="openvino")
    for _ in range(2)
]
while nets:
    nets.pop(0)
signal.signal(signal.SIGINT, lambda *_: print("taken"))
signal.raise_signal(signal.SIGINT)
"""


def test_ctrl_c_is_taken_after_the_last_net_is_gone() -> None:
    """As in a training, after its teacher has read all faces."""
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "taken\n")
