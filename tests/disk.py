"""A disk of a test's own to fill: what is mounted by such a command, nobody else sees."""

from __future__ import annotations

import shutil
import subprocess

import pytest

OWN_DISK = ["unshare", "--user", "--map-root-user", "--mount"]

needs_own_disk = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*OWN_DISK, "true"], check=False, capture_output=True).returncode != 0,
    reason="a mount of one's own needs user namespaces",
)
