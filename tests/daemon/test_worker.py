"""Threads with one owner."""

from __future__ import annotations

import subprocess
import sys

from tests.affectd import ROOT

PROGRAM = """
import threading
from daemon.worker import Worker
class Hanging(Worker):
    def run(self):
        threading.Event().wait()
worker = Hanging("disk")
worker.start()
print(worker.join(0.01), worker.running)
"""


def test_a_process_ends_though_one_of_its_threads_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "False True\n"), done.stderr
